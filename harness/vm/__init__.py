# SPDX-License-Identifier: GPL-2.0-only
"""The virtual machine: what to boot, what runs it, and the three ways to talk to it."""
