# SPDX-License-Identifier: GPL-2.0-only
"""Which cells a matrix has, in which order they are run, and what a round remembers."""

from __future__ import annotations

import contextlib
import platform
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from harness import data, pipeline
from harness.arch import arch
from harness.campaign import matrix, matrix_file
from harness.context import Cluster, Context
from harness.deadline import Deadline
from harness.errors import SpecError
from harness.kernel import registry
from harness.progress import Silent
from harness.recording import first_record, recorded
from harness.records.base import to_json
from harness.records.campaign import MatrixCell, MatrixResult, NewBisection
from harness.records.history import Retention
from harness.records.machine import pages_option
from harness.records.outcome import Outcome
from harness.records.run import REPORT, GuestsRequest, RunRecord, StageTime
from harness.report import rounds
from harness.run.request import RunRequest
from harness.store import rundir
from harness.workspace import Workspace
from tests.unit.campaign.records import NO_BOOT, NO_BUILD, NO_SERIES, ended, probed

assert data.CHECKOUT is not None
ROOT = data.CHECKOUT

SMALL = """
kernels = ["tree:/a", "tree:/b"]
series = ["none", "dir:/s"]
configs = ["base", "debug"]
[machines.m]
[probes.p]
"""


def planned(text: str, tmp_path: Path) -> tuple[matrix_file.PlannedCell, ...]:
    path = tmp_path / "night.toml"
    path.write_text(text)
    return matrix_file.cells(matrix_file.load(path), path)


def words(text: str, tmp_path: Path) -> list[str]:
    return [" ".join(cell.build[:3]) for cell in planned(text, tmp_path)]


# ---- the file ----------------------------------------------------------------------------------


def test_every_combination_is_a_cell_and_kernels_that_differ_little_follow_each_other(
    tmp_path: Path,
) -> None:
    assert words(SMALL, tmp_path) == [
        *("tree:/a none base", "tree:/a dir:/s base", "tree:/a none debug", "tree:/a dir:/s debug"),
        *("tree:/b none base", "tree:/b dir:/s base", "tree:/b none debug", "tree:/b dir:/s debug"),
    ]


def test_what_matches_all_globs_of_an_exclude_is_left_out(tmp_path: Path) -> None:
    text = SMALL + '[[exclude]]\nkernel = "*b"\nconfig = "d*"\n[[exclude]]\nseries = "dir:*"\n'
    assert words(text, tmp_path) == ["tree:/a none base", "tree:/a none debug", "tree:/b none base"]


INCLUDED = """
[[include]]
kernel = "tree:/a"
series = "dir:/other"
config = "base"
machine = "m"
probes = "p"
"""


def test_what_is_included_comes_where_it_builds_least_and_only_once(tmp_path: Path) -> None:
    text = SMALL + INCLUDED + INCLUDED
    assert words(text, tmp_path)[:3] == [
        *("tree:/a none base", "tree:/a dir:/s base", "tree:/a dir:/other base")
    ]
    assert len(words(text, tmp_path)) == 9


def test_a_cell_is_the_run_that_its_words_say(tmp_path: Path) -> None:
    (cell,) = planned(
        """
        kernels = ["debian:linux-source-6.12"]
        series = ["hgm-6.12"]
        configs = ["base+debug"]
        strict = true
        [machines.big]
        hugepages = "1G:4"
        memory = "9G"
        cpus = 4
        nodes = 2
        hvo = true
        accel = "tcg"
        [probes.split]
        probes = ["hgm/split*"]
        repeat = 3
        alone = true
        """,
        tmp_path,
    )
    request, machine = cell.request, cell.request.subject.machine
    assert request.subject.kernel.features == ("debug",)
    assert (machine.memory, machine.cpus, machine.nodes, machine.hvo) == (9 << 30, 4, 2, True)
    assert (request.probes, request.repeat, request.alone) == (("hgm/split*",), 3, True)
    assert (request.strict, request.subject.accel) == (True, "tcg")
    assert request.expect.name == registry.expectation("hgm-6.12") != "report"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", (False, False, 1)),
        ("alone = true", (True, False, 1)),
        ("fresh_guest = true\nguests = 2", (True, True, 2)),
    ],
)
def test_guests_of_a_cell(words: str, expected: tuple[bool, bool, int], tmp_path: Path) -> None:
    text = f"""
        kernels = ["debian:linux-source-6.12"]
        [machines.usual]
        [probes.all]
        {words}
        """
    (cell,) = planned(text, tmp_path)
    request = cell.request
    assert (request.alone, request.fresh_guest, request.guests) == expected


ARCHES = """
kernels = ["tree:/a"]
series = ["none", "dir:/s"]
[machines.usual]
[machines.arm]
arch = "arm64"
[machines.nodes]
arch = "x86_64"
nodes = 2
[machines.none]
hugepages = ""
[probes.p]
"""


def test_a_machine_without_an_architecture_has_that_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    subjects = {cell.names.machine: cell.request.subject for cell in planned(ARCHES, tmp_path)}
    assert all(each.kernel.arch == each.machine.arch for each in subjects.values())
    usual, arm, nodes, none = (subjects[name].machine for name in ("usual", "arm", "nodes", "none"))
    assert usual == arm
    assert pages_option(arm.hugepages) == arch("aarch64").hugepages
    assert pages_option(nodes.hugepages) == arch("x86_64").hugepages
    assert (arm.arch, nodes.arch, none.hugepages) == ("aarch64", "x86_64", ())


def test_cells_of_one_architecture_share_their_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    cells = planned(ARCHES, tmp_path)
    assert [cell.names.machine for cell in cells] == ["usual", "nodes", "none", "arm"] * 2
    assert len({cell.build for cell in cells}) == 4


def test_kselftests_get_the_memory_that_they_need(tmp_path: Path) -> None:
    usual, more = (
        planned(f'kernels = ["tree:/a"]\n[machines.m]\n[probes.p]\n{tests}\n', tmp_path)[0]
        for tests in ("", 'kselftests = ["mm"]')
    )
    assert more.request.subject.machine.memory - usual.request.subject.machine.memory == 2 << 30


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kernels = []\n[machines.m]\n[probes.p]\n", "kernels"),
        ("[machines.m]\n[probes.p]\n", "kernels"),
        (SMALL + "what = 1\n", "what"),
        (SMALL.replace("[machines.m]", "[machines.m]\ncpu = 2"), "cpu"),
        (SMALL.replace("[machines.m]", '[machines.m]\naccel = "xen"'), "xen"),
        (SMALL.replace("[machines.m]", '[machines.m]\narch = "vax"'), "architecture 'vax'"),
        (SMALL.replace("[machines.m]", "[machines.m]\nnodes = 9"), "9 NUMA nodes"),
        (SMALL.replace("[machines.m]", '[machines.m]\nhugepages = "3G:1"'), "| m | p: "),
        (SMALL.replace("[probes.p]", '[probes.p]\nkselftests = ["nn"]'), "no collection 'nn'"),
        (SMALL + '[[include]]\nmachine = "x"\n', "no machine 'x'"),
        (SMALL + '[[include]]\nmachine = "m"\nprobes = "p"\n', "names its kernel"),
        (SMALL + "[[exclude]]\n", "no cell is left"),
        ("kernels = [", "night.toml: "),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        planned(text, tmp_path)
    assert said in caught.value.line()
    assert "\n" not in caught.value.line()


def test_a_file_that_is_absent_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot read .*nowhere\.toml: No such file"):
        matrix_file.load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("keep", ["{}", "{ days = -5 }", "{ runs = -1 }", "{ weeks = 1 }"])
def test_what_is_kept_is_said_and_is_no_mistake(keep: str, tmp_path: Path) -> None:
    text = f'kernels = ["tree:/a"]\nkeep = {keep}\n[machines.m]\n[probes.p]\n'
    with pytest.raises(SpecError, match="keep"):
        planned(text, tmp_path)


def test_our_own_night_has_what_is_said_of_it() -> None:
    path = ROOT / ".ci" / "nightly.toml"
    file = matrix_file.load(path)
    cells = matrix_file.cells(file, path)
    kernels = {(cell.names.kernel.rpartition("-")[2], cell.names.series) for cell in cells}
    stock = {(version, "none") for version in ("6.1", "6.12", "7.3")}
    series = {("6.12", "hgm-6.12"), ("6.12", "hgm-6.12-v2"), ("7.3", "hgm-7.3")}
    assert kernels == stock | series
    for config in ("base", "debug", "kselftest+swap"):
        name = f"{config}+debuginfo"  # splats of a night have file and line
        built = {cell.build[:2] for cell in cells if cell.build[2] == name}
        assert {(kernel.rpartition("-")[2], series) for kernel, series in built} == kernels
    assert {cell.names.config for cell in cells if cell.request.kselftests} == {
        "kselftest+swap+debuginfo"
    }
    assert {cell.names.series for cell in cells if cell.request.subject.machine.hvo} == {"none"}
    assert any(cell.request.subject.machine.hugetlb_cma for cell in cells)
    assert file.keep == Retention(days=60, runs=30)


def test_the_file_in_the_documentation_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "nightly.md").read_text()
    (text,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(planned(text, tmp_path)) > 10
    named = set(re.findall(r"^(\w+) =", text, re.MULTILINE))
    for kind in (
        matrix_file.MatrixFile,
        matrix_file.MatrixMachine,
        matrix_file.ProbeSet,
        matrix_file.CellNames,
    ):
        assert set(kind.__struct_fields__) <= named | {"machines", "probes", "exclude", "include"}


# ---- rounds ------------------------------------------------------------------------------------

TWO = 'kernels = ["tree:/a", "tree:/b"]\n[machines.m]\n[probes.p]\n'
SHARED = 'kernels = ["tree:/a"]\n[machines.m]\n[machines.n]\n[probes.p]\n'


class Pipeline:
    """Stands in for the pipeline: leaves the record that a kernel has, and counts."""

    def __init__(self, *ends: RunRecord | type[BaseException]) -> None:
        self.ends = list(ends)
        self.asked: list[str] = []
        self.clock = 0
        self.year = 2999  # in the round, whenever that began

    def check(self, request: RunRequest, context: Context) -> tuple[()]:
        return ()

    def run(self, request: RunRequest, runs: Path, context: Context) -> RunRecord:
        self.asked.append(request.subject.kernel.source)
        self.clock += 1
        end = self.ends.pop(0)
        if isinstance(end, type):
            raise end
        directory = runs / f"{self.clock:03}"
        directory.mkdir(parents=True)
        started = f"{self.year}-01-01T00:00:{self.clock:02}+00:00"
        record = msgspec.structs.replace(end, started=started, run_dir=str(directory))
        (directory / "result.json").write_bytes(to_json(record))
        return record


Night = Callable[..., MatrixResult]


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    """Run a matrix with a pipeline that ends so."""

    def run(
        text: str,
        stand_in: Pipeline,
        seconds: float = 60,
        cluster: Cluster | None = None,
        **how: Any,
    ) -> MatrixResult:
        monkeypatch.setattr(pipeline, "run", stand_in.run)
        monkeypatch.setattr(pipeline, "check", stand_in.check)
        cells = planned(text, tmp_path)
        workspace, limit = Workspace(tmp_path / "cache"), Deadline.after(seconds, "the night")
        context = Context(workspace, limit, Silent(), cluster)
        path = tmp_path / "night.toml"
        return matrix.run_matrix(cells, path, 60, tmp_path / "runs", context, **how)

    return run


GOOD, BAD = probed(a_x="PASS"), probed(a_x="FAIL")
BROKEN = ended(Outcome.INFRASTRUCTURE, 3)


@pytest.mark.parametrize(
    ("ends", "verdicts", "code"),
    [
        ((GOOD, GOOD), ["PASS", "PASS"], 0),
        ((BAD, GOOD), ["FAIL", "PASS"], 1),
        ((NO_BUILD, GOOD), ["FAIL", "PASS"], 1),
        ((NO_SERIES, GOOD), ["FAIL", "PASS"], 1),
        ((NO_BOOT, GOOD), ["FAIL", "PASS"], 1),
        ((BROKEN, GOOD), ["NOT RUN", "PASS"], 3),
        ((BROKEN, BAD), ["NOT RUN", "FAIL"], 1),
    ],
)
def test_each_cell_has_its_turn_and_the_exit_code_says_the_worst(
    night: Night, ends: tuple[RunRecord, ...], verdicts: list[str], code: int
) -> None:
    result = night(TWO, Pipeline(*ends))
    assert [cell.verdict for cell in result.cells] == verdicts
    assert (result.exit_code, result.finished, result.round) == (code, True, 1)


def test_a_cell_that_this_host_cannot_run_tells_nobody_to_repeat_the_command(night: Night) -> None:
    broken, _ = night(TWO, Pipeline(BROKEN, GOOD)).cells
    assert broken.reason.endswith(BROKEN.reason)


SIX = 'kernels = ["tree:/a", "tree:/b"]\n[machines.m]\n[machines.n]\n[machines.o]\n[probes.p]\n'


def test_the_longest_cells_of_a_kernel_are_first_and_unknown_ones_before_them(
    tmp_path: Path,
) -> None:
    cells = planned(SIX, tmp_path)
    seconds = {cell.step: took for cell, took in zip(cells, (10, 300, 20, 40, 50), strict=False)}
    found = [(c.names.kernel[-1], c.names.machine) for c in matrix.longest_first(cells, seconds)]
    assert found == [("a", "n"), ("a", "o"), ("a", "m"), ("b", "o"), ("b", "n"), ("b", "m")]


class Hosts:
    """Stands in for a cluster: notes what it is given and ends all of it well."""

    def __init__(self) -> None:
        self.expected: dict[str, float] = {}

    def begin(self, request: RunRequest, runs: Path, context: Context) -> pipeline.BegunRun:
        first = first_record(("run",), request.subject.machine, REPORT, ())
        ending = contextlib.ExitStack()
        begun = ending.enter_context(recorded(runs, "fake", first, context.progress))
        return pipeline.BegunRun(begun, cast(GuestsRequest, object()), ending)

    def places(self) -> int:
        return 100

    def submit(
        self, run_dir: Path, wanted: GuestsRequest, seconds: float, expected: float = 0.0
    ) -> None:
        self.expected[run_dir.parent.name] = expected

    def ended(self, run_dirs: Collection[Path], deadline: Deadline) -> dict[Path, RunRecord]:
        return dict.fromkeys(run_dirs, GOOD)

    def cancel(self, run_dirs: Collection[Path]) -> None:
        raise AssertionError


def test_a_cluster_gets_the_cells_by_what_their_guests_took_in_the_round_before(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def took(seconds: float) -> RunRecord:
        stages = (StageTime(name="build", seconds=1000), StageTime(name="guest", seconds=seconds))
        return msgspec.structs.replace(GOOD, stages=stages)

    steps = [cell.step for cell in planned(SIX, tmp_path)]
    last = dict(zip(steps, (10.0, 300.0, 20.0, 5.0, 40.0, 50.0), strict=True))
    before = Pipeline(*map(took, last.values()))
    before.year = 1999
    night(SIX, before)
    hosts = Hosts()
    monkeypatch.setattr(pipeline, "begin", hosts.begin)
    result = night(SIX, Pipeline(), cluster=hosts)
    assert [cell.verdict for cell in result.cells] == ["PASS"] * 6
    assert hosts.expected == last
    order = list(hosts.expected.values())
    assert order == [300, 20, 10, 50, 40, 5]
    assert [cell.run_dir.split("/")[-2] for cell in result.cells] == steps


def test_an_interrupt_while_a_run_is_given_away_ends_that_run(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Hosts):
        def submit(self, *_: object) -> None:
            raise KeyboardInterrupt

        def cancel(self, run_dirs: Collection[Path]) -> None:
            assert len(run_dirs) == 1

    monkeypatch.setattr(pipeline, "begin", Interrupted().begin)
    with pytest.raises(KeyboardInterrupt):
        night(TWO, Pipeline(), cluster=Interrupted())
    (found,) = {path.resolve() for path in tmp_path.rglob("result.json")}
    assert rundir.load(found.parent).verdict == "INTERRUPTED"


def test_a_mistake_in_a_cell_is_found_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    limit = Deadline.after(60, "the night")
    context = Context(Workspace(tmp_path / "cache"), limit, Silent())
    for line in ('series = ["nix"]', 'configs = ["nix"]'):
        with pytest.raises(SpecError, match=r"^tree:/a \| .*nix.* \| m \| p: .*nix"):
            matrix.check(planned(f"{line}\n{SHARED}", tmp_path), context)


def test_a_round_that_was_interrupted_is_continued_before_the_next_begins(night: Night) -> None:
    first = Pipeline(BAD, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        night(TWO, first)
    second = Pipeline(GOOD)
    second.clock = first.clock
    result = night(TWO, second)
    assert (first.asked, second.asked) == (["tree:/a", "tree:/b"], ["tree:/b"])
    assert [cell.verdict for cell in result.cells] == ["FAIL", "PASS"]
    assert (result.round, result.finished) == (1, True)
    assert matrix._round(Path(result.directory), restart=False).number == 2


def test_a_round_begins_on_request_although_the_last_one_is_not_finished(night: Night) -> None:
    with pytest.raises(KeyboardInterrupt):
        night(TWO, Pipeline(KeyboardInterrupt))
    assert night(TWO, Pipeline(GOOD, GOOD), restart=True).round == 2


def test_what_was_run_before_the_round_does_not_count(night: Night, tmp_path: Path) -> None:
    night(TWO, Pipeline(GOOD, GOOD))
    for path in tmp_path.rglob("result.json"):
        path.write_bytes(path.read_bytes().replace(b"2999", b"1999"))
    again = Pipeline(BAD, GOOD)
    again.clock = 10
    assert [cell.verdict for cell in night(TWO, again).cells] == ["FAIL", "PASS"]
    assert again.asked == ["tree:/a", "tree:/b"]


def test_a_round_is_finished_when_what_is_new_is_bisected(night: Night) -> None:
    asked = []

    def interrupted(result: MatrixResult) -> MatrixResult:
        asked.append(("interrupted", result.round, result.finished))
        raise KeyboardInterrupt

    def expired(result: MatrixResult) -> MatrixResult:
        asked.append(("expired", result.round, result.finished))
        left = NewBisection(names="", tests=("a/x",), reason="no time", left=True)
        return msgspec.structs.replace(result, bisections=(left,))

    def bisected(result: MatrixResult) -> MatrixResult:
        asked.append(("bisected", result.round, result.finished))
        never = NewBisection(names="", tests=("a/x",), reason="there are no commits")
        return msgspec.structs.replace(result, bisections=(never,))

    with pytest.raises(KeyboardInterrupt):
        night(TWO, Pipeline(GOOD, BAD), bisect=interrupted)
    assert night(TWO, Pipeline(), bisect=expired).finished is False
    result = night(TWO, Pipeline(), bisect=bisected)
    assert [cell.verdict for cell in result.cells] == ["PASS", "FAIL"]
    assert (result.finished, len(result.bisections)) == (True, 1)
    kept = msgspec.json.decode(
        (Path(result.directory) / "matrix.json").read_bytes(), type=MatrixResult
    )
    assert kept == result
    assert asked == [("interrupted", 1, False), ("expired", 1, False), ("bisected", 1, False)]
    assert matrix._round(Path(result.directory), restart=False).number == 2


def test_nothing_is_bisected_before_all_cells_had_their_turn(night: Night) -> None:
    def never(result: MatrixResult) -> MatrixResult:
        raise AssertionError

    assert night(TWO, Pipeline(), seconds=0, bisect=never).finished is False


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[machines.m]\n", "[machines.m]\ncpus = 4\n"),
        ("[probes.p]\n", '[probes.p]\nprobes = ["a/*"]\n'),
        ("[machines.m]\n", "strict = true\n[machines.m]\n"),
    ],
)
def test_a_result_does_not_count_for_a_cell_that_means_something_else_now(
    night: Night, old: str, new: str
) -> None:
    first = Pipeline(BAD, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        night(TWO, first)
    second = Pipeline(GOOD, GOOD)
    second.clock = first.clock
    result = night(TWO.replace(old, new), second)
    assert second.asked == ["tree:/a", "tree:/b"]
    assert (result.round, [cell.verdict for cell in result.cells]) == (1, ["PASS", "PASS"])


def test_a_kernel_that_did_not_build_is_not_built_again_in_the_round(night: Night) -> None:
    pipe = Pipeline(NO_BUILD)
    result = night(SHARED, pipe)
    assert len(pipe.asked) == 1
    assert [cell.verdict for cell in result.cells] == ["FAIL", "NOT RUN"]
    assert result.cells[1].reason.startswith("its kernel was not built: ")
    assert (result.exit_code, result.finished) == (1, True)


def test_what_there_is_no_time_for_is_left_to_the_next_command(night: Night) -> None:
    result = night(TWO, Pipeline(), seconds=0)
    assert [(cell.verdict, cell.left) for cell in result.cells] == [("NOT RUN", True)] * 2
    assert (result.exit_code, result.finished) == (3, False)
    assert night(TWO, Pipeline(GOOD, GOOD)).round == 1


def test_the_report_names_what_did_not_pass_and_ends_with_the_verdict() -> None:
    cell = MatrixCell(
        names="tree:/a | none",
        build=("tree:/a", "none", "base"),
        verdict="PASS",
        reason="well",
        exit_code=0,
        seconds=61.4,
        run_dir="/runs/1",
    )
    bad = msgspec.structs.replace(cell, verdict="FAIL", reason="p/x FAIL", exit_code=1)
    result = MatrixResult(round=3, finished=False, cells=(cell, bad), directory="/runs/m")
    assert list(rounds.lines(result)) == [
        "PASS  61 s  tree:/a | none",
        "FAIL  61 s  tree:/a | none",
        "    p/x FAIL",
        "    /runs/1",
        "record   /runs/m",
        "FAIL: round 3: 2 cells: 1 PASS, 1 FAIL (123 s); not finished, "
        "the same command continues it",
    ]
