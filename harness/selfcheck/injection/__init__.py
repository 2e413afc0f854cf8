# SPDX-License-Identifier: GPL-2.0-only
"""Fault injection: runs with faults of the host, and the checks of how each run ends."""
