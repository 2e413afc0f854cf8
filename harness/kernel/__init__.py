# SPDX-License-Identifier: GPL-2.0-only
"""Source, series, config, build and cache: from a spec to a kernel that can be booted."""
