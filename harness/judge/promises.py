# SPDX-License-Identifier: GPL-2.0-only
"""Promises of the kernel under test: what probes were answered, and what became of it. Pure.

A probe prints, before its tests and before each result::

    # promise write-protect-base-pages: not offered: EINVAL
    # rests on write-protect-base-pages collapse
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import get_args

from harness.records.probe import AnswerState, ProbeResult, PromiseAnswer
from harness.records.run import HgmSupport, Profile, PromiseState

#: How a line begins that has an answer.
ANSWER = "# promise "

#: How a line begins that names the promises of the next result.
RESTS_ON = "# rests on "

_STATES = "|".join(get_args(AnswerState))
_LINE = re.compile(rf"^# promise ([a-z-]+): ({_STATES}): (.*)$", re.MULTILINE)

#: The promise that every HGM probe rests on; the kernel is asked before any of them.
SPLIT = "split"


def answers(text: str) -> tuple[PromiseAnswer, ...]:
    """Return what a probe's output says that the kernel answered."""
    return tuple(
        PromiseAnswer(name=name, state=state, word=word[:200])
        for name, state, word in _LINE.findall(text.replace("\r", ""))
    )


def rests_on(line: str) -> tuple[str, ...]:
    """Return the promises that a ``# rests on`` line names."""
    return tuple(line.removeprefix(RESTS_ON).split())


def states(probes: Sequence[ProbeResult]) -> tuple[PromiseState, ...]:
    """Return what became of each promise that was asked about, in the order they were asked.

    Of several answers for one size the least favourable counts: a promise that is kept at times is
    not kept.
    """
    found: dict[tuple[str, str], PromiseState] = {}
    for probe in probes:
        size = probe.name.partition("#")[0].rpartition("/")[2]
        for answer in probe.promises:
            seen = _state(probe, size, answer)
            known = found.get((answer.name, size), seen)
            found[answer.name, size] = max(known, seen, key=lambda each: _ORDER.index(each.state))
    return tuple(found.values())


_ORDER = ("unknown", "kept", "not offered", "broken")


def _state(probe: ProbeResult, size: str, answer: PromiseAnswer) -> PromiseState:
    if answer.state != "offered":
        return PromiseState(name=answer.name, size=size, state=answer.state, word=answer.word)
    broken = tuple(
        f"{probe.name}: {subtest.name}"
        for subtest in probe.subtests
        if subtest.status == "FAIL" and answer.name in subtest.rests_on
    )
    return PromiseState(
        name=answer.name,
        size=size,
        state="broken" if broken else "kept",
        word=answer.word,
        broken_by=broken,
    )


def unmet(profile: Profile, hgm: HgmSupport, found: Sequence[PromiseState]) -> Iterator[str]:
    """Yield a line for each promise that is not as the profile says, of those that were asked.

    A promise that no probe of the run asked about is not judged, except for MADV_SPLIT, which every
    run asks about.
    """
    if SPLIT in profile.offers and hgm.present is not True:
        yield "expected a kernel with HGM"
        return
    if SPLIT in profile.lacks and hgm.present is not False:
        yield "expected a kernel without HGM"
    for promise in found:
        offered = promise.state in ("kept", "broken")
        where = f"{promise.name} on huge pages of {promise.size}"
        if promise.name in profile.offers and promise.state == "not offered":
            yield f"expected {profile.name}, which offers {where}: {promise.word}"
        elif promise.name in profile.lacks and promise.name != SPLIT and offered:
            yield f"expected {profile.name}, which does not offer {where}: {promise.word}"


def unanswered(profile: Profile, found: Sequence[PromiseState]) -> tuple[str, ...]:
    """Return the promises of a profile that were not judged, because there was no answer."""
    known = {SPLIT, *(promise.name for promise in found if promise.state != "unknown")}
    return tuple(name for name in (*profile.offers, *profile.lacks) if name not in known)


def describe_hgm(hgm: HgmSupport) -> str:
    """Return whether the kernel has HGM, as part of a sentence."""
    if hgm.present is None:
        return "HGM support not known"
    evidence = f" ({hgm.evidence})" if hgm.evidence else ""
    return f"kernel has {'' if hgm.present else 'no '}HGM{evidence}"
