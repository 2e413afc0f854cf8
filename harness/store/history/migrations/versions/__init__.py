# SPDX-License-Identifier: GPL-2.0-only
"""One file for each revision of the tables, oldest first."""
