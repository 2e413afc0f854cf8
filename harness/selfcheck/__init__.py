# SPDX-License-Identifier: GPL-2.0-only
"""How we know that the harness is right: benchmarks, seeded kernel faults, injected host faults."""
