# SPDX-License-Identifier: GPL-2.0-only
"""The C library of the probes reports every way in which a test can end, and says what failed."""

import re
from pathlib import Path

import pytest

from harness import command
from harness.command import Completed
from harness.deadline import Deadline
from harness.judge import ktap, ktap_document
from harness.probes import catalog
from harness.probes.compile import flags

SOURCE = Path(__file__).parent / "c" / "outcomes.c"

#: Lines of the source that a failure must name.
HERE = {
    f"outcomes.c:{number}"
    for number, line in enumerate(SOURCE.read_text().splitlines(), 1)
    if "/* here */" in line
}


def build(binary: Path, *more: str) -> Path:
    """Compile the program, with limits of a quarter of a second."""
    library = catalog.PROBES / "c"
    sources = [str(SOURCE), *map(str, sorted(library.glob("lib/*.c")))]
    limits = ["-DTEST_MS=250", "-DKILL_MS=100"]
    argv = ["gcc", *flags(), *limits, f"-I{library}", *sources, *more, "-o", str(binary)]
    command.run(argv, Deadline.after(120, "the compiler"))
    return binary


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program, whose tests are killed after a quarter of a second."""
    return build(tmp_path_factory.mktemp("outcomes") / "outcomes")


def run(program: Path, *arguments: str) -> Completed:
    argv = [str(program), "--size", "2M", *arguments]
    return command.run(argv, Deadline.after(60, "the probe"), ok=None)


def test_every_outcome_is_reported(program: Path) -> None:
    names = ["passes", "fails", "skips", "crashes", "waits", "exits", "sees another page"]
    done = run(program, *(word for name in names for word in ("-t", name)))
    document = ktap.parse(done.stdout)
    assert document.version == "KTAP version 1"
    assert document.plan == len(names)
    assert document.problems == ()
    assert document.unknown == ()
    statuses = ["PASS", "FAIL", "SKIP", "FAIL", "FAIL", "FAIL", "FAIL"]
    assert [(r.description, ktap_document.status(r)) for r in document.results] == [
        *zip(names, statuses, strict=True)
    ]
    assert done.exit_code == 1
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("passes", 0, "ok 1 passes"),
        ("skips", 4, "ok 1 skips # SKIP MADV_SPLIT: EINVAL"),
        ("crashes", 1, "# ended by SIGBUS"),
        ("waits", 1, "# killed after 0.25 s"),
        ("exits", 1, "not ok 1 exits"),
        (
            "harms",
            4,
            "ok 1 harms # SKIP poisons memory; --yes-harm-this-machine allows it",
        ),
    ],
)
def test_exit_code_and_reason(program: Path, name: str, code: int, said: str) -> None:
    done = run(program, "-t", name)
    assert done.exit_code == code
    assert said in done.stdout


def test_limits_are_multiplied_by_the_timeout_scale(program: Path) -> None:
    done = run(program, "-t", "waits", "--timeout-scale", "3.5")
    assert "# killed after 0.875 s" in done.stdout


def test_a_test_that_does_not_die_is_waited_for(tmp_path: Path) -> None:
    """Here kill() does nothing, and the test ends by itself, well: it is late all the same."""
    source = tmp_path / "kill.c"
    source.write_text("int __wrap_kill(int pid, int number);\n")
    with source.open("a") as file:
        file.write("int __wrap_kill(int pid, int number) { return pid & 0 & number; }\n")
    deaf = build(tmp_path / "deaf", str(source), "-Wl,--wrap=kill")
    done = run(deaf, "-t", "takes a second", "-t", "passes")
    assert re.search(
        r"# process \d+ did not die of SIGKILL within 0\.1 s; waiting for it\n"
        r"not ok 2 takes a second\n",
        done.stdout,
    ), done.stdout


def test_harm_is_allowed_by_its_option_alone(program: Path) -> None:
    done = run(program, "-t", "harms", "--yes-harm-this-machine")
    assert done.exit_code == 0
    assert "SKIP" not in done.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fails", "expected 12 KiB, got another"),
        ("sees another page", "page 1 shows page 2 of filling 1, expected page 1 of filling 1"),
        ("mapping is refused", "anonymous mmap of 1073741824 GiB + 12 KiB: ENOMEM"),
        ("advice is accepted", "MADV_DONTNEED of 4 KiB: expected EINVAL, got success"),
        ("thread is made", "pthread_setconcurrency: expected EAGAIN, got success"),
        (
            "continue ends early",
            "UFFDIO_CONTINUE of 2 huge pages: expected EAGAIN after 1 MiB + 8 KiB, "
            "got EAGAIN after 1 MiB",
        ),
        ("continue is refused", "UFFDIO_CONTINUE of 12 KiB: expected success, got EEXIST"),
        (
            "continue lies",
            "UFFDIO_CONTINUE of 8 KiB: expected success, got success with 4 KiB done",
        ),
        ("nothing is mapped", "smaps: HugetlbPudMapped is missing, expected 0 bytes"),
        ("pool changes", "the pool after nothing was done: +0 free huge pages, expected -1"),
        ("helper fails", "page 0 shows 0x1, expected zero"),
        ("library thread", "read of a userfaultfd: a short message"),
    ],
)
def test_a_failure_names_the_tests_line_and_speaks_of_the_interface(
    program: Path, name: str, said: str
) -> None:
    (line,) = (line for line in run(program, "-t", name).stdout.splitlines() if ": " in line)
    place, _, text = line.removeprefix("# ").partition(": ")
    assert text == said
    assert place in HERE


@pytest.mark.parametrize(
    ("setup", "code", "status"), [("passes", 1, "PASS"), ("fails", 1, "FAIL"), ("skips", 4, "SKIP")]
)
def test_a_setup_that_ends_early_decides_for_every_test(
    program: Path, setup: str, code: int, status: str
) -> None:
    done = run(program, "--setup", setup, "-t", "passes", "-t", "fails")
    document = ktap.parse(done.stdout)
    assert document.problems == ()
    assert len(document.results) == document.plan == 2
    assert ktap_document.status(document.results[0]) == status
    assert done.exit_code == code


def test_a_size_that_the_kernel_lacks_is_a_skip(program: Path) -> None:
    done = run(program, "--size", "512G", "-t", "passes")
    said = "/sys/kernel/mm/hugepages/hugepages-536870912kB: ENOENT"
    assert f"ok 1 passes # SKIP {said}" in done.stdout
    assert done.exit_code == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "3M"], "--size 3M is not the size of a huge page"),
        (["--size", "2X"], "--size 2X is not the size of a huge page"),
        (["--size"], "--size needs a value"),
        (["--sise", "2M"], "unknown option --sise"),
        (["--timeout-scale", "0.5"], "--timeout-scale 0.5 is not a number from 1 to 30"),
        (["--timeout-scale", "2x"], "--timeout-scale 2x is not a number from 1 to 30"),
        (["--timeout-scale", "nan"], "--timeout-scale nan is not a number from 1 to 30"),
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
