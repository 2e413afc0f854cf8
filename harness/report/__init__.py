# SPDX-License-Identifier: GPL-2.0-only
"""Formats of records for people and programs, one in each module."""
