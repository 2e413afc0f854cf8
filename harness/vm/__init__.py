# SPDX-License-Identifier: GPL-2.0-only
"""The virtual machine: what to boot, the accelerator, QEMU, and its console, QMP and SSH."""
