# SPDX-License-Identifier: GPL-2.0-only
"""Where the data files are: beside ``harness/`` in a checkout, inside the package in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_PACKAGED = _PACKAGE / "_data"

#: The checkout that this code is in; None if it was installed from a wheel.
CHECKOUT = None if _PACKAGED.is_dir() else _PACKAGE.parent


def directory(name: str) -> Path:
    """Return the absolute path of ``kernel-configs``, ``kernel-patches`` or another of them."""
    return (CHECKOUT or _PACKAGED) / name
