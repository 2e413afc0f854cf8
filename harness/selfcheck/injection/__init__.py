# SPDX-License-Identifier: GPL-2.0-only
"""Fault injection: runs whose host side breaks on purpose, and what must come of each."""
