# SPDX-License-Identifier: GPL-2.0-only
"""Benchmarks as text, and as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from harness.errors import UserError
from harness.records.bench import Bench, Ratio
from harness.report import picture

#: A load average above which something else ran on the host.
_BUSY = 0.5

#: So many single measurements show how far they lie apart.
_SPREAD = 3


def ratio_lines(ratio: Ratio) -> Iterator[str]:
    """Yield a line for each side, and one for the ratio."""
    for name, times in ((ratio.what, ratio.seconds), (ratio.base, ratio.base_seconds)):
        each = ", ".join(f"{seconds:.2f}" for seconds in times)
        yield f"{name:<24} median {statistics.median(times):.2f} {ratio.unit}  ({each})"
    count = len(ratio.seconds)
    rounds = f"medians of {count} rounds, in turn" if count > 1 else "one round"
    yield f"ratio {ratio.ratio:.2f} ({rounds}){_aim(ratio)}"


def edit_lines(everything: Ratio, one: Ratio) -> Iterator[str]:
    """Yield the result of `bench edit`; its aim is the seconds added, not a ratio."""
    yield from ratio_lines(everything)
    yield from ratio_lines(one)
    more = [a - b for a, b in zip(one.seconds, one.base_seconds, strict=True)]
    each = ", ".join(f"{seconds:.1f}" for seconds in more)
    yield f"added {statistics.median(more):.1f} s (median; {each}); the aim is at most 3"


def lines(bench: Bench, before: Mapping[str, Sequence[Bench]]) -> Iterator[str]:
    """Yield the result.

    Args:
        bench: what was measured.
        before: earlier benchmarks of the same host to compare its parts with, newest first, by name
            of the part.
    """
    yield f"{bench.started}, {bench.host}, load {bench.load}"
    yield f"{bench.kernel}, {bench.accel}"
    if bench.load > _BUSY:
        yield f"something else ran on this host: a load of {bench.load} when it began"
    for part in bench.parts:
        yield ""
        why = part.absent or (part.error and f"failed: {part.error}")
        yield f"{part.name}: {why}" if why else part.name
        for ratio in part.ratios:
            *sides, said = ratio_lines(ratio)
            yield from (f"  {side}" for side in sides)
            found = ((each, _same(ratio, part.name, each)) for each in before.get(part.name, ()))
            if earlier := [(each.started[:10], known) for each, known in found if known]:
                said += f"; {_compared(ratio, [known for _, known in earlier])} on {earlier[0][0]}"
            yield f"  {said}"


def svg(bench: Bench) -> str:
    """Return the ratios as an SVG picture: each round a ring, each aim a line.

    Raises:
        UserError: if nothing was measured.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, ScalarFormatter

    rows = [(part.name, ratio) for part in bench.parts for ratio in part.ratios]
    if not rows:
        raise UserError("nothing was measured, so there is nothing to draw")
    with picture.style():
        drawing = Figure(figsize=(7.2, 0.8 + 0.45 * len(rows)), layout="constrained")
        axes = drawing.subplots()
        for place, (_, ratio) in enumerate(rows):
            rounds = _by_round(ratio)
            drawn = [place] * len(rounds)
            axes.plot(rounds, drawn, "o", color=picture.DATA, fillstyle="none", ms=5)
            axes.plot([ratio.ratio], [place], "o", color=picture.DATA, ms=5)
            if ratio.at_most is not None:
                axes.plot([ratio.at_most], [place], "|", color=picture.INK, ms=14)
            axes.text(
                *(0.005, place - 0.28, f"{ratio.what} / {ratio.base}"),
                transform=axes.get_yaxis_transform(),
                color=picture.INK,
                fontsize=8,
            )
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(ScalarFormatter())
        shown = [each for _, ratio in rows for each in (*_by_round(ratio), ratio.at_most) if each]
        axes.set_xticks([each for each in _TICKS if min(shown) / 2 < each < max(shown) * 2])
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.7)
        axes.set_xlabel("ratio to the baseline; | is the aim", color=picture.INK)
        picture.plain(axes)
        return picture.svg(drawing)


_TICKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


def _by_round(ratio: Ratio) -> Sequence[float]:
    return [a / b for a, b in zip(ratio.seconds, ratio.base_seconds, strict=True)]


def _aim(ratio: Ratio) -> str:
    return "" if ratio.at_most is None else f"; the aim is at most {ratio.at_most:g}"


def _same(ratio: Ratio, part: str, bench: Bench) -> Ratio | None:
    """Return the ratio of the same two commands in a part of another benchmark."""
    ratios = (each for found in bench.parts if found.name == part for each in found.ratios)
    return next((e for e in ratios if (e.what, e.base) == (ratio.what, ratio.base)), None)


def _compared(ratio: Ratio, earlier: Sequence[Ratio]) -> str:
    """Return the last ratio, and whether this one is above all of its rounds.

    Of a part that is measured once, the rounds are those of earlier benchmarks, if these are enough
    to know its spread.
    """
    last, rounds = earlier[0], _by_round(earlier[0])
    if len(rounds) == 1 and len(earlier) >= _SPREAD:
        rounds = [each for known in earlier for each in _by_round(known)]
    if len(rounds) > 1 and ratio.ratio > max(rounds):
        return f"slower than {last.ratio:.2f} ({min(rounds):.2f} to {max(rounds):.2f})"
    return f"{last.ratio:.2f}"
