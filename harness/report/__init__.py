# SPDX-License-Identifier: GPL-2.0-only
"""A record as people and programs want to see it, one format a module."""
