# SPDX-License-Identifier: GPL-2.0-only
"""Where the data files lie: beside ``harness/`` in a checkout, inside the package in a wheel."""

from __future__ import annotations

from pathlib import Path

#: The checkout, or what holds the installed package.
ROOT = Path(__file__).resolve().parent.parent

_PACKAGED = Path(__file__).resolve().parent / "_data"


def directory(name: str) -> Path:
    """Return the absolute path of ``kernel-configs``, ``kernel-patches`` or another of them."""
    packaged = _PACKAGED / name
    return packaged if packaged.is_dir() else ROOT / name
