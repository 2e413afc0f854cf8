# SPDX-License-Identifier: GPL-2.0-only
"""Parses sizes such as ``20G``."""

from __future__ import annotations

import re

from harness.errors import SpecError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", re.IGNORECASE | re.ASCII)
_FACTORS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str, option: str) -> int:
    """Return the bytes that ``20G``, ``512MiB``, ``1.5T`` or ``8589934592`` stands for.

    Raises:
        SpecError: naming ``option`` if it is not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise SpecError(f"{option}: {text!r} is not a size", hint="write it like 512M or 6G")
    return int(float(match[1]) * _FACTORS[match[2].upper()])
