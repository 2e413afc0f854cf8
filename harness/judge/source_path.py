# SPDX-License-Identifier: GPL-2.0-only
"""Paths of kernel sources as kernel developers write them: ``mm/hugetlb.c``."""

from __future__ import annotations

import re

# Directories at the top of a kernel tree: a path is shown from there on.
_TOPS = (
    "arch|block|certs|crypto|drivers|fs|include|init|io_uring|ipc|kernel|lib|mm|net|rust|samples"
    "|security|sound|tools|usr|virt"
)
_IN_TREE = re.compile(rf"(?:.*/trees/[^/]+/src(?:/[^/]+/\.\.)?|.*?)/((?:{_TOPS})/.*)")


def below_tree(path: str) -> str:
    """Return a source's path from the top of its kernel tree, or unchanged if it is in none."""
    match = _IN_TREE.fullmatch(path if path.startswith("/") else f"/{path}")
    return match[1] if match else path
