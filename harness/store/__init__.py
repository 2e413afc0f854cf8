# SPDX-License-Identifier: GPL-2.0-only
"""Where the record of a run is kept."""
