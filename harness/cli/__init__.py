# SPDX-License-Identifier: GPL-2.0-only
"""What `hgm` can be told to do: a module for each command or group of commands."""
