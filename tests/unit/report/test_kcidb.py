# SPDX-License-Identifier: GPL-2.0-only
"""Runs as KCIDB documents, each checked with KernelCI's schema."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import msgspec
import pytest

from harness.errors import ToolMissing
from harness.records.campaign import Bisection, Candidate, Evaluation
from harness.records.kernel import ConfigIdentity, PatchIdentity, SeriesIdentity, SourceIdentity
from harness.records.machine import HugePages, MachineSpec
from harness.records.outcome import Outcome
from harness.records.run import RunRecord
from harness.report import kcidb
from harness.study import histogram
from tests.unit.report.records import CUT, KNOWN, PASSED, PROBES, RUN
from tests.unit.study.test_postcopy import FIGURES, TRACKED, of_all

CELLS = ((111, 99), (250, 1))
MACHINE = MachineSpec(hugepages=(HugePages(size=2**30, count=2),), memory=2**32)


def named(record: RunRecord, name: str, **changes: Any) -> RunRecord:
    return msgspec.structs.replace(record, run_dir=f"/runs/{name}", **changes)


def document(*runs: RunRecord, bisections: tuple[Bisection, ...] = ()) -> Any:
    return json.loads(kcidb.encode(kcidb.document(runs, bisections=bisections)))


def by_path(found: Any) -> dict[str, Any]:
    return {test["path"]: test for test in found["tests"]}


def subjects(found: Any, test: str, *, present: bool = True) -> list[str]:
    """Return the subjects of the issues that a test has, or does not have."""
    issues = {issue["id"]: issue["report_subject"] for issue in found["issues"]}
    return [
        issues[incident["issue_id"]]
        for incident in found["incidents"]
        if incident.get("test_id") == test and incident["present"] is present
    ]


def test_the_statuses() -> None:
    found = by_path(document(RUN))
    assert {path: test["status"] for path, test in found.items()} == {
        **{"": "FAIL", "boot": "PASS", "base.map.1G": "PASS", "base.map.1G.map": "PASS"},
        **{"base.alias.1G": "FAIL", "base.alias.1G.one": "PASS", "base.alias.1G.two": "FAIL"},
        **{"hgm.split.1G": "SKIP", "hgm.continue-4k.1G": "FAIL", "hgm.hole.1G": "FAIL"},
        **{"hgm.fork.1G": "MISS"},
    }


def test_a_crash_and_a_hang_have_an_issue_of_the_code_and_a_lost_probe_has_none() -> None:
    found = document(RUN)
    paths = by_path(found)
    assert subjects(found, paths["hgm.continue-4k.1G"]["id"]) == [
        "hgm/continue-4k/1G: CRASH: kernel BUG at a.c:N!"
    ]
    assert subjects(found, paths["hgm.hole.1G"]["id"]) == [
        "hgm/hole/1G: HANG: took longer than N s"
    ]
    assert subjects(found, paths["hgm.fork.1G"]["id"]) == []
    assert {json.dumps(issue["culprit"]) for issue in found["issues"]} == {
        '{"code": true, "tool": false, "harness": false}'
    }


def test_a_splat_outside_of_any_probe_is_an_issue_of_the_run() -> None:
    found = document(RUN)
    assert subjects(found, by_path(found)[""]["id"]) == [
        "WARNING: CPU: N PID: N at mm/hugetlb.c:N f+N/N"
    ]


def test_the_excerpt_has_the_splat_and_is_cut() -> None:
    assert "WARNING: CPU: 1" in by_path(document(RUN))["base.alias.1G"]["log_excerpt"]
    splat = msgspec.structs.replace(PROBES[1].splats[0], block=("\u20ac" * 100,) * 1000)
    probe = msgspec.structs.replace(PROBES[1], splats=(splat,))
    found = by_path(document(msgspec.structs.replace(RUN, probes=(probe,))))
    assert 16000 < len(found["base.alias.1G"]["log_excerpt"].encode()) <= 16384


def test_a_known_issue_is_a_failure_with_its_issue() -> None:
    found = document(KNOWN)
    test = by_path(found)["base.alias.1G"]
    assert test["status"] == "FAIL"
    assert subjects(found, test["id"]) == ["alias: one page shows the other's contents"]


def test_an_issue_is_absent_where_the_same_probe_passed() -> None:
    """Two runs compared: the first passed what the second fails."""
    passed = msgspec.structs.replace(PROBES[1], status="PASS", reason="", splats=())
    before = named(RUN, "before", probes=(passed, PROBES[3]), splats=())
    found = document(before, named(RUN, "after", probes=(PROBES[1], PROBES[3]), splats=()))
    good, bad = (t["id"] for t in found["tests"] if t["path"] == "base.alias.1G")
    alias = ["base/alias/1G: FAIL: WARNING: CPU: N PID: N at mm/hugetlb.c:N f+N/N"]
    assert subjects(found, good, present=False) == alias
    assert subjects(found, bad) == alias
    crashed = [t["id"] for t in found["tests"] if t["path"] == "hgm.continue-4k.1G"]
    assert [subjects(found, each, present=False) for each in crashed] == [[], []]


def test_a_checkout_has_the_hash_of_its_patches_and_the_message_id_of_its_series() -> None:
    assert RUN.kernel is not None
    digests = ["a" * 64, "b" * 64]
    series = SeriesIdentity(
        spec="lore:c@example.org",
        patches=tuple(PatchIdentity(name="x", digest=each) for each in digests),
        message_id="c@example.org",
        subject="[PATCH 0/2] mm: x",
    )
    source = SourceIdentity(
        spec="git:https://me:secret@git.example.org/linux.git@v6.12",
        kind="git",
        origin=f"commit {'0123456789' * 4}",
    )
    kernel = msgspec.structs.replace(RUN.kernel, series=series, source=source)
    found = document(msgspec.structs.replace(RUN, kernel=kernel))
    (checkout,) = found["checkouts"]
    text = "".join(f"{each}\n" for each in digests)
    assert checkout["patchset_hash"] == hashlib.sha256(text.encode()).hexdigest()
    assert checkout["message_id"] == "c@example.org"
    assert checkout["comment"] == "[PATCH 0/2] mm: x"
    assert checkout["git_commit_hash"] == "0123456789" * 4
    assert checkout["git_repository_url"] == "https://git.example.org/linux.git"
    assert checkout["valid"] is True
    assert "secret" not in json.dumps(found)


def test_no_path_of_this_machine_leaves_it() -> None:
    assert RUN.kernel is not None
    kernel = msgspec.structs.replace(
        RUN.kernel,
        source=SourceIdentity(spec="tree:/home/me/linux", kind="tree", origin="/home/me/linux"),
        series=SeriesIdentity(spec="mbox:/home/me/v3.mbox"),
        config=ConfigIdentity(features=("/home/me/my.config",)),
    )
    words = ("--kernel", "tree:/home/me/linux", "--series", "mbox:/home/me/v3.mbox")
    broken = named(
        CUT,
        "broken",
        outcome=Outcome.CONFIG_REFUSED,
        reason="CONFIG_X=y (/home/me/my.config:5) became n; log: /home/me/runs/1/build.log",
        command=("env", "-C", "/home/me", "/home/me/hgm", "run", *words),
    )
    found = document(named(RUN, "one", kernel=kernel), broken)
    assert "/home" not in json.dumps(found)
    checkout, other = found["checkouts"]
    assert checkout["misc"]["source"] == "tree:linux"
    assert checkout["misc"]["series"] == "mbox:v3.mbox"
    assert other["misc"]["command"] == "./hgm run --kernel tree:linux --series mbox:v3.mbox"
    reason = "CONFIG_X=y (my.config:5) became n; log: build.log"
    assert [each.get("comment") for each in found["builds"]] == [RUN.kernel.release, reason]
    assert found["builds"][0]["config_name"] == "base+my.config"


def test_a_tree_with_changes_is_not_its_commit() -> None:
    assert RUN.kernel is not None
    origin = f"/src, commit {'0123456789' * 4}"
    for text, wanted in ((origin, "0123456789" * 4), (f"{origin} with changes", None)):
        source = SourceIdentity(spec="tree:/src", kind="tree", origin=text)
        kernel = msgspec.structs.replace(RUN.kernel, source=source)
        (checkout,) = document(msgspec.structs.replace(RUN, kernel=kernel))["checkouts"]
        assert checkout.get("git_commit_hash") == wanted


def test_runs_of_one_kernel_share_checkout_and_build() -> None:
    found = document(named(RUN, "one"), named(PASSED, "two"))
    assert [len(found[name]) for name in ("checkouts", "builds")] == [1, 1]
    assert found["builds"][0]["status"] == "PASS"
    assert document(named(RUN, "one")) == document(named(RUN, "one"))


@pytest.mark.parametrize(
    ("outcome", "valid", "build", "issues"),
    [
        (Outcome.PATCH_REFUSED, False, None, 0),
        (Outcome.NOT_COMPILED, True, "FAIL", 1),
        (Outcome.CONFIG_REFUSED, True, "FAIL", 1),
        (Outcome.INFRASTRUCTURE, None, "ERROR", 0),
        (Outcome.CUT, None, "ERROR", 0),
    ],
)
def test_a_run_without_a_kernel(
    outcome: Outcome, valid: bool | None, build: str | None, issues: int
) -> None:
    record = msgspec.structs.replace(CUT, outcome=outcome, reason="mm/x.c:1: error", stage="kernel")
    found = document(record)
    assert found["checkouts"][0].get("valid") is valid
    assert [each["status"] for each in found.get("builds", ())] == ([build] if build else [])
    assert len(found.get("issues", ())) == len(found.get("incidents", ())) == issues
    assert "tests" not in found


@pytest.mark.parametrize(
    ("outcome", "run", "boot"),
    [
        (Outcome.NOT_BOOTED, "FAIL", "FAIL"),
        (Outcome.INFRASTRUCTURE, "ERROR", None),
        (Outcome.INTERRUPTED, "ERROR", None),
        (Outcome.BUILT_ONLY, "DONE", None),
    ],
)
def test_a_run_whose_probes_did_not_run(outcome: Outcome, run: str, boot: str | None) -> None:
    record = msgspec.structs.replace(PASSED, outcome=outcome, verdict="ERROR", probes=())
    found = by_path(document(record))
    assert found[""]["status"] == run
    assert found.get("boot", {}).get("status") == boot


def test_a_run_in_which_all_was_lost_is_a_miss() -> None:
    found = document(msgspec.structs.replace(PASSED, verdict="ERROR", probes=PROBES[5:]))
    assert by_path(found)[""]["status"] == "MISS"


def test_the_machine_and_the_measured_speed() -> None:
    found = by_path(document(msgspec.structs.replace(RUN, machine=MACHINE, timeout_scale=2.5)))
    assert found["boot"]["environment"]["comment"] == "QEMU 7.2.22, tcg, 2 CPUs, 2 x 1G"
    assert found["boot"]["environment"]["misc"]["platform"] == "qemu-x86_64"
    assert found["calibration"]["number"] == {"value": 2.5, "unit": "s/s"}
    assert found["calibration"]["status"] == "DONE"


#: What the probes of the post-copy study print, by name.
STUDIED = {
    "baseline/precopy/2M": TRACKED,
    "hgm/postcopy/1G": (
        f"{FIGURES}\ntimes: step=read cells=3:1\ntimes: step=access cells=111:99,250:1\n"
        "residence: points=4096:1000,8192:3000000\ncollapse: bytes=1073741824 ns=7000\n"
        "afterwards: mapping=base reads=10 ns=100,300,200"
    ),
    "baseline/fragmented/2M": "fragmented: memory=pool size=2097152 mapped=after got=3 wanted=4",
    "baseline/reclaimed/2M": (
        "reclaimed: backing=shmem size=2097152 by=MADV_PAGEOUT error=success memory=8192 "
        "resident=4096 huge=0 read=8192"
    ),
}

#: A path below the probe's, value and unit.
NUMBERS = [
    ("baseline.precopy.2M.async.zipf.4_KiB.amplification", 1.5, "B/B"),
    ("baseline.precopy.2M.async.zipf.4_KiB.protect", 5e-05, "s"),
    ("baseline.precopy.2M.async.zipf.4_KiB.write", 2e-06, "s"),
    ("baseline.precopy.2M.async.zipf.4_KiB.scan", 3e-06, "s"),
    ("hgm.postcopy.1G.uniform.amplification", 1.0, "B/B"),
    ("hgm.postcopy.1G.uniform.read.p50", 4e-09, "s"),
    ("hgm.postcopy.1G.uniform.access.p50", histogram.percentile(CELLS, 50) / 1e9, "s"),
    ("hgm.postcopy.1G.uniform.access.p99", histogram.percentile(CELLS, 99) / 1e9, "s"),
    ("hgm.postcopy.1G.uniform.access.p99_9", histogram.percentile(CELLS, 99.9) / 1e9, "s"),
    ("hgm.postcopy.1G.uniform.access.longest", histogram.percentile(CELLS, 100) / 1e9, "s"),
    ("hgm.postcopy.1G.uniform.arrived.half", 1e-06, "s"),
    ("hgm.postcopy.1G.uniform.arrived.all", 3e-03, "s"),
    ("hgm.postcopy.1G.uniform.collapse", 7e-06, "s"),
    ("hgm.postcopy.1G.uniform.afterwards.base", 2e-08, "s"),
    ("baseline.fragmented.2M.pool.after", 3, "pages"),
    ("baseline.reclaimed.2M.shmem.MADV_PAGEOUT.resident", 4096, "B"),
    ("baseline.reclaimed.2M.shmem.MADV_PAGEOUT.huge", 0, "B"),
]


@pytest.fixture(scope="module")
def studied() -> dict[str, Any]:
    study = of_all({name: [text] for name, text in STUDIED.items()})
    data = kcidb.document([named(RUN, "one")], studies=[study])
    return by_path(json.loads(kcidb.encode(data)))


@pytest.mark.parametrize(("path", "value", "unit"), NUMBERS)
def test_each_figure_of_the_study_is_a_number(
    studied: dict[str, Any], path: str, value: float, unit: str
) -> None:
    test = studied[path]
    assert test["status"] == "DONE"
    assert test["number"]["value"] == pytest.approx(value)
    assert test["number"]["unit"] == unit
    prefix = {"s": "metric", "B": "binary"}.get(unit)
    assert test["number"].get("prefix") == prefix
    assert ("emulated" in test["comment"]) is (unit == "s")  # the study ran under TCG


def test_no_other_figure_is_a_number(studied: dict[str, Any]) -> None:
    found = {path for path, test in studied.items() if "number" in test}
    steps = {f"hgm.postcopy.1G.uniform.read.{each}" for each in ("p99", "p99_9", "longest")}
    assert found == {path for path, _, _ in NUMBERS} | steps
    assert (
        "hugetlb 1G, split, touched in uniform: bytes moved for each byte touched"
        in (studied["hgm.postcopy.1G.uniform.amplification"]["comment"])
    )


def test_a_study_of_another_run_is_left_out() -> None:
    data = kcidb.document([named(RUN, "two")], studies=[of_all({"hgm/postcopy/1G": [FIGURES]})])
    assert not [test for test in data["tests"] if "number" in test]


def test_repetitions_share_a_path() -> None:
    again = msgspec.structs.replace(PROBES[0], name="base/map/1G#2")
    found = document(msgspec.structs.replace(RUN, probes=(PROBES[0], again)))
    paths = [test["path"] for test in found["tests"]]
    assert paths.count("base.map.1G") == 2


def test_a_bisection_names_the_patch_and_links_its_runs() -> None:
    bad, good = named(RUN, "bad"), named(PASSED, "good")
    culprit = Candidate(id="0002", name="mm: break it")

    def evaluation(record: RunRecord, term: Any) -> Evaluation:
        return Evaluation(
            candidate=culprit,
            term=term,
            reason="r",
            runs=1,
            samples=1,
            bad=1,
            seconds=1.0,
            built=False,
            run_dir=record.run_dir,
        )

    bisection = Bisection(
        predicate="bad if hgm/hole/1G ends in HANG",
        result="found",
        suspects=(culprit,),
        evaluations=(evaluation(bad, "bad"), evaluation(good, "good")),
    )
    found = document(bad, good, bisections=(bisection,))
    ends = [test["id"] for test in found["tests"] if test["path"] == ""]
    subject = "bad if hgm/hole/1G ends in HANG: introduced by 0002 mm: break it"
    assert subject in subjects(found, ends[0])
    assert subjects(found, ends[1], present=False) == [subject]


def test_without_kcidb_io_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kcidb_io.schema", None)
    with pytest.raises(ToolMissing, match="kcidb-io is not installed"):
        kcidb.encode(kcidb.document([RUN]))
