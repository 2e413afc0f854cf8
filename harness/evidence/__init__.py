# SPDX-License-Identifier: GPL-2.0-only
"""What a dying or hanging guest can still tell, taken from outside before it is killed."""
