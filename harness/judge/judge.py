# SPDX-License-Identifier: GPL-2.0-only
"""From what is known about a probe, or a run, to what it says about the kernel.

A probe, the first that holds:

==== ======================================================================== ======
 1   the kernel oopsed, hit a BUG or panicked meanwhile, or the guest died    CRASH
 2   it ran out of time; the kernel said that something makes no progress,    HANG
     and it did not end; or SSH was dead and the machine was not
 3   the machine is gone, and nobody knows why                                LOST
 4   a signal ended it                                                        FAIL
 5   it printed no KTAP                                                       FAIL
 6   a result is ``not ok``                                                   FAIL
 7   its KTAP is damaged: results missing, no plan, cut short ...             FAIL
 8   a result is skipped without a reason                                     FAIL
 9   the exit code contradicts the results                                    FAIL
10   the exit code is 4, or every result is skipped                           SKIP
11   otherwise                                                                PASS
==== ======================================================================== ======

For one of the kernel's own tests `harness.judge.kselftest` takes the place of rules 5 to 11.

A number in the kernel's books on huge pages that does not come back (`harness.judge.accounting`)
turns a PASS or SKIP into a FAIL: a leak. For the kernel's own tests, which set pools themselves, it
is told and no more; what a probe does that spoils its guest by design is not judged.

A checkpoint at which the page tables disagree with what the kernel or the probe says of them turns
a PASS or SKIP into a FAIL as well, and so does one that the host did not answer.

Any other complaint of the kernel during the probe turns a PASS or SKIP into a FAIL and is named
behind the reason of anything else. Everything here is a pure function of text and records, so that
an old run can be judged again.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import msgspec

from harness.judge import accounting, blame, checkpoint, dmesg, kselftest, ktap, partial
from harness.judge.lines import clean, short
from harness.judge.partial import PartialVerdict, aside
from harness.records.probe import (
    Capture,
    CheckpointResult,
    Leak,
    ProbeEvidence,
    ProbeResult,
    Splat,
    Status,
    Subtest,
)
from harness.records.run import HgmSupport, Verdict

#: What a probe ends with to say that it could not test anything; kselftest's KSFT_SKIP.
SKIP_CODE = 4

#: What a KTAP may have and still be trusted: the format allows other lines anywhere.
TOLERATED = frozenset({"garbage-before", "garbage-after"})

#: Probes that need high-granularity mapping, where nobody says which do.
HGM_PREFIX = "hgm/"

_BAD: tuple[Status, ...] = ("CRASH", "HANG", "FAIL", "LOST")

_CHECKPOINT = f"# {checkpoint.PREFIX}"

# The shell's way to say that a signal ended a program: 128 and the signal's number.
_SIGNALLED = 128


class RunVerdict(NamedTuple):
    """How a run ends.

    Attributes:
        verdict: PASS, FAIL or ERROR.
        exit_code: 0, 1 or 3.
        reason: one line.
    """

    verdict: Verdict
    exit_code: int
    reason: str


class ConsoleSlice(NamedTuple):
    """What the console showed of a probe, decoded by `lines.decode`.

    Attributes:
        text: from its begin on; a complaint that had begun before its end is whole in it.
        length: bytes of ``text`` that came before its end.
        capture: what was learnt when it hung or died; None where nothing was captured.
        captured: what the capture made the kernel say.
        missing: bytes of it that the console's file does not hold.
    """

    text: str
    length: int
    capture: Capture | None = None
    captured: str = ""
    missing: int = 0


def judge_probe(
    evidence: ProbeEvidence,
    text: str,
    stderr: str,
    console: ConsoleSlice,
    checkpoints: Sequence[CheckpointResult] = (),
) -> ProbeResult:
    """Return what one probe says about the kernel.

    Args:
        evidence: how it ended.
        text: its standard output, which should be KTAP.
        stderr: its standard error.
        console: what the serial console showed meanwhile.
        checkpoints: what its page tables looked like from outside, in the order it asked.

    Returns:
        The result, with splat offsets that count from the start of ``serial.log``, and without
        its directory, which the store knows.
    """
    splats = tuple(
        msgspec.structs.replace(splat, offset=splat.offset + evidence.console_from)
        for splat in dmesg.scan(console.text)
        if splat.offset < console.length
    )
    splats += _gap(evidence, console)
    leaks = _leaks(evidence)
    document = ktap.parse(text)
    subtests = ktap.flatten(document)
    if evidence.rules == "kselftest" and document.empty:
        subtests = kselftest.results(text)
    status, reason = (
        _crash(evidence, splats)
        or _unfinished(evidence, splats, subtests, console)
        or _complained(
            _leaked(
                _disputed(
                    _judge_output(evidence, document, subtests, text, stderr), text, checkpoints
                ),
                leaks if evidence.rules == "ktap" else (),
            ),
            splats,
        )
    )
    return ProbeResult(
        name=evidence.name,
        status=status,
        reason=short(reason, 400),
        seconds=evidence.seconds,
        subtests=subtests,
        splats=splats,
        checkpoints=tuple(checkpoints),
        leaks=leaks,
        place=_place(status, evidence, splats, console),
        without_series=evidence.without_series,
    )


def _gap(evidence: ProbeEvidence, console: ConsoleSlice) -> tuple[Splat, ...]:
    """Return a finding where the file of the console ends before the probe did."""
    if not console.missing:
        return ()
    title = f"{console.missing} bytes of the console during the probe are missing"
    return (Splat(kind="console-gap", title=title, block=(title,), offset=evidence.console_to),)


def _place(
    status: Status, evidence: ProbeEvidence, splats: Sequence[Splat], console: ConsoleSlice
) -> str:
    """Return where the kernel stood if it hung, died or complained."""
    if status == "HANG" and console.capture is not None:
        return blame.of_hang(evidence.program, console.captured, splats, console.capture)
    if status == "CRASH":
        return blame.of_crash(splats, console.capture)
    return blame.of_splat(splats, console.capture)


def _crash(evidence: ProbeEvidence, splats: Sequence[Splat]) -> PartialVerdict | None:
    """Rule 1. The first fatal complaint is the cause; a panic is often only its consequence."""
    fatal = next((splat for splat in splats if dmesg.is_fatal(splat)), None)
    if fatal is not None:
        return PartialVerdict("CRASH", fatal.title)
    if evidence.ended != "guest-died":
        return None
    said = splats[0].title if splats else ""
    return PartialVerdict("CRASH", said or evidence.detail or "the guest died without a word")


def _unfinished(
    evidence: ProbeEvidence,
    splats: Sequence[Splat],
    subtests: Sequence[Subtest],
    console: ConsoleSlice,
) -> PartialVerdict | None:
    """Rules 2 and 3."""
    if evidence.ended == "exit":
        return None
    reached = f"after {subtests[-1].name}" if subtests else "before its first result"
    alive = console.capture is not None and bool(console.capture.vcpus)
    if evidence.ended in ("budget", "stalled") or (evidence.ended == "lost" and alive):
        return PartialVerdict("HANG", "; ".join(_hang(evidence, splats, reached, console)))
    detail = evidence.detail or "the guest stopped answering"
    return PartialVerdict(
        "LOST", "; ".join([f"{detail}, {reached}", *(s.title for s in splats[:1])])
    )


def _hang(
    evidence: ProbeEvidence, splats: Sequence[Splat], reached: str, console: ConsoleSlice
) -> list[str]:
    """Return what is known about a hang, the most telling first."""
    said = {
        "budget": f"took longer than {evidence.budget:g} s",
        "stalled": "stood still",
        "lost": f"{evidence.detail or 'SSH stopped answering'}, and the machine goes on",
    }
    parts = [f"{said[evidence.ended]}, {reached}"]
    if console.capture is not None:
        where = blame.of_hang(evidence.program, console.captured, splats, console.capture)
        parts += [f"in {where}"] if where else []
        waiting = blame.waiters(console.text + console.captured)
        parts += [f"waits for userfaultfd: {', '.join(waiting)}"] if waiting else []
    stuck = [splat for splat in splats if splat.kind in dmesg.STUCK] or list(splats)
    return parts + [splat.title for splat in stuck[:1]]


def _judge_output(
    evidence: ProbeEvidence,
    document: ktap.KtapDocument,
    subtests: tuple[Subtest, ...],
    text: str,
    stderr: str,
) -> PartialVerdict:
    """Rules 4 to 11, for a probe that ended by itself."""
    code = evidence.exit_code
    if code is None:
        return PartialVerdict("FAIL", "its exit code is not known")
    if name := _signal_name(code):
        return PartialVerdict("FAIL", _killed(name, subtests, stderr))
    if evidence.rules == "kselftest":
        return kselftest.judge(code, document, subtests, text, stderr)
    if document.empty:
        return PartialVerdict("FAIL", _no_ktap(code, text, stderr))
    bad = [subtest for subtest in subtests if subtest.status == "FAIL"]
    if bad:
        return PartialVerdict("FAIL", partial.failed(bad, code))
    for problem in document.problems:
        if problem.kind not in TOLERATED:
            return PartialVerdict("FAIL", f"damaged KTAP: {problem.text}{aside(stderr)}")
    return _judge_code(code, document, subtests, stderr)


def _judge_code(
    code: int, document: ktap.KtapDocument, subtests: tuple[Subtest, ...], stderr: str
) -> PartialVerdict:
    """Rules 8 to 11, for whole KTAP without a failure."""
    skipped = [subtest for subtest in subtests if subtest.status == "SKIP"]
    unexplained = [subtest.name for subtest in skipped if not subtest.reason]
    if unexplained:
        return PartialVerdict("FAIL", f"skipped without a reason: {unexplained[0]}")
    reasons = [subtest.reason for subtest in skipped]
    if document.skipped is not None:
        reasons.insert(0, document.skipped)
    nothing_tested = len(skipped) == len(subtests)
    if code not in (0, SKIP_CODE):
        return PartialVerdict("FAIL", f"no result is `not ok`, yet exit code {code}{aside(stderr)}")
    if code == SKIP_CODE or nothing_tested:
        if not reasons or not reasons[0]:
            return PartialVerdict("FAIL", f"tested nothing and gave no reason (exit code {code})")
        return PartialVerdict("SKIP", reasons[0])
    return PartialVerdict("PASS", "")


def _complained(verdict: PartialVerdict, splats: Sequence[Splat]) -> PartialVerdict:
    """Let no probe pass during which the kernel complained."""
    if not splats:
        return verdict
    parts = [verdict.reason] if verdict.status == "FAIL" else []
    more = f" (and {len(splats) - 1} more)" if len(splats) > 1 else ""
    parts.append(f"kernel: {splats[0].title}{more}")
    return PartialVerdict("FAIL", "; ".join(parts))


def _disputed(
    verdict: PartialVerdict, text: str, checkpoints: Sequence[CheckpointResult]
) -> PartialVerdict:
    """Turn an verdict into a FAIL if the page tables, seen from outside, say otherwise."""
    asked = sum(line.startswith(_CHECKPOINT) for line in text.split("\n"))
    lines = [
        f"page tables, checkpoint {each.number}{each.name and f' ({each.name})'}: {problem}"
        for each in checkpoints
        for problem in each.problems
    ]
    if asked != len(checkpoints):
        lines.append(f"the host looked at {len(checkpoints)} of {asked} checkpoints")
    if not lines:
        return verdict
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    parts = [verdict.reason] if verdict.status == "FAIL" else []
    return PartialVerdict("FAIL", "; ".join([*parts, f"{lines[0]}{more}"]))


def _leaks(evidence: ProbeEvidence) -> tuple[Leak, ...]:
    if evidence.accounting is None or evidence.taints_guest:
        return ()
    return accounting.differences(evidence.accounting.before, evidence.accounting.after)


def _leaked(verdict: PartialVerdict, leaks: Sequence[Leak]) -> PartialVerdict:
    """Let no probe pass after which something is missing."""
    if not leaks:
        return verdict
    parts = [verdict.reason] if verdict.status == "FAIL" else []
    more = f" (and {len(leaks) - 3} more)" if len(leaks) > 3 else ""
    parts.append(f"leak: {', '.join(map(accounting.describe, leaks[:3]))}{more}")
    return PartialVerdict("FAIL", "; ".join(parts))


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(code - _SIGNALLED).name
    except ValueError:
        return ""


def _killed(name: str, subtests: Sequence[Subtest], stderr: str) -> str:
    reached = f"after {subtests[-1].name}" if subtests else "before its first result"
    failed = next((subtest for subtest in subtests if subtest.status == "FAIL"), None)
    first = f"; {partial.failed([failed], 1)}" if failed else ""
    return f"killed by {name}, {reached}{first}{aside(stderr)}"


def _no_ktap(code: int, text: str, stderr: str) -> str:
    first = next((line for line in map(clean, text.split("\n")) if line.strip()), "")
    said = f"first line {short(first, 80)!r}" if first else "it printed nothing"
    return f"printed no KTAP: {said}, exit code {code}{aside(stderr)}"


def judge_run(
    probes: Sequence[ProbeResult],
    *,
    expect: Literal["report", "hgm", "stock"],
    hgm: HgmSupport,
    splats: Sequence[Splat] = (),
    hgm_probes: Collection[str] | None = None,
) -> RunVerdict:
    """Return how a run ends, once every selected probe has a result.

    A run whose only fault is that probes were LOST says nothing about the kernel: it ends with
    ERROR and exit code 3. A run without probes never passes.

    Args:
        probes: every selected probe.
        expect: ``hgm`` makes a kernel without it, or a skipped HGM probe, a failure; ``stock``
            makes a kernel with it one; ``report`` neither.
        hgm: what the kernel said about itself.
        splats: complaints outside of any probe.
        hgm_probes: names of the probes that need HGM; by default those below ``hgm/``.
    """
    needs = hgm_probes if hgm_probes is not None else _hgm_by_name(probes)
    about = f"{describe_hgm(hgm)}; {tally(probes)}"
    if not probes:
        return RunVerdict("FAIL", 1, "no probe ran, so nothing was tested")
    faults = [
        *_bad_probes(probes),
        *_broken_expectation(expect, hgm, [p for p in probes if p.name in needs]),
        *(f"the kernel complained outside of any probe: {s.title}" for s in splats[:1]),
    ]
    if not faults:
        return RunVerdict("PASS", 0, about)
    lost_only = {probe.status for probe in probes}.isdisjoint(("FAIL", "CRASH", "HANG"))
    if lost_only and len(faults) == 1 and any(probe.status == "LOST" for probe in probes):
        return RunVerdict("ERROR", 3, f"{faults[0]}; {about}")
    return RunVerdict("FAIL", 1, f"{'; '.join(faults)}; {about}")


def describe_hgm(hgm: HgmSupport) -> str:
    """Return whether the kernel has HGM, by its own word, as part of a sentence."""
    if hgm.present is None:
        return "HGM support not known"
    said = f" ({hgm.evidence})" if hgm.evidence else ""
    return f"kernel has {'' if hgm.present else 'no '}HGM{said}"


def tally(probes: Sequence[ProbeResult]) -> str:
    """Return how many probes ended how, such as ``9 passed, 12 skipped``."""
    words = {
        "PASS": "passed",
        "FAIL": "failed",
        "CRASH": "crashed the kernel",
        "HANG": "hung",
        "LOST": "lost",
        "SKIP": "skipped",
    }
    counts = {status: sum(probe.status == status for probe in probes) for status in words}
    parts = [f"{counts[status]} {word}" for status, word in words.items() if counts[status]]
    return ", ".join(parts) or "no probes"


def _hgm_by_name(probes: Sequence[ProbeResult]) -> frozenset[str]:
    return frozenset(probe.name for probe in probes if probe.name.startswith(HGM_PREFIX))


def _bad_probes(probes: Sequence[ProbeResult]) -> list[str]:
    """Return one line about the worst probe, or none."""
    bad = [probe for probe in probes if probe.status in _BAD]
    if not bad:
        return []
    worst = min(bad, key=lambda probe: _BAD.index(probe.status))
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return [f"{worst.name} {worst.status}{more}: {worst.reason}"]


def _broken_expectation(
    expect: Literal["report", "hgm", "stock"], hgm: HgmSupport, needing: Sequence[ProbeResult]
) -> list[str]:
    """Return one line if the kernel is not what the caller said it would be, else none."""
    if expect == "hgm":
        if hgm.present is not True:
            return ["expected a kernel with HGM"]
        # A probe that never ran, and so left no files, is what the machine lacked: no word of it
        # is the kernel's.
        skipped = [probe for probe in needing if probe.status == "SKIP" and probe.directory]
        return [f"expected HGM, yet {p.name} was skipped: {p.reason}" for p in skipped[:1]]
    if expect == "stock" and hgm.present is not False:
        return ["expected a kernel without HGM"]
    return []
