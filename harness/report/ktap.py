# SPDX-License-Identifier: GPL-2.0-only
r"""A run as KTAP, version 1 (Documentation/dev-tools/ktap.rst), with a result for each probe.

Its subtests are nested in it. The last result is the run's verdict, so that an unexpected kernel or
a run that was cut is not ok here either. CRASH and LOST are ERROR, HANG is TIMEOUT, KNOWN is XFAIL
(``not ok`` in a strict run); the status stands before the reason. What a line cannot hold, such as
a line break, or ``#`` in a name, is written as in C: ``\x0a``. Read with `harness.judge.ktap`, it
gives the names, statuses and reasons of the record again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import get_args

from harness.judge.ktap_document import Directive
from harness.judge.promises import ANSWER, RESTS_ON
from harness.records.probe import ProbeResult, Splat, Status, Subtest
from harness.records.run import RunRecord
from harness.report.text import head

#: The name of the run's own result.
RUN = "run"

_VERSION = "KTAP version 1"

_DIRECTIVES: dict[Status, Directive] = {
    "KNOWN": "XFAIL",
    "CRASH": "ERROR",
    "HANG": "TIMEOUT",
    "LOST": "ERROR",
}

# How a comment begins that is more than one.
_MEANT = ("# Subtest:", "# checkpoint ", ANSWER, RESTS_ON)

_FIRST_WORD = re.compile(r"[A-Za-z]*")


def render(record: RunRecord) -> str:
    """Return the whole document."""
    return "".join(f"{line}\n" for line in _lines(record))


def _lines(record: RunRecord) -> Iterator[str]:
    yield _VERSION
    yield f"1..{len(record.probes) + 1}"
    for number, probe in enumerate(record.probes, 1):
        yield from _subtests(probe.subtests)
        yield from _probe(number, probe, strict=record.strict)
    yield from _run(len(record.probes) + 1, record)
    for name, value in head(record):
        yield _comment(f"{name:<8} {value}")


def _subtests(subtests: tuple[Subtest, ...]) -> Iterator[str]:
    if not subtests:
        return
    yield f"  {_VERSION}"
    yield f"  1..{len(subtests)}"
    for number, each in enumerate(subtests, 1):
        if each.rests_on:
            yield f"  {RESTS_ON}{_escaped(' '.join(each.rests_on))}"
        if each.status == "FAIL" and each.reason:
            yield f"  {_comment(each.reason)}"
        yield f"  {_result(number, each.name, ok=each.status != 'FAIL')}{_remark(each)}"


def _remark(subtest: Subtest) -> str:
    """Return what follows the name of a subtest."""
    if subtest.status == "SKIP":
        return f" # SKIP {_escaped(subtest.reason)}"
    if subtest.status == "FAIL" or not subtest.reason:
        return ""
    word = _FIRST_WORD.match(subtest.reason)
    text = _escaped(subtest.reason)
    is_directive = word is not None and word[0].upper() in get_args(Directive)[1:]
    return f" # {_code(text[0])}{text[1:]}" if is_directive else f" # {text}"


def _probe(number: int, probe: ProbeResult, *, strict: bool) -> Iterator[str]:
    status: Status = "FAIL" if strict and probe.status == "KNOWN" else probe.status
    reason = probe.reason if probe.status == "FAIL" else f"{probe.status}: {probe.reason}"
    remark = ""
    if status == "SKIP":
        remark = f" # SKIP {_escaped(probe.reason)}"
    elif status in _DIRECTIVES:
        remark = f" # {_DIRECTIVES[status]} {_escaped(reason)}"
    elif status == "FAIL":
        yield _comment(reason)
    yield from _splats(probe.splats)
    yield f"{_result(number, probe.name, ok=status in ('PASS', 'SKIP'))}{remark}"


def _run(number: int, record: RunRecord) -> Iterator[str]:
    remark = ""
    if record.verdict == "FAIL":
        yield _comment(record.reason)
    elif record.verdict != "PASS":
        remark = f" # ERROR {_escaped(f'{record.verdict}: {record.reason}')}"
    yield from _splats(record.splats)
    yield f"{_result(number, RUN, ok=record.verdict == 'PASS')}{remark}"


def _splats(splats: Iterable[Splat]) -> Iterator[str]:
    yield from (_comment(line) for splat in splats for line in splat.block)


def _result(number: int, name: str, *, ok: bool) -> str:
    text = _escaped(name).replace("#", _code("#"))
    if text.startswith("-"):  # what may stand before a name
        text = f"{_code('-')}{text[1:]}"
    return f"{'ok' if ok else 'not ok'} {number} {text}"


def _comment(text: str) -> str:
    line = f"# {_escaped(text)}"
    return f"# {_code(line[2])}{line[3:]}" if line.startswith(_MEANT) else line


def _escaped(text: str) -> str:
    """Return a text as one line without white space at its ends."""
    inside = "".join(c if c.isprintable() and c != "\\" else _code(c) for c in text)
    words = inside.strip(" ")
    before, _, after = inside.partition(words) if words else (inside, "", "")
    return f"{_code(' ') * len(before)}{words}{_code(' ') * len(after)}"


def _code(char: str) -> str:
    """Return a character as in C."""
    code = ord(char)
    if char == "\\":
        return "\\\\"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
