# SPDX-License-Identifier: GPL-2.0-only
"""The result of `hgm bisect` as text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from harness import errors
from harness.kernel.series.patch import printable
from harness.records.campaign import Bisection, Candidate, Confidence, Evaluation

#: Suspects by trace that are shown, and suspects in the last line; the record has all.
_MOST_TRACED = 10
_MOST_NAMED = 4


def lines(found: Bisection) -> Iterator[str]:
    """Yield the report's lines."""
    yield found.predicate
    yield ""
    yield from map(_evaluation, found.evaluations)
    yield ""
    yield from (f"  {line.strip()}" for line in found.diffstat.splitlines())
    yield from (f"enables   {named(each)}: put on top of what is before" for each in found.enabling)
    yield from (
        f"trace     {named(each.candidate)}: {each.function}() in {each.hunk}"
        for each in found.traced[:_MOST_TRACED]
    )
    if found.result == "several":
        yield from (f"suspect   {named(each)}" for each in found.suspects)
    if found.result in ("found", "several"):
        yield f"evidence  {found.evidence}"
        yield f"before    {found.before or 'not tested'}"
    if found.confidence is not None:
        yield f"sure      {_sure(found.confidence)}"
    yield from (f"again     {shlex.join(command)}" for command in found.commands)
    yield f"cost      {_cost(found)}"
    yield f"record    {found.directory}"
    yield verdict_line(found)


def verdict_line(found: Bisection) -> str:
    """Return the last line: the culprit, or why there is none."""
    first = named(found.suspects[0])
    bad = "good" if found.first_good else "bad"
    match found.result:
        case "found":
            return f"FOUND: {first}" + (" is the first good one" if found.first_good else "")
        case "several":
            names = "; ".join(map(named, found.suspects[:_MOST_NAMED]))
            more = len(found.suspects) - _MOST_NAMED
            others = f"; and {more} more" if more > 0 else ""
            return f"ONE OF {len(found.suspects)}, as {found.why}: {names}{others}"
        case "always":
            return f"NOT FOUND: {first} is {bad} already: {found.evidence}"
        case "never":
            return f"NOT FOUND: {first} is not {bad}: {found.evidence}"


def evidence_for_others(found: Bisection) -> str:
    """Return the evidence; where that is an error, without directories of this machine."""
    is_error = found.evidence.startswith(("does not build: ", "does not boot: "))
    return errors.for_others(found.evidence) if is_error else found.evidence


def named(candidate: Candidate) -> str:
    """Return a patch with its number, or a commit with the beginning of its ID."""
    number = candidate.id[:12] if len(candidate.id) > 12 else str(int(candidate.id))
    return f"{number} {printable(candidate.name)}"


def _evaluation(each: Evaluation) -> str:
    counted = f" ({each.bad} of {each.samples})" if each.samples > 1 else ""
    names = " with ".join(map(named, (each.candidate, *each.on_top)))
    return f"{each.term + counted:<20} {names}: {each.reason}"


def _cost(found: Bisection) -> str:
    counted = f"{found.builds} builds, {found.runs} runs, {found.seconds:.0f} s"
    if found.ratio is None:
        return counted
    parts = f"make {found.make_seconds:.0f} s, guests {found.guest_seconds:.0f} s"
    return f"{counted}: {found.ratio:.2f} times {parts}"


def _sure(confidence: Confidence) -> str:
    return (
        f"at least {confidence.reached:.1%} (asked: {confidence.wanted:.0%}): the fault shows in "
        f"at least {confidence.rate:.0%} of runs; a good kernel passed {confidence.repeats} times"
    )
