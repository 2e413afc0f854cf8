# SPDX-License-Identifier: GPL-2.0-only
"""The records of all runs in one database, which can be made again from the run directories."""
