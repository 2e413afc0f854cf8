# SPDX-License-Identifier: GPL-2.0-only
"""Commands that make many runs. They call the pipeline, which never calls them."""
