# SPDX-License-Identifier: GPL-2.0-only
"""The report that people see, in a pipe and on a terminal."""

from __future__ import annotations

import io

import msgspec
import pytest

from harness.records.kernel import (
    ConfigIdentity,
    KernelParts,
    KernelSummary,
    PatchIdentity,
    RefusedSource,
    SeriesIdentity,
    SourceIdentity,
)
from harness.records.machine import PoolSummary
from harness.records.probe import ProbeResult
from harness.records.run import Profile, PromiseState, RunRecord
from harness.report import json, text
from tests.unit.report.records import CUT, KNOWN, PASSED, PROBES, RUN

GOLDEN = """\
kernel   6.12.117, debian:linux-source-6.12 (6.12.117-1), built in 312 s
series   dir:/tmp/series: 1 patch
config   base + debug (sha256 0123456789ab)
accel    tcg: no KVM guest reached the kernel in 8 s
pool     2 of 2 x 1G, 64 of 64 x 2M
HGM      kernel has no HGM (MADV_SPLIT: EINVAL)

base
  PASS   base/map/1G      0.50 s
  FAIL   base/alias/1G    1.25 s  two: got 0x41; <want> & 0x42

hgm
  SKIP   hgm/split/1G          0.25 s  MADV_SPLIT: EINVAL
  CRASH  hgm/continue-4k/1G    0.00 s  kernel BUG at a.c:1!
  HANG   hgm/hole/1G          30.00 s  took longer than 30 s
  LOST   hgm/fork/1G           0.00 s  never ran

kernel   splat outside of any probe: WARNING: CPU: 1 PID: 41 at mm/hugetlb.c:812 f+0x1/0x2
note     the guest's clock ran slow
record   /runs/one
FAIL: hgm/continue-4k/1G CRASH (and 3 more): kernel BUG at a.c:1! (42.2 s)
"""


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_plain_report() -> None:
    assert text.plain(RUN) == GOLDEN


@pytest.mark.parametrize(
    ("profile", "line"),
    [
        (Profile(name="report"), ""),
        (Profile(name="mine.toml", offers=("split", "collapse")), "mine.toml"),
        (
            Profile(name="mine.toml", offers=("split", "minor-address"), lacks=("collapse",)),
            "mine.toml: 1 of 3 promises not asked about; hgm/promises asks all",
        ),
    ],
)
def test_the_profile_is_named_with_what_was_not_asked(profile: Profile, line: str) -> None:
    asked = (PromiseState(name="collapse", size="2M", state="kept"),)
    record = msgspec.structs.replace(RUN, expect=profile, promises=asked)
    said = [value for name, value in text.head(record) if name == "expect"]
    assert said == ([line] if line else [])


def test_a_run_that_was_cut() -> None:
    assert text.plain(CUT) == (
        "HGM      HGM support not known\n"
        "record   /runs/two\n"
        "CUT: the run was cut in stage kernel (3.0 s)\n"
    )


def test_a_pipe_gets_the_plain_report_with_whole_reasons() -> None:
    long = msgspec.structs.replace(PROBES[1], reason="word " * 200)
    stream = io.StringIO()
    text.write(msgspec.structs.replace(RUN, probes=(long,)), stream)
    assert f"  {long.reason.rstrip()}\n" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_newer_source_that_was_passed_over_is_named() -> None:
    assert RUN.kernel is not None
    refused = RefusedSource(origin=f"l 6.12.118-1, sha256 {'a' * 64}", tree="t", reason="patch 3")
    source = msgspec.structs.replace(RUN.kernel.source, refused=refused)
    kernel = msgspec.structs.replace(RUN.kernel, source=source)
    line = f"not l 6.12.118-1, sha256 {'a' * 12}: the series does not apply: patch 3"
    assert ("", line) in text.head(msgspec.structs.replace(RUN, kernel=kernel))


def test_a_terminal_gets_colours_and_every_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    text.write(RUN, stream)
    shown = stream.getvalue()
    assert "\x1b[1;31mFAIL\x1b[0m" in shown
    for probe in RUN.probes:
        assert probe.name in shown
        assert probe.reason in shown
    assert RUN.reason in shown


def test_square_brackets_are_not_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    odd = msgspec.structs.replace(PROBES[1], reason="[red]at [probe:41][/red]")
    stream = Terminal()
    text.write(msgspec.structs.replace(RUN, probes=(odd,)), stream)
    assert "[red]at [probe:41][/red]" in stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "cached", "expected"),
    [
        ("debian", False, "6.12, spec (origin), built in 7 s"),
        ("debian", True, "6.12, spec (origin), from the cache"),
        ("image", False, "6.12, spec (origin), not built here"),
    ],
)
def test_kernel_line(kind: str, cached: bool, expected: str) -> None:
    assert RUN.kernel is not None
    kernel = KernelSummary(
        release="6.12",
        key="",
        source=SourceIdentity(spec="spec", kind=kind, origin="origin"),
        series=RUN.kernel.series,
        config=ConfigIdentity(known=False),
        cached=cached,
        build_seconds=7.0,
    )
    lines = dict(text.head(RunRecord(kernel=kernel)))
    assert lines["kernel"] == expected
    assert lines["config"] == "unknown"


def test_a_kernel_that_is_not_there_is_shown_by_its_parts() -> None:
    patches = (PatchIdentity(name="0001-a.patch", digest="d", how="planned"),)
    parts = KernelParts(
        source=SourceIdentity(spec="spec", kind="debian", origin="origin"),
        series=SeriesIdentity(spec="dir:patches", patches=patches),
        config=ConfigIdentity(features=("kasan",), known=False),
    )
    lines = dict(text.head(RunRecord(tried=parts)))
    assert lines["kernel"] == "not built, of spec (origin)"
    assert lines["series"] == "dir:patches: 1 patch (1 not applied)"
    assert lines["config"] == "base + kasan"


def test_a_short_pool_is_shown() -> None:
    asked = {"1G": 2, "2M": 64}
    short = RunRecord(hugepages=PoolSummary(asked=asked, got={"1G": 1, "2M": 64}))
    assert dict(text.head(short))["pool"] == "1 of 2 x 1G, 64 of 64 x 2M"
    unread = RunRecord(hugepages=PoolSummary(asked=asked))
    assert dict(text.head(unread))["pool"] == "2 x 1G asked, 64 x 2M asked"


def test_json_is_the_record() -> None:
    stream = io.StringIO()
    json.write(PASSED, stream)
    assert msgspec.json.decode(stream.getvalue(), type=RunRecord) == PASSED


def test_probes_that_were_not_run_are_counted_and_not_listed() -> None:
    unrun = tuple(ProbeResult(name=f"g/{n}", status="LOST", reason="not run") for n in range(40))
    record = msgspec.structs.replace(RUN, verdict="ERROR", reason="no compiler", probes=unrun)
    shown = text.plain(record)
    assert "probes   none of 40 was run" in shown
    assert "g/7" not in shown


def test_hashes_are_shortened() -> None:
    assert RUN.kernel is not None
    source = SourceIdentity(spec="tree:/t", kind="tree", origin=f"commit {'ab' * 20}")
    kernel = msgspec.structs.replace(RUN.kernel, source=source)
    shown = text.plain(msgspec.structs.replace(RUN, kernel=kernel))
    assert f"(commit {'ab' * 6})" in shown


def test_a_known_issue_is_shown_with_what_fixed_it_and_what_patches_mean_for_it() -> None:
    lines = text.plain(KNOWN).splitlines()
    assert "  KNOWN  base/alias/1G    0.00 s  alias (fixed by 0123): two" in lines
    at = lines.index(
        "known    alias: one page shows the other's contents; "
        'fixed by 0123456789ab ("mm: do not"); base/alias/1G'
    )
    assert lines[at + 1].strip() == (
        "by version and message only: compare with a run without your changes"
    )
    assert lines[-1] == "PASS: kernel has no HGM; 1 known issue (42.2 s)"


def test_a_known_issue_that_did_not_fail_is_pointed_out() -> None:
    unseen = msgspec.structs.replace(KNOWN.known_issues[0], seen=False)
    lines = text.plain(msgspec.structs.replace(KNOWN, known_issues=(unseen,))).splitlines()
    assert "note     base/alias/1G passed: 6.12.117 should have the known issue alias" in lines
    assert not any("by version" in line for line in lines)


def test_a_source_of_debian_without_patches_has_no_changes_to_compare_without() -> None:
    assert KNOWN.kernel is not None
    untouched = msgspec.structs.replace(
        KNOWN.kernel, series=msgspec.structs.replace(KNOWN.kernel.series, patches=())
    )
    record = msgspec.structs.replace(KNOWN, kernel=untouched)
    assert "by version" not in text.plain(record)
    own = msgspec.structs.replace(untouched.source, kind="tree")
    tree = msgspec.structs.replace(record, kernel=msgspec.structs.replace(untouched, source=own))
    assert "by version" in text.plain(tree)
