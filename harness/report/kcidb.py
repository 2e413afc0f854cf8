# SPDX-License-Identifier: GPL-2.0-only
"""Runs as KCIDB I/O v5.3, the format of KernelCI's database of results.

A checkout is a source with its series, a build is its kernel, and a test is a probe, a result
inside a probe, a figure of the post-copy study, the boot, or (with an empty path) the run itself.

================  ======  ==========================================================================
FAIL, CRASH,      FAIL    with an issue whose culprit is the code, and an incident that links it
HANG, a splat
KNOWN             FAIL    with the known issue as the issue
LOST              MISS
SKIP, PASS        same
other errors      ERROR   of the run itself, or of the build if there is no kernel
================  ======  ==========================================================================

Runs are reported together: where one has an issue and another's probe of that name passed, an
incident says that the issue is absent there. That is how a comparison or bisection is told.
IDs are hashes of contents, so that sending a run twice changes nothing. Numbers in an issue's text
are left out, as they differ from run to run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from harness import errors
from harness.judge.lines import short, without_numbers
from harness.kernel import specs
from harness.kernel.series.patch import printable
from harness.probes.catalog import plain_name
from harness.records.campaign import Bisection
from harness.records.kernel import KernelParts, KernelSummary
from harness.records.machine import size_name
from harness.records.outcome import Outcome
from harness.records.probe import BAD, ProbeResult, Splat
from harness.records.run import RunRecord
from harness.records.study import PostcopyStudy
from harness.report import kcidb_study
from harness.report.bisect import evidence_for_others
from harness.report.reproduce import command_for_others
from harness.report.text import run_name, verdict_line

Json = dict[str, Any]

_STATUSES = {
    **{"PASS": "PASS", "SKIP": "SKIP", "LOST": "MISS"},
    **{"FAIL": "FAIL", "KNOWN": "FAIL", "CRASH": "FAIL", "HANG": "FAIL"},
}

#: What the outcome of a run without a kernel says about the build; ERROR for the others.
_BUILDS = {Outcome.NOT_COMPILED: "FAIL", Outcome.CONFIG_REFUSED: "FAIL"}

#: What the outcome of a run with a kernel says, if its probes did not run; ERROR for the others.
_RUNS = {Outcome.NOT_BOOTED: "FAIL", Outcome.BUILT_ONLY: "DONE"}

#: Bytes of an excerpt (the schema allows so many characters).
_EXCERPT = 16384

#: How numbers with a unit are scaled when they are shown.
_PREFIXES = {kcidb_study.SECONDS: "metric", kcidb_study.BYTES: "binary"}

_PATH_PART = re.compile(r"[^a-zA-Z0-9_-]+")
_COMMIT = re.compile(r"\bcommit ([0-9a-f]{40})\Z")
_URL = re.compile(r"git:(https://\S+)@[^@/]+\Z")


class _Document:
    """The five lists, in which each ID is once."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.lists: dict[str, dict[str, Json]] = {
            name: {} for name in ("checkouts", "builds", "tests", "issues", "incidents")
        }

    def add(self, name: str, *identity: str, **fields: Any) -> str:
        """Add an object unless it is there, and return its ID; what is None is left out."""
        whole = hashlib.sha256(json.dumps([name, *identity]).encode()).hexdigest()
        own = f"{self.origin}:{whole[:40]}"
        known = {name: value for name, value in fields.items() if value is not None}
        self.lists[name].setdefault(own, {"id": own, "origin": self.origin, **known})
        return own

    def issue(self, subject: str, **fields: Any) -> str:
        """Add an issue of the code, which its subject identifies."""
        text = _text(short(subject, 1000))
        culprit = {"code": True, "tool": False, "harness": False}
        return self.add("issues", text, version=1, report_subject=text, culprit=culprit, **fields)

    def incident(self, issue: str, *, present: bool, **link: str) -> None:
        """Link an issue to a test or build that has it, or that could have it and does not."""
        where = sorted(link.items())
        self.add(
            "incidents",
            issue,
            json.dumps(where),
            issue_id=issue,
            issue_version=1,
            present=present,
            **link,
        )


def document(
    runs: Sequence[RunRecord],
    origin: str = "hgm",
    bisections: Sequence[Bisection] = (),
    studies: Sequence[PostcopyStudy] = (),
) -> Json:
    """Return runs, and what bisections over some of them found, as one KCIDB document.

    Args:
        runs: the records.
        origin: the name of the CI system that reports: lower-case letters, digits and ``_``.
        bisections: their runs are among ``runs``.
        studies: the post-copy studies of some of ``runs``.
    """
    whole = _Document(origin)
    figures = {study.run_dir: study for study in studies}
    tests: dict[str, str] = {}
    seen: dict[str, set[str]] = {}
    passed: dict[str, list[str]] = {}
    for record in map(_for_others, runs):
        build = _build(whole, record)
        if record.kernel is None:
            continue
        tests[record.run_dir] = _run(whole, record, build)
        if record.run_dir in figures:
            _figures(whole, record, figures[record.run_dir], build)
        for probe in record.probes:
            test = _probe(whole, record, probe, build)
            if probe.status == "PASS":
                passed.setdefault(plain_name(probe.name), []).append(test)
            for issue in _issues(whole, record, probe):
                whole.incident(issue, present=True, test_id=test)
                seen.setdefault(issue, set()).add(plain_name(probe.name))
    for issue, names in seen.items():
        for test in (each for name in sorted(names) for each in passed.get(name, ())):
            whole.incident(issue, present=False, test_id=test)
    for bisection in bisections:
        _bisection(whole, bisection, tests)
    lists = {name: list(found.values()) for name, found in whole.lists.items() if found}
    return {"version": {"major": 5, "minor": 3}, **lists}


def _for_others(record: RunRecord) -> RunRecord:
    """Return a record whose reason, if that is an error, names no directory of this machine."""
    if record.outcome is Outcome.PROBES_RAN:
        return record
    return msgspec.structs.replace(record, reason=errors.for_others(record.reason))


def encode(data: Json) -> str:
    """Return a document as JSON, checked with KernelCI's own schema.

    Raises:
        ToolMissing: if the package kcidb-io is not installed.
    """
    try:
        from kcidb_io.schema import V5_3  # 300 ms of jsonschema and its formats
    except ImportError:
        raise errors.ToolMissing(
            "the Python package kcidb-io is not installed",
            hint="pip install 'hgm-harness[kcidb]'",
        ) from None
    V5_3.validate(data)
    return json.dumps(data, indent=2) + "\n"


def _build(whole: _Document, record: RunRecord) -> str:
    """Add the checkout and the build of a run, and return the build's ID; empty without one."""
    kernel = record.kernel
    parts: Json = {
        "checkout_id": _checkout(whole, record),
        "architecture": record.machine.arch if record.machine else None,
    }
    if record.made_of is not None:
        names = ("base", *map(specs.for_others, record.made_of.config.features))
        compiler = _text(record.made_of.toolchain) or None
        parts |= {"compiler": compiler, "config_name": _text("+".join(names))}
    if kernel is not None:
        return whole.add(
            "builds",
            kernel.key,
            **parts,
            duration=kernel.build_seconds,
            status="PASS",
            comment=_text(kernel.release),
            misc={"key": kernel.key, "config_sha256": kernel.config.digest},
        )
    if record.outcome is Outcome.PATCH_REFUSED:
        return ""
    build = whole.add(
        "builds",
        run_name(record),
        **parts,
        start_time=record.started or None,
        duration=record.error_seconds or None,
        status=_BUILDS.get(record.outcome, "ERROR"),
        comment=_text(record.reason),
        log_excerpt=_excerpt([record.reason, *record.notes]),
        misc=_misc(record),
    )
    if record.outcome in _BUILDS:
        whole.incident(_ending(whole, record), present=True, build_id=build)
    return build


def _checkout(whole: _Document, record: RunRecord) -> str:
    kernel = record.made_of
    refused = record.outcome is Outcome.PATCH_REFUSED
    patched = record.kernel is not None or (kernel is not None and bool(kernel.series.tree))
    tried = refused or patched or record.outcome in _BUILDS
    said: Json = {
        "start_time": record.started or None,
        "valid": not refused if tried else None,
        "log_excerpt": _excerpt([record.reason, *record.notes] if refused else []),
    }
    if kernel is None:
        return whole.add(
            "checkouts",
            run_name(record),
            **said,
            comment=_text(record.reason),
            misc=_misc(record),
        )
    series = kernel.series
    # Another run may apply the same patches, with --fuzz or with more time.
    own = () if said["valid"] else (run_name(record),)
    release = record.kernel.release if record.kernel else record.reason
    return whole.add(
        "checkouts",
        kernel.source.origin,
        kernel.source.tree,
        _patchset(kernel),
        series.message_id,
        *own,
        **_git(kernel),
        **said,
        patchset_hash=_patchset(kernel),
        message_id=series.message_id if "@" in series.message_id else None,
        comment=_text(series.subject or release),
        misc={
            "source": _text(specs.for_others(kernel.source.spec)),
            "series": _text(specs.for_others(series.spec)),
            "source_tree": kernel.source.tree,
            "tree": series.tree,
            "patches": [_text(patch.name) for patch in series.patches],
            **(_misc(record) if own else {}),
        },
    )


def _git(kernel: KernelSummary | KernelParts) -> Json:
    """Return where the source comes from, if that is a commit without changes."""
    commit = _COMMIT.search(kernel.source.origin)
    url = _URL.match(specs.for_others(kernel.source.spec))
    return {
        "git_commit_hash": commit[1] if commit else None,
        "git_repository_url": url[1] if url else None,
    }


def _patchset(kernel: KernelSummary | KernelParts) -> str:
    """Return the hash of the patches as the schema defines it; empty without any."""
    digests = [patch.digest for patch in kernel.series.patches]
    text = "".join(f"{digest}\n" for digest in digests)
    return hashlib.sha256(text.encode()).hexdigest() if digests else ""


def _run(whole: _Document, record: RunRecord, build: str) -> str:
    """Add the tests that are about the run as a whole, and return the ID of the first."""
    probed = record.outcome is Outcome.PROBES_RAN
    lines = [verdict_line(record), *record.notes, *_blocks(record.splats)]
    said: Json = {"comment": _text(verdict_line(record)), "log_excerpt": _excerpt(lines)}
    if probed:
        status = {"PASS": "PASS", "FAIL": "FAIL"}.get(record.verdict, "MISS")
    else:
        status = _RUNS.get(record.outcome, "ERROR")
    test = _test(whole, record, build, "", status, **said)
    for splat in record.splats:
        whole.incident(whole.issue(without_numbers(splat.title)), present=True, test_id=test)
    if probed:
        _test(whole, record, build, "boot", "PASS")
    elif record.outcome is Outcome.NOT_BOOTED:
        boot = _test(whole, record, build, "boot", "FAIL", **said)
        whole.incident(_ending(whole, record), present=True, test_id=boot)
    if record.timeout_scale:
        number = {"value": record.timeout_scale, "unit": "s/s"}
        comment = "time for a known amount of work, over that of the reference machine"
        _test(whole, record, build, "calibration", "DONE", number=number, comment=comment)
    return test


def _probe(whole: _Document, record: RunRecord, probe: ProbeResult, build: str) -> str:
    """Add the test of a probe and of each result inside it, and return the ID of the first."""
    path = _path(probe.name)
    bad = [each for each in probe.subtests if each.status == "FAIL"]
    failures = [f"{each.name}: {each.reason}" for each in bad]
    wrong = probe.status not in ("PASS", "SKIP")
    test = _test(
        whole,
        record,
        build,
        path,
        _STATUSES[probe.status],
        probe.name,
        comment=_text(": ".join(filter(None, (probe.name, probe.status, probe.reason)))),
        log_excerpt=_excerpt([probe.reason, *failures, *_blocks(probe.splats)] if wrong else []),
        duration=probe.seconds,
    )
    for number, each in enumerate(probe.subtests, 1):
        below, own = f"{path}.{_part(each.name)}", f"{probe.name} {number}"
        said = _text(": ".join(filter(None, (each.name, each.reason))))
        _test(whole, record, build, below, _STATUSES[each.status], own, comment=said)
    return test


def _figures(whole: _Document, record: RunRecord, study: PostcopyStudy, build: str) -> None:
    """Add a test with a number for each figure of a study."""
    for each in kcidb_study.numbers(study):
        number: Json = {"value": each.value, "unit": each.unit}
        if each.unit in _PREFIXES:
            number["prefix"] = _PREFIXES[each.unit]
        path = ".".join((_path(each.probe), *map(_part, each.path)))
        _test(whole, record, build, path, "DONE", each.probe, number=number, comment=each.words)


def _path(probe: str) -> str:
    """Return the path of a probe's test."""
    return ".".join(map(_part, plain_name(probe).split("/")))


def _test(
    whole: _Document,
    record: RunRecord,
    build: str,
    path: str,
    status: str,
    identity: str = "",
    **more: Any,
) -> str:
    """Add a test of a run; the identity tells tests of one path apart."""
    return whole.add(
        "tests",
        run_name(record),
        path,
        identity,
        build_id=build,
        path=path,
        status=status,
        environment=_environment(record),
        start_time=record.started or None,
        **more,
    )


def _ending(whole: _Document, record: RunRecord) -> str:
    """Add the issue of a kernel that did not build or boot, and return its ID."""
    return whole.issue(without_numbers(f"{record.outcome.value}: {record.reason}"))


def _issues(whole: _Document, record: RunRecord, probe: ProbeResult) -> Iterator[str]:
    """Add and yield the issues that a probe shows."""
    states = {state.issue.name: state.issue for state in record.known_issues}
    for name in probe.known_issues:
        shows = states[name].shows if name in states else ""
        misc = {"fix": states[name].fix} if name in states else None
        yield whole.issue(f"{name}: {shows}" if shows else name, misc=misc)
    if probe.status in BAD:
        what = probe.splats[0].title if probe.splats else probe.blame or probe.reason
        yield whole.issue(
            f"{plain_name(probe.name)}: {probe.status}: {without_numbers(what)}",
        )


def _bisection(whole: _Document, found: Bisection, tests: dict[str, str]) -> None:
    """Add what a bisection found, with the runs that are bad and good."""
    if found.result not in ("found", "several"):
        return
    names = [f"{each.id} {each.name}" for each in found.suspects]
    first = "fixed by" if found.first_good else "introduced by"
    which = names[0] if len(names) == 1 else f"one of {len(names)}: {'; '.join(names)}"
    issue = whole.issue(
        f"{found.predicate}: {first} {which}",
        comment=_text(evidence_for_others(found)),
        misc={"suspects": [_text(name) for name in names], "before": _text(found.before)},
    )
    for each in found.evaluations:
        if each.term in ("good", "bad") and each.run_dir in tests:
            whole.incident(issue, present=each.term == "bad", test_id=tests[each.run_dir])


def _environment(record: RunRecord) -> Json:
    """Return the machine that the tests ran on."""
    machine, accel = record.machine, record.accel
    arch = machine.arch if machine else "unknown"
    misc: Json = {"platform": f"qemu-{arch}", "harness": f"hgm {record.harness}"}
    said = [f"QEMU {record.qemu_version}".rstrip()]
    if accel is not None:
        said.append(accel.name)
        misc["accel"] = accel.name
    if machine is not None:
        pages = {size_name(each.size): each.count for each in machine.hugepages}
        misc |= {"cpus": machine.cpus, "nodes": machine.nodes, "memory": machine.memory}
        misc["hugepages"] = pages
        said.append(f"{machine.cpus} CPUs")
        said += [f"{count} x {size}" for size, count in pages.items()]
    return {"comment": _text(", ".join(said)), "misc": misc}


def _misc(record: RunRecord) -> Json:
    return {"command": _text(command_for_others(record)), "run": run_name(record)}


def _part(text: str) -> str:
    """Return a part of a test's path, which may have few characters."""
    return _PATH_PART.sub("_", text).strip("_") or "_"


def _blocks(splats: Sequence[Splat]) -> Iterator[str]:
    yield from (line for splat in splats for line in splat.block)


def _text(text: str) -> str:
    """Return a text in one line; the schema forbids NUL."""
    return printable(text)


def _excerpt(lines: Sequence[str]) -> str | None:
    """Return lines as an excerpt of a log, cut to what the schema allows; None if there is none."""
    text = "\n".join(
        "".join(c if c.isprintable() else " " for c in line).rstrip() for line in lines if line
    )
    return text.encode(errors="replace")[:_EXCERPT].decode(errors="ignore") or None
