# SPDX-License-Identifier: GPL-2.0-only
"""The static site of the runs in a history: a model and a template for each kind of page."""
