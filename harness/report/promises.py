# SPDX-License-Identifier: GPL-2.0-only
"""Promises and profiles as text: `hgm probes promises`, and the table of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from harness.judge.promises import unanswered
from harness.probes.promises import Promise
from harness.records.run import Profile, PromiseState


def write(promises: Sequence[Promise], profiles: Sequence[Profile], stream: TextIO) -> None:
    """Write what each promise means, and which of them each profile demands."""
    for promise in promises:
        stream.write(f"{promise.name}\n    {promise.means}\n    else: {promise.otherwise}\n")
        stream.write(f"    asked: {promise.asked}\n")
    for profile in profiles:
        stream.write(f"--expect {profile.name}\n")
        for word, names in (("offers", profile.offers), ("lacks", profile.lacks)):
            if names:
                stream.write(f"    {word}: {', '.join(names)}\n")


def expectation(profile: Profile, states: Sequence[PromiseState]) -> str:
    """Return the profile that a run was judged by, and how much of it; empty if it says nothing."""
    total = len(profile.offers) + len(profile.lacks)
    missing = len(unanswered(profile, states))
    if not missing:
        return profile.name if total else ""
    return f"{profile.name}: {missing} of {total} promises not asked about; hgm/promises asks all"


def lines(states: Sequence[PromiseState]) -> list[str]:
    """Return a line for each promise that a kernel does not keep, its sizes together."""
    said: dict[tuple[str, str, str], list[str]] = {}
    for each in states:
        if each.state != "kept":
            said.setdefault((each.state, each.name, each.word), []).append(each.size)
    return [
        f"{state}: {name} on {', '.join(sizes)}: {word}"
        for (state, name, word), sizes in said.items()
    ]
