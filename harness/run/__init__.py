# SPDX-License-Identifier: GPL-2.0-only
"""One run: preparing what a guest needs, booting guests, and running probes in them."""
