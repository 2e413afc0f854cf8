# SPDX-License-Identifier: GPL-2.0-only
"""From a series spec to a patched git tree, with no work tree that a patch could reach out of.

``reading`` turns any form of a series into patches in order, ``applying`` puts them on a tree, and
``check`` does so to the end even where some do not fit, and says how each of them met the tree.
"""

from __future__ import annotations

from harness.kernel.series.patch import Patch, Series
from harness.kernel.series.patched import Patched, apply
from harness.kernel.series.reading import read

__all__ = ["Patch", "Patched", "Series", "apply", "read"]
