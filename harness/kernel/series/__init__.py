# SPDX-License-Identifier: GPL-2.0-only
"""From a series spec to a patched git tree.

``reading`` turns any form of a series into patches in order, ``applying`` applies them to a tree,
and ``check`` applies all that fit and reports on each.
"""

from __future__ import annotations

from harness.kernel.series.patch import Patch, Series
from harness.kernel.series.patched import Patched, apply, planned, refusal
from harness.kernel.series.reading import read, with_extra

__all__ = ["Patch", "Patched", "Series", "apply", "planned", "read", "refusal", "with_extra"]
