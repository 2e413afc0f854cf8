# SPDX-License-Identifier: GPL-2.0-only
"""Checks of the harness itself: benchmarks, seeded kernel faults, injected host faults."""
