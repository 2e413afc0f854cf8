# SPDX-License-Identifier: GPL-2.0-only
"""The result of `hgm probes list` as text: a line a probe, its sizes together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from harness.records.probe import ProbeSpec


def write(specs: Sequence[ProbeSpec], stream: TextIO) -> None:
    """Write name, language, sizes and description of each probe, and their number."""
    sizes: dict[str, list[str]] = {}
    first: dict[str, ProbeSpec] = {}
    for spec in specs:
        base, _, size = spec.name.rpartition("/")
        sizes.setdefault(base, []).append(size)
        first.setdefault(base, spec)
    width = max(len(base) for base in sizes)
    for base, names in sizes.items():
        spec = first[base]
        shows = spec.shows + (" (only if --probe matches it)" if spec.on_request else "")
        if spec.config:
            shows += f" (only with --config {' and '.join(spec.config)}, or if --probe matches it)"
        stream.write(f"{base:<{width}}  {spec.language:<6}  {','.join(names):<5}  {shows}\n")
    stream.write(f"{len(sizes)} probes, {len(specs)} with every huge-page size\n")
