# SPDX-License-Identifier: GPL-2.0-only
"""`probes/run-here` runs probes on this machine, and `hgm judge` and `hgm compare` read the run."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import command
from harness.command import Completed
from harness.deadline import Deadline
from harness.judge import accounting, ktap
from harness.probes import catalog
from harness.records.outcome import Outcome
from harness.records.run import SCHEMA, RunRecord
from harness.run import judging
from harness.store import rundir
from tests.component.probes.conftest import Make

RUN_HERE = catalog.PROBES / "run-here"

#: Needs no huge page, root or a right of its own on userfaultfd. Those with a p are many, those of
#: migration take seconds each, and mremap and thp-views find bugs of kernels in use.
BASELINE = "baseline/[!mpt]*"


def run(*arguments: str | Path, program: Path = RUN_HERE) -> Completed:
    return command.run(
        [str(program), *map(str, arguments)], Deadline.after(120, "run-here"), ok=None
    )


def hgm(*arguments: str | Path) -> Completed:
    argv = [sys.executable, "-m", "harness.cli", *map(str, arguments)]
    return command.run(argv, Deadline.after(60, "hgm"), cwd=Path.cwd(), ok=None)


def record(directory: Path) -> RunRecord:
    return rundir.load(directory)


def test_sizes_are_those_of_this_machine(tmp_path: Path) -> None:
    names: dict[str, Any] = {"__file__": str(RUN_HERE), "__name__": "run_here"}
    exec(compile(RUN_HERE.read_text(), RUN_HERE, "exec"), names)  # noqa: S102 - it has no suffix
    for kib, pages in ((64, 8), (2048, 0), (32768, 1), (1048576, 2)):
        pool = tmp_path / f"hugepages-{kib}kB"
        pool.mkdir()
        (pool / "nr_hugepages").write_text(f"{pages}\n")
    names["POOLS"] = tmp_path
    assert names["sizes_here"]() == ["1G", "32M", "64K"]


def test_probes_of_contiguous_pages_are_listed() -> None:
    listed = run("-l", "--size", "64K", "-t", "baseline/pool")
    assert listed.stdout == "baseline/pool/64K\n"


def test_a_real_run_is_judged_and_compared(programs: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    done = run(directory, "-t", BASELINE, "--size", "2M", "--programs", programs)
    assert done.exit_code == 0, done.stdout + done.stderr
    document = ktap.parse(done.stdout)
    specs = catalog.select(catalog.load(), [BASELINE])
    names = [spec.name for spec in specs if spec.name.endswith("/2M")]
    assert document.problems == ()
    assert [result.description for result in document.results] == names
    assert all(result.subtests for result in document.results)

    said = json.loads((directory / "result.json").read_bytes())
    assert said["schema"] == SCHEMA
    first, again = record(directory), judging.judged_again(directory)
    assert [probe.name for probe in again.probes] == names
    statuses = {probe.name: probe.status for probe in again.probes}
    assert set(statuses.values()) <= {"PASS", "SKIP"}
    assert "PASS" in statuses.values()
    assert {probe.name: probe.status for probe in first.probes} == statuses
    assert first.outcome is Outcome.PROBES_RAN
    assert (first.verdict, first.exit_code) == (again.verdict, again.exit_code) == ("PASS", 0)
    assert first.kernel is not None
    assert first.kernel.release == os.uname().release

    judged = hgm("judge", directory)
    assert judged.exit_code == 0, judged.stderr
    assert "PASS: kernel has no HGM (MADV_SPLIT: EINVAL)" in judged.stdout
    compared = hgm("compare", directory, directory)
    assert compared.exit_code == 0, compared.stderr
    assert f"{len(names)} as before" in compared.stdout


def test_counters_are_read_around_each_probe(programs: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", "-t", "baseline/minor-register", "--size", "2M", "--programs", programs)
    path = tmp_path / "run" / rundir.directory_for("baseline/minor-register/2M") / "evidence.json"
    reading = json.loads(path.read_bytes())["accounting"]
    assert reading["before"] == reading["after"]
    assert {"pool.2M.reserved", "meminfo.HugePages_Free"} <= set(reading["before"])


def test_counters_have_page_tables_or_the_reason_why_not(programs: Path) -> None:
    said = command.run([str(programs / "counters")], Deadline.after(60, "counters")).stdout
    read = "pagetables.unowned" in accounting.parse(said)
    assert read != bool(accounting.tables_left_out(said))


def test_make_run_tests_prints_nested_ktap(programs: Path, make: Make) -> None:
    assert programs.is_dir()
    done = make("-s", "run_tests", "RUN=-t baseline/pool --size 2M", ok=None)
    document = ktap.parse(done.stdout)
    (result,) = document.results
    assert (done.exit_code, document.problems) == (0, ())
    assert result.description == "baseline/pool/2M"
    assert result.subtests


Stand = Callable[..., Path]


@pytest.fixture
def stand_in(programs: Path, tmp_path: Path) -> Stand:
    """Return how to make a directory of probes with one whose program is a shell script."""

    def build(script: str, budget: float = 20) -> Path:
        probes = tmp_path / "probes"
        (probes / "build").mkdir(parents=True)
        shutil.copy(RUN_HERE, probes)
        entry = '[[probe]]\nname = "hgm/one"\nsource = "c/one.c"\nneeds = ["hgm"]\n'
        (probes / "catalog.toml").write_text(f"{entry}budget = {{ 2M = {budget} }}\n")
        for name in ("counters", "features"):
            shutil.copy(programs / name, probes / "build")
        (probes / "build" / "one").write_text(f"#!/bin/sh\n{script}\n")
        (probes / "build" / "one").chmod(0o755)
        return probes / "run-here"

    return build


@pytest.mark.parametrize(
    ("script", "code", "status", "reason"),
    [
        ("printf 'KTAP version 1\\n1..1\\nok 1 a\\n'", 0, "PASS", ""),
        ("printf 'KTAP version 1\\n1..1\\n# why\\nnot ok 1 a\\n'; exit 1", 1, "FAIL", "a: why"),
        ("printf 'KTAP version 1\\n1..1\\nok 1 a # SKIP EINVAL\\n'; exit 4", 4, "SKIP", "EINVAL"),
        ("kill -SEGV $$", 1, "FAIL", "killed by SIGSEGV"),
        (
            "printf 'KTAP version 1\\n1..1\\n'; sleep 60 & sleep 60",
            1,
            "HANG",
            "took longer than 0.5",
        ),
    ],
)
def test_every_ending(
    stand_in: Stand, tmp_path: Path, script: str, code: int, status: str, reason: str
) -> None:
    program = stand_in(script, 0.5 if status == "HANG" else 20)
    done = run(tmp_path / "run", "--size", "2M", program=program)
    assert done.exit_code == code
    (probe,) = judging.judged_again(tmp_path / "run").probes
    assert (probe.name, probe.status) == ("hgm/one/2M", status)
    assert probe.reason.startswith(reason)
    assert record(tmp_path / "run").probes[0].status == status
    assert probe.without_series == ("SKIP",)
    first = "ok 1" if code in (0, 4) else "not ok 1"
    assert [line for line in done.stdout.splitlines() if line.startswith(first)]


def test_harm_is_passed_on_only_when_asked(stand_in: Stand, tmp_path: Path) -> None:
    program = stand_in('echo "$@"')
    run(tmp_path / "a", program=program)
    run(tmp_path / "b", "--yes-harm-this-machine", program=program)
    texts = [next((tmp_path / name).glob("probes/*/ktap")).read_text() for name in "ab"]
    assert texts == ["--size 2M\n", "--size 2M --yes-harm-this-machine\n"]


def test_an_interrupt_ends_the_probe_and_is_recorded(stand_in: Stand, tmp_path: Path) -> None:
    program = stand_in("echo begun; exec sleep 60", 60)
    with subprocess.Popen([program, tmp_path / "run"], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert any("begun" in line for line in child.stdout)
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
    cut = record(tmp_path / "run")
    assert (cut.verdict, cut.outcome) == ("INTERRUPTED", Outcome.INTERRUPTED)


def mistakes(tmp_path: Path) -> dict[str, tuple[list[str | Path], str]]:
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("mine")
    return {
        "full": ([full], "is not empty"),
        "file": ([full / "file"], "File exists"),
        "no parent": ([tmp_path / "no" / "run"], "No such file or directory"),
        "no match": (["-t", "nonesuch*"], "'nonesuch*' matches no probe"),
        "no programs": (["--programs", tmp_path / "none"], "make -C"),
        "size": (["--size", "3M"], "--size '3M': one of 1G, "),
        "option": (["--sise"], "unrecognized arguments: --sise"),
    }


@pytest.mark.parametrize(
    "kind", ["full", "file", "no parent", "no match", "no programs", "size", "option"]
)
def test_a_mistake_is_one_line_and_exit_code_2(programs: Path, tmp_path: Path, kind: str) -> None:
    arguments, said = mistakes(tmp_path)[kind]
    before = sorted(tmp_path.rglob("*"))
    if kind != "no programs":
        arguments = ["--programs", programs, *arguments]
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_its_catalogue_is_the_harness_s(programs: Path) -> None:
    """It reads TOML for itself; both must see the same probes."""
    listed = run("-l", "-t", "*", "--size", "1G", "--size", "2M", "--programs", programs)
    assert listed.stdout.split() == [spec.name for spec in catalog.load()]


def test_it_is_written_for_python_3_8() -> None:
    tree: Any = ast.parse(RUN_HERE.read_text(), feature_version=(3, 8))
    roots = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert roots <= set(sys.stdlib_module_names)
