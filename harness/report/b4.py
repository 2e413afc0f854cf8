# SPDX-License-Identifier: GPL-2.0-only
"""A run as b4 reads the result of a check command: two protocols of b4 0.16.

``b4 review`` (``b4.review-perpatch-check-cmd``, ``b4.review-series-check-cmd``) takes a JSON list
of objects with ``tool``, ``status`` (pass, warn or fail), ``summary``, ``url`` and ``details``.
``b4 prep --check`` and ``b4 am`` (``b4.prep-perpatch-check-cmd``, ``b4.am-perpatch-check-cmd``)
take checkpatch's lines: one with ``ERROR:`` is a failure, any other a warning, none is a success.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from harness.judge.lines import short
from harness.kernel.series.patch import printable
from harness.records.base import Record
from harness.records.outcome import Outcome
from harness.records.probe import BAD, ProbeResult
from harness.records.run import RunRecord

CheckStatus = Literal["pass", "warn", "fail"]

_BUILDS: dict[Outcome, CheckStatus] = {
    Outcome.PATCH_REFUSED: "fail",
    Outcome.NOT_COMPILED: "fail",
    Outcome.CONFIG_REFUSED: "warn",
}


class CheckResult(Record, frozen=True, kw_only=True):
    """One column of b4's table.

    Attributes:
        tool: its heading.
        status: ``warn`` where nothing is known, or known issues were found.
        summary: one line.
        url: of the run directory.
        details: a JSON list of objects with ``status`` and ``description``, as b4 shows them.
    """

    tool: str
    status: CheckStatus
    summary: str
    url: str
    details: str


def results(record: RunRecord) -> tuple[CheckResult, ...]:
    """Return whether the kernel was built, and what its probes found if it was."""
    kernel = record.kernel
    if kernel is None:
        status = _BUILDS.get(record.outcome, "warn")
        words = "" if status == "fail" else "not tested: "
        return (_result(record, "hgm-build", status, f"{words}{record.reason}"),)
    how = "from the cache" if kernel.cached else f"in {kernel.build_seconds:.0f} s"
    built = _result(record, "hgm-build", "pass", f"{kernel.release} built {how}")
    if record.outcome is Outcome.BUILT_ONLY:
        return (built,)
    return (built, _result(record, "hgm-probes", _probed(record), record.reason))


def _probed(record: RunRecord) -> CheckStatus:
    """Return what a run with a kernel says about it."""
    if record.outcome is Outcome.NOT_BOOTED or record.verdict == "FAIL":
        return "fail"
    known = any(probe.status == "KNOWN" for probe in record.probes)
    return "pass" if record.verdict == "PASS" and not known else "warn"


def _result(record: RunRecord, tool: str, status: CheckStatus, summary: str) -> CheckResult:
    found = list(_details(record)) if tool == "hgm-probes" else []
    return CheckResult(
        tool=tool,
        status=status,
        summary=short(printable(summary)),
        url=Path(record.run_dir).as_uri() if record.run_dir else "",
        details=json.dumps(found) if found else "",
    )


def _details(record: RunRecord) -> Iterator[dict[str, str]]:
    """Yield each probe and splat; those that passed come last."""
    for splat in record.splats:
        yield {"status": "fail", "description": printable(splat.title)}
    for probe in sorted(record.probes, key=lambda each: _status(each) == "pass"):
        said = ": ".join(filter(None, (probe.name, probe.status, probe.reason)))
        yield {"status": _status(probe), "description": printable(said)}


def _status(probe: ProbeResult) -> CheckStatus:
    if probe.status in BAD:
        return "fail"
    return "pass" if probe.status in ("PASS", "SKIP") else "warn"


def to_json(record: RunRecord) -> str:
    """Return the list that ``b4 review`` reads."""
    found = [
        {
            "tool": r.tool,
            "status": r.status,
            "summary": r.summary,
            "url": r.url,
            "details": r.details,
        }
        for r in results(record)
    ]
    return json.dumps(found)


def lines(record: RunRecord) -> Iterator[str]:
    """Yield the lines that ``b4 prep --check`` and ``b4 am`` read; none for a pass."""
    for each in results(record):
        if each.status == "pass":
            continue
        if each.status == "warn":
            yield f"WARNING: {each.tool}: {each.summary}".replace("ERROR:", "error:")
            continue
        yield f"ERROR: {each.tool}: {each.summary}"
        for detail in json.loads(each.details) if each.details else ():
            if detail["status"] == "fail":
                yield f"ERROR: {detail['description']}"
