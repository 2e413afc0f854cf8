# SPDX-License-Identifier: GPL-2.0-only
"""Studies: what a kernel's memory does for a workload, from the output of probes."""
