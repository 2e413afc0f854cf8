# SPDX-License-Identifier: GPL-2.0-only
"""Evidence of a guest that hangs or died, taken from outside before it is killed."""
