# SPDX-License-Identifier: GPL-2.0-only
"""From evidence to verdict. Everything here reads text or files only, so old runs can be judged."""
