# SPDX-License-Identifier: GPL-2.0-only
"""The verdict on a probe, from its output, its exit code, its console and its checkpoints. Pure.

The first rule that applies decides:

==== ======================================================================== ======
 1   the kernel printed an oops, a BUG or a panic, or the guest died          CRASH
 2   the probe ran out of time; or the kernel reported a hung task, a lockup  HANG
     or an RCU stall, and the probe did not end; or SSH stopped answering
     while QEMU was still running; and its vCPUs were not starved
     (`harness.judge.starvation`)
 3   the guest was lost in any other way                                      LOST
 4   a signal killed the probe                                                FAIL
 5   it printed no KTAP                                                       FAIL
 6   a result is ``not ok``                                                   FAIL
 7   its KTAP is damaged: results missing, no plan, cut short ...             FAIL
 8   a result is skipped without a reason                                     FAIL
 9   the exit code contradicts the results                                    FAIL
10   the exit code is 4, or every result is skipped                           SKIP
11   otherwise                                                                PASS
==== ======================================================================== ======

For the kernel's own selftests, `harness.judge.kselftest` replaces rules 5 to 11.

What a known issue of the kernel explains (`harness.judge.known_issues`) counts neither under rule 6
nor below, and makes a PASS or SKIP a KNOWN. Nothing else is excused: a CRASH, a HANG or a signal
never is, nor damaged KTAP or any other failure of the same probe.

Each of these turns a PASS or SKIP into a FAIL, and is added to the reason of a FAIL:

- a checkpoint at which the page tables differ from what the kernel or the probe reported, or that
  the host did not answer;
- a leak: a number of the kernel's huge-page accounting that is not what it was before the probe
  (`harness.judge.accounting`). Of the kernel's own selftests, which set pools themselves, leaks are
  recorded and not judged; of a probe that taints its guest they are not even recorded;
- any other splat during the probe. But if the vCPUs were starved, a hung task, a lockup or an RCU
  stall says nothing about the kernel, and turns it into LOST.

Nothing but text and records goes in, so that an old run can be judged again.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from harness.judge import (
    accounting,
    blame,
    checkpoint,
    dmesg,
    kselftest,
    ktap,
    ktap_document,
    partial,
    promises,
    starvation,
)
from harness.judge.known_issues import Explainer
from harness.judge.ktap_document import KtapDocument
from harness.judge.lines import clean, short, stamps
from harness.judge.partial import PartialVerdict, and_more, stderr_note
from harness.records.known_issue import KnownIssue
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

#: The exit code of a probe of which a test failed; kselftest's KSFT_FAIL.
FAIL_CODE = 1

#: The exit code of a probe that could not test anything; kselftest's KSFT_SKIP.
SKIP_CODE = 4

#: What a KTAP document may have and still be trusted: the format allows other lines anywhere.
TOLERATED = frozenset({"garbage-before", "garbage-after"})

_CHECKPOINT = f"# {checkpoint.PREFIX}"

# The shell's exit code of a program that a signal killed: 128 and the signal's number.
_SIGNALLED = 128


class ConsoleSlice(NamedTuple):
    """What the console shows of a probe, decoded by `lines.decode`.

    Attributes:
        text: from the probe's begin; goes past its end, so that a splat that had begun is whole.
        length: bytes of ``text`` before the probe's end.
        capture: what was captured when it hung or died; None where nothing was.
        captured: what the kernel printed because of the capture.
        missing: bytes of the slice that ``serial.log`` does not have.
        post_mortem: what drgn found in the memory dump; empty without one.
    """

    text: str
    length: int
    capture: Capture | None = None
    captured: str = ""
    missing: int = 0
    post_mortem: str = ""


def judge_probe(
    evidence: ProbeEvidence,
    text: str,
    stderr: str,
    console: ConsoleSlice,
    checkpoints: Sequence[CheckpointResult] = (),
    issues: Sequence[KnownIssue] = (),
) -> ProbeResult:
    """Return the verdict on one probe.

    Args:
        evidence: how it ended.
        text: its standard output, which should be KTAP.
        stderr: its standard error.
        console: its part of the serial console.
        checkpoints: the page tables that the host read for it, in the order it asked.
        issues: the known issues of the kernel.

    Returns:
        The result, with splat offsets that count from the start of ``serial.log``, and without
        its directory, which the caller adds.
    """
    splats = tuple(
        msgspec.structs.replace(splat, offset=splat.offset + evidence.console_from)
        for splat in dmesg.scan(console.text)
        if splat.offset < console.length
    )
    splats += _gap(evidence, console)
    leaks = _leaks(evidence)
    document = ktap.parse(text)
    subtests = ktap_document.flatten(document)
    if evidence.rules == "kselftest" and document.empty:
        subtests = kselftest.results(text)
    known = Explainer(issues, evidence.name)
    bad = known.other_tests(subtest for subtest in subtests if subtest.status == "FAIL")
    verdict = _crash(evidence, splats) or _unfinished(evidence, splats, subtests, console)
    if verdict is None:
        verdict = _judge_output(evidence, document, subtests, bad, text, stderr)
        judged_leaks = leaks if evidence.rules == "ktap" else ()
        seconds = stamps(console.text, console.length)
        excuse = starvation.excuse(evidence.host, seconds, evidence.timeout_scale)
        excused = starvation.stuck(splats) if excuse else ()
        faults = [
            *_checkpoint_faults(text, checkpoints, known),
            *_leak_faults(judged_leaks, known),
            *_splat_faults([splat for splat in splats if splat not in excused], known),
        ]
        if faults:
            own = [verdict.reason] if verdict.status == "FAIL" else []
            verdict = PartialVerdict("FAIL", "; ".join([*own, *faults]))
        elif excused and verdict.status != "FAIL":
            verdict = PartialVerdict("LOST", "; ".join([*_splat_faults(excused, known), excuse]))
        elif known.names and verdict.status != "FAIL":
            verdict = PartialVerdict("KNOWN", known.reason())
    return ProbeResult(
        name=evidence.name,
        status=verdict.status,
        reason=short(verdict.reason, 400),
        seconds=evidence.seconds,
        subtests=subtests,
        promises=promises.answers(text),
        splats=splats,
        checkpoints=tuple(checkpoints),
        leaks=leaks,
        known_issues=known.names,
        blame=_blame(verdict.status, evidence, splats, console),
        without_series=evidence.without_series,
    )


def _gap(evidence: ProbeEvidence, console: ConsoleSlice) -> tuple[Splat, ...]:
    """Return a finding where ``serial.log`` ends before the probe did."""
    if not console.missing:
        return ()
    title = f"{console.missing} bytes of the console during the probe are missing"
    return (Splat(kind="console-gap", title=title, block=(title,), offset=evidence.console_to),)


def _blame(
    status: Status, evidence: ProbeEvidence, splats: Sequence[Splat], console: ConsoleSlice
) -> str:
    """Return where the kernel hung, crashed or reported a splat; empty for any other end."""
    if status == "HANG" and console.capture is not None:
        return _where_it_hangs(evidence, splats, console, console.capture).where
    if status == "CRASH":
        return blame.of_crash(splats, console.capture)
    return blame.of_splat(splats, console.capture)


def _where_it_hangs(
    evidence: ProbeEvidence, splats: Sequence[Splat], console: ConsoleSlice, capture: Capture
) -> blame.Hang:
    return blame.of_hang(evidence.program, console.captured, splats, capture, console.post_mortem)


def _crash(evidence: ProbeEvidence, splats: Sequence[Splat]) -> PartialVerdict | None:
    """Rule 1. The first fatal splat is the cause; a panic is often only its consequence."""
    fatal = next((splat for splat in splats if dmesg.is_fatal(splat)), None)
    if fatal is not None:
        return PartialVerdict("CRASH", fatal.title)
    if evidence.ended != "guest-died":
        return None
    title = splats[0].title if splats else ""
    return PartialVerdict("CRASH", title or evidence.detail or "the guest died without a splat")


def _unfinished(
    evidence: ProbeEvidence,
    splats: Sequence[Splat],
    subtests: Sequence[Subtest],
    console: ConsoleSlice,
) -> PartialVerdict | None:
    """Rules 2 and 3."""
    if evidence.ended == "exit":
        return None
    reached = _reached(subtests)
    qemu_ran = console.capture is not None and bool(console.capture.vcpus)
    hung = evidence.ended in ("budget", "stalled") or (evidence.ended == "lost" and qemu_ran)
    if hung and not starvation.starved(evidence.host):
        return PartialVerdict("HANG", "; ".join(_hang(evidence, splats, reached, console)))
    little = starvation.remark(evidence.host)
    parts = [f"{_how_it_ended(evidence)}, {reached}"]
    parts += [little] if little else []
    parts += [splat.title for splat in splats[:1]]
    return PartialVerdict("LOST", "; ".join(parts))


def _reached(subtests: Sequence[Subtest]) -> str:
    return f"after {subtests[-1].name}" if subtests else "before its first result"


def _hang(
    evidence: ProbeEvidence, splats: Sequence[Splat], reached: str, console: ConsoleSlice
) -> list[str]:
    """Return what is known about a hang, the most telling first."""
    still = " while QEMU was still running" if evidence.ended == "lost" else ""
    parts = [f"{_how_it_ended(evidence)}{still}, {reached}"]
    if console.capture is not None:
        found = _where_it_hangs(evidence, splats, console, console.capture)
        parts += [found.chain] if found.chain else []
        waiting = blame.waiters(console.text + console.captured)
        parts += [f"waiting for userfaultfd: {', '.join(waiting)}"] if waiting else []
    stuck = [splat for splat in splats if splat.kind in dmesg.STUCK] or list(splats)
    parts += [splat.title for splat in stuck[:1]]
    little = starvation.remark(evidence.host)
    return [*parts, little] if little else parts


def _how_it_ended(evidence: ProbeEvidence) -> str:
    if evidence.ended == "budget":
        return f"took longer than {evidence.budget:g} s"
    if evidence.ended == "stalled":
        return "did not end after the kernel reported a stall"
    return evidence.detail or "the guest stopped answering"


def _judge_output(
    evidence: ProbeEvidence,
    document: KtapDocument,
    subtests: tuple[Subtest, ...],
    bad: Sequence[Subtest],
    text: str,
    stderr: str,
) -> PartialVerdict:
    """Rules 4 to 11, for a probe that ended by itself.

    Args:
        evidence: how it ended.
        document: its output as KTAP.
        subtests: all its results.
        bad: the failed ones that no known issue explains.
        text: its output.
        stderr: its standard error.
    """
    code = evidence.exit_code
    if code is None:
        return PartialVerdict("FAIL", "the exit code is not known")
    if name := _signal_name(code):
        return PartialVerdict("FAIL", _killed(name, subtests, stderr))
    if evidence.rules == "kselftest":
        return kselftest.judge(code, document, subtests, text, stderr)
    if document.empty:
        return PartialVerdict("FAIL", _no_ktap(code, text, stderr))
    if bad:
        return PartialVerdict("FAIL", partial.failed(bad, code))
    for problem in document.problems:
        if problem.kind not in TOLERATED:
            return PartialVerdict("FAIL", f"damaged KTAP: {problem.text}{stderr_note(stderr)}")
    return _judge_code(code, document, subtests, stderr)


def _judge_code(
    code: int, document: KtapDocument, subtests: tuple[Subtest, ...], stderr: str
) -> PartialVerdict:
    """Rules 8 to 11, for whole KTAP without a failure."""
    skipped = [subtest for subtest in subtests if subtest.status == "SKIP"]
    unexplained = [subtest.name for subtest in skipped if not subtest.reason]
    if unexplained:
        return PartialVerdict("FAIL", f"skipped without a reason: {unexplained[0]}")
    reasons = [subtest.reason for subtest in skipped]
    if document.skipped is not None:
        reasons.insert(0, document.skipped)
    if any(subtest.status == "FAIL" for subtest in subtests):  # known issues explain them all
        if code == FAIL_CODE:
            return PartialVerdict("PASS", "")
        return PartialVerdict("FAIL", f"a result is `not ok`, but exit code {code}")
    if code not in (0, SKIP_CODE):
        return PartialVerdict(
            "FAIL", f"no result is `not ok`, but exit code {code}{stderr_note(stderr)}"
        )
    if code == SKIP_CODE or len(skipped) == len(subtests):
        if not reasons or not reasons[0]:
            return PartialVerdict("FAIL", f"tested nothing and gave no reason (exit code {code})")
        return PartialVerdict("SKIP", reasons[0])
    return PartialVerdict("PASS", "")


def _checkpoint_faults(
    text: str, checkpoints: Sequence[CheckpointResult], known: Explainer
) -> Iterator[str]:
    """Yield a line where the page tables, read by the host, differ from what was reported."""
    asked = sum(line.startswith(_CHECKPOINT) for line in text.split("\n"))
    lines = known.other_lines(
        f"page tables, checkpoint {each.number}{each.name and f' ({each.name})'}: {problem}"
        for each in checkpoints
        for problem in each.problems
    )
    if asked != len(checkpoints):
        lines.append(f"the host answered {len(checkpoints)} of {asked} checkpoints")
    if lines:
        yield f"{lines[0]}{and_more(lines, 1)}"


def _leaks(evidence: ProbeEvidence) -> tuple[Leak, ...]:
    if evidence.accounting is None or evidence.taints_guest:
        return ()
    return accounting.differences(evidence.accounting.before, evidence.accounting.after)


def _leak_faults(leaks: Sequence[Leak], known: Explainer) -> Iterator[str]:
    lines = known.other_lines(f"leak: {accounting.describe(leak)}" for leak in leaks)
    if lines:
        shown = ", ".join(line.removeprefix("leak: ") for line in lines[:3])
        yield f"leak: {shown}{and_more(lines, 3)}"


def _splat_faults(splats: Sequence[Splat], known: Explainer) -> Iterator[str]:
    lines = known.other_lines(f"kernel: {splat.title}" for splat in splats)
    if lines:
        yield f"{lines[0]}{and_more(lines, 1)}"


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(code - _SIGNALLED).name
    except ValueError:
        return ""


def _killed(name: str, subtests: Sequence[Subtest], stderr: str) -> str:
    failed = next((subtest for subtest in subtests if subtest.status == "FAIL"), None)
    first = f"; {partial.failed([failed], 1)}" if failed else ""
    return f"killed by {name}, {_reached(subtests)}{first}{stderr_note(stderr)}"


def _no_ktap(code: int, text: str, stderr: str) -> str:
    first = next((line for line in map(clean, text.split("\n")) if line.strip()), "")
    printed = f"first line {short(first, 80)!r}" if first else "no output at all"
    return f"printed no KTAP: {printed}, exit code {code}{stderr_note(stderr)}"
