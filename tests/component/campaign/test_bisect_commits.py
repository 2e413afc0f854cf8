# SPDX-License-Identifier: GPL-2.0-only
"""Bisection of commits by a real git, with a fake pipeline in place of real kernels."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness import pipeline
from harness.campaign import bisect, commits
from harness.campaign.bisect import BisectRequest
from harness.campaign.predicate import Predicate
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import SourceError
from harness.kernel.obtain import KernelRequest
from harness.progress import Silent
from harness.records.base import to_json
from harness.records.campaign import Bisection
from harness.records.probe import Status
from harness.records.run import RunRecord
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.vm import spec
from harness.workspace import Workspace
from tests.unit.campaign.records import NO_SERIES, probed

TOTAL, ENABLING, CULPRIT = 20, 15, 6


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose commit N changes the function fN of mm/N.c."""
    path = tmp_path / "linux"
    (path / "mm").mkdir(parents=True)

    def git(*words: str) -> None:
        identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost.invalid"]
        subprocess.run(["git", "-C", str(path), *identity, *words], check=True, timeout=60)

    git("init", "-q")
    for number in range(1, TOTAL + 1):
        body = "\tint a;\n" * 8
        (path / f"mm/{number}.c").write_text(f"int f{number}(void)\n{{\n{body}}}\n")
    git("add", "mm")
    git("commit", "-qm", "commit 0")
    for number in range(1, TOTAL + 1):
        file = path / f"mm/{number}.c"
        file.write_text(file.read_text().replace("a;\n}", "b;\n}"))
        git("commit", "-qam", f"commit {number}")
    return path


Kernel = Callable[[int, tuple[str, ...]], RunRecord | Status]


class World:
    """Fakes the pipeline: the kernel of commit N with the patches of these files on top."""

    def __init__(self, repository: Path, kernel: Kernel, blame: str = "") -> None:
        self.repository = repository
        self.kernel = kernel
        self.blame = blame
        self.ran: list[int] = []

    def run(self, request: RunRequest, runs: Path, context: Context) -> RunRecord:
        kernel = request.subject.kernel
        commit = kernel.source.rpartition("@")[2]
        show = ["git", "-C", str(self.repository), "log", "-1", "--format=%s", commit]
        done = subprocess.run(show, capture_output=True, text=True, check=True, timeout=60)
        self.ran.append(int(done.stdout.split()[1]))
        patches = tuple(Path(file).read_text() for file in kernel.extra)
        made = self.kernel(self.ran[-1], patches)
        record = made if isinstance(made, RunRecord) else probed({"hgm/x/2M": made})
        probes = (msgspec.structs.replace(each, blame=self.blame) for each in record.probes)
        record = msgspec.structs.replace(record, probes=tuple(probes))
        directory = runs / "once"
        directory.mkdir(parents=True)
        (directory / "result.json").write_bytes(to_json(record))
        return record


Solve = Callable[..., Bisection]


@pytest.fixture
def solve(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Solve:
    def run(world: World, *, skip: tuple[str, ...] = (), first_good: bool = False) -> Bisection:
        monkeypatch.setattr(pipeline, "check", lambda request, context: ())
        monkeypatch.setattr(pipeline, "run", world.run)
        request = BisectRequest(
            subject=Subject(
                kernel=KernelRequest(source="tree:/src", arch="x86_64"),
                machine=spec.machine(spec.parse_hugepages("2M:1", "x86_64"), arch_name="x86_64"),
            ),
            predicate=Predicate(probes=("hgm/x/2M",)),
            skip=skip,
            first_good=first_good,
        )
        context = Context(Workspace(tmp_path / "cache"), Deadline.after(120, "a test"), Silent())
        history = commits.history(repository, f"HEAD~{TOTAL}", "HEAD", context)
        return bisect.bisect_commits(request, history, tmp_path / "runs", context)

    return run


def _named(found: Bisection) -> list[int]:
    return [int(each.name.split()[1]) for each in found.suspects]


def _has(number: int, patches: tuple[str, ...], wanted: int) -> bool:
    return number >= wanted or any(f"b/mm/{wanted}.c" in patch for patch in patches)


def test_the_culprit_is_found_before_the_commit_that_enables_the_feature(
    repository: Path, solve: Solve
) -> None:
    def kernel(number: int, patches: tuple[str, ...]) -> Status:
        if not _has(number, patches, ENABLING):
            return "SKIP"
        return "FAIL" if number >= CULPRIT else "PASS"

    found = solve(World(repository, kernel))
    assert (found.result, _named(found)) == ("found", [CULPRIT])
    assert [each.name for each in found.enabling] == [f"commit {ENABLING}"]
    for command in found.commands:
        assert Path(command[command.index("--with") + 1]).is_file()


def test_where_the_feature_cannot_be_switched_on_the_trace_comes_first(
    repository: Path, solve: Solve
) -> None:
    def kernel(number: int, patches: tuple[str, ...]) -> RunRecord | Status:
        if patches and number < CULPRIT + 2:
            return NO_SERIES
        return "HANG" if _has(number, patches, ENABLING) else "SKIP"

    found = solve(World(repository, kernel, f"f{CULPRIT} at mm/{CULPRIT}.c:9, on CPU 1"))
    assert found.result == "several"
    assert _named(found)[0] == CULPRIT
    assert set(_named(found)) == {*range(CULPRIT + 3), ENABLING}
    (traced,) = found.traced
    assert traced.function == f"f{CULPRIT}"
    assert traced.hunk.startswith(f"mm/{CULPRIT}.c @@ -7,5 +7,5 @@ int f{CULPRIT}(void)")


def test_the_trace_saves_kernels(repository: Path, solve: Solve) -> None:
    world = World(repository, lambda n, _: "HANG" if n >= CULPRIT else "PASS", f"f{CULPRIT} at x")
    assert _named(solve(world)) == [CULPRIT]
    assert world.ran == [TOTAL, 0, CULPRIT - 1, CULPRIT]


def test_a_wrong_trace_finds_the_culprit_too(repository: Path, solve: Solve) -> None:
    world = World(repository, lambda n, _: "HANG" if n >= CULPRIT else "PASS", "f17 at x")
    assert _named(solve(world)) == [CULPRIT]


def test_a_skipped_commit_is_not_run(repository: Path, solve: Solve) -> None:
    world = World(repository, lambda n, _: "FAIL" if n >= CULPRIT else "PASS")
    found = solve(world, skip=(f"HEAD~{TOTAL - CULPRIT}",))
    assert CULPRIT not in world.ran
    assert (found.result, _named(found)) == ("several", [CULPRIT, CULPRIT + 1])


def test_a_skipped_commit_that_does_not_exist(repository: Path, solve: Solve) -> None:
    with pytest.raises(SourceError, match="has no revision 'none'"):
        solve(World(repository, lambda *_: "PASS"), skip=("none",))


def test_the_first_good_commit(repository: Path, solve: Solve) -> None:
    found = solve(World(repository, lambda n, _: "PASS" if n >= 9 else "FAIL"), first_good=True)
    assert (found.result, _named(found)) == ("found", [9])
