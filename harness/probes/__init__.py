# SPDX-License-Identifier: GPL-2.0-only
"""Probes: the catalogue, their compilation on the host, and their run in the guest.

What lies below ``guest/`` runs inside the guest and imports nothing of ours.
"""
