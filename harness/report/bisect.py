# SPDX-License-Identifier: GPL-2.0-only
"""What a bisection found, as people want to read it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TextIO

from harness.campaign.bisect import Bisection, Confidence
from harness.campaign.evaluate import Candidate, Look


def write(found: Bisection, stream: TextIO) -> None:
    """Write the whole report, plain lines."""
    stream.write("\n".join(lines(found)) + "\n")


def lines(found: Bisection) -> Iterator[str]:
    """Yield the report's lines."""
    yield found.question
    yield ""
    yield from (_look(look) for look in found.looks)
    yield ""
    if found.outcome == "found" and found.diffstat:
        yield from (f"  {line.strip()}" for line in found.diffstat.splitlines())
    if found.outcome in ("found", "several"):
        yield f"evidence  {found.evidence}"
        yield f"before    {found.before or 'not seen'}"
    if found.confidence is not None:
        yield f"sure      {_sure(found.confidence)}"
    yield from (f"again     {shlex.join(command)}" for command in found.again)
    yield f"cost      {_cost(found)}"
    yield f"record    {found.directory}"
    yield verdict_line(found)


def verdict_line(found: Bisection) -> str:
    """Return the last line: who it was."""
    first = _named(found.suspects[0])
    match found.outcome:
        case "found":
            return f"FOUND: {first}"
        case "several":
            names = "; ".join(_named(each) for each in found.suspects)
            return f"ONE OF {len(found.suspects)}, the others cannot be tested: {names}"
        case "always":
            return f"NOT FOUND: {first} is bad already: {found.evidence}"
    return f"NOT FOUND: {first} is not bad: {found.evidence}"


def _named(candidate: Candidate) -> str:
    point = candidate.point[:12] if len(candidate.point) > 12 else str(int(candidate.point))
    return f"{point} {candidate.name}"


def _look(look: Look) -> str:
    asked = f" ({look.bad} of {look.asked})" if look.asked > 1 else ""
    return f"{look.answer + asked:<20} {_named(look.candidate)}: {look.reason}"


def _cost(found: Bisection) -> str:
    counted = f"{found.builds} builds, {found.runs} runs, {found.seconds:.0f} s"
    if found.ratio is None:
        return counted
    parts = f"make {found.make_seconds:.0f} s, guests {found.guest_seconds:.0f} s"
    return f"{counted}: {found.ratio:.2f} times {parts}"


def _sure(confidence: Confidence) -> str:
    return (
        f"{confidence.reached:.1%} at least (asked: {confidence.wanted:.0%}): the fault shows in "
        f"{confidence.rate:.0%} of runs at least; good is what passed {confidence.repeats} times"
    )
