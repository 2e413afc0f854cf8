# SPDX-License-Identifier: GPL-2.0-only
"""The C library of the probes reports every way in which a test can end."""

from pathlib import Path

import pytest

from harness import command
from harness.command import Completed
from harness.deadline import Deadline
from harness.judge import ktap, ktap_document
from harness.probes import catalog
from harness.probes.compile import flags

SOURCE = Path(__file__).parent / "c" / "outcomes.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program, whose tests are killed after a quarter of a second."""
    binary = tmp_path_factory.mktemp("outcomes") / "outcomes"
    library = catalog.PROBES / "c"
    sources = [str(SOURCE), *map(str, sorted(library.glob("lib/*.c")))]
    argv = ["gcc", *flags(), "-DTEST_MS=250", f"-I{library}", *sources, "-o", str(binary)]
    command.run(argv, Deadline.after(120, "the compiler"))
    return binary


def run(program: Path, *arguments: str) -> Completed:
    argv = [str(program), "--size", "2M", *arguments]
    return command.run(argv, Deadline.after(60, "the probe"), ok=None)


def test_every_outcome_is_reported(program: Path) -> None:
    done = run(program)
    document = ktap.parse(done.stdout)
    assert document.version == "KTAP version 1"
    assert document.plan == 7
    assert document.problems == ()
    assert document.unknown == ()
    assert [(r.description, ktap_document.status(r)) for r in document.results] == [
        ("passes", "PASS"),
        ("fails", "FAIL"),
        ("skips", "SKIP"),
        ("crashes", "FAIL"),
        ("waits", "FAIL"),
        ("exits", "FAIL"),
        ("sees another page", "FAIL"),
    ]
    assert done.exit_code == 1
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("passes", 0, "ok 1 passes"),
        ("fails", 1, "# outcomes.c:17: MADV_SPLIT of 8 KiB: expected EINVAL, got EAGAIN"),
        ("skips", 4, "ok 1 skips # SKIP MADV_SPLIT: EINVAL"),
        ("crashes", 1, "# ended by SIGBUS"),
        ("waits", 1, "# killed after 0.25 s"),
        ("exits", 1, "not ok 1 exits"),
        (
            "sees another page",
            1,
            "# outcomes.c:48: page 1 shows page 2 of filling 1, expected page 1 of filling 1",
        ),
    ],
)
def test_exit_code_and_reason(program: Path, name: str, code: int, said: str) -> None:
    done = run(program, "-t", name)
    assert done.exit_code == code
    assert said in done.stdout


@pytest.mark.parametrize(
    ("setup", "code", "status"), [("passes", 1, "PASS"), ("fails", 1, "FAIL"), ("skips", 4, "SKIP")]
)
def test_a_setup_that_ends_early_decides_for_every_test(
    program: Path, setup: str, code: int, status: str
) -> None:
    done = run(program, "--setup", setup)
    document = ktap.parse(done.stdout)
    assert document.problems == ()
    assert len(document.results) == document.plan == 7
    assert ktap_document.status(document.results[0]) == status
    assert done.exit_code == code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "3M"], "--size 3M is not the size of a huge page"),
        (["--size", "2X"], "--size 2X is not the size of a huge page"),
        (["--size"], "--size wants a value"),
        (["--sise", "2M"], "unknown option --sise"),
        (["-t", "no*test"], "-t 'no*test' matches no test"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(
    program: Path, arguments: list[str], said: str
) -> None:
    argv = [str(program), *arguments]
    done = command.run(argv, Deadline.after(10, "the probe"), ok=None)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
