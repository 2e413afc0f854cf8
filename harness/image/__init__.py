# SPDX-License-Identifier: GPL-2.0-only
"""Guest images: from recipes and Debian packages to an initramfs and a read-only disk."""
