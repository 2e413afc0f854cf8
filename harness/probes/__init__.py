# SPDX-License-Identifier: GPL-2.0-only
"""Probes and the kernel's own tests: the catalogues, and compilation on the host."""
