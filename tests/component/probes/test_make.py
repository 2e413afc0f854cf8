# SPDX-License-Identifier: GPL-2.0-only
"""`make -C probes` builds every probe, and the binaries stand alone: -h, -l, -t, skips."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from harness import command
from harness.command import Completed
from harness.deadline import Deadline
from harness.judge import ktap, ktap_document
from harness.probes import catalog
from tests.component.probes.conftest import Make

#: What is no probe, and has options of its own.
TOOLS = {"calibrate", "counters", "crash", "features", "renew"}

C_PROBES = {Path(s.source).stem: s for s in catalog.load() if s.language == "c"}


def run(program: Path, *arguments: str) -> Completed:
    return command.run([str(program), *arguments], Deadline.after(60, "the probe"), ok=None)


def test_every_source_becomes_one_static_binary(programs: Path) -> None:
    sources = sorted(path.stem for path in (catalog.PROBES / "c").glob("*.c"))
    files = [path for path in programs.iterdir() if path.is_file()]
    assert sorted(path.name for path in files) == sources
    headers = command.run(
        ["readelf", "-lW", *map(str, files)], Deadline.after(60, "readelf")
    ).stdout
    assert headers.count("LOAD ") >= len(sources)
    assert "INTERP" not in headers


def test_nothing_is_built_twice(programs: Path, make: Make) -> None:
    assert programs.is_dir()
    assert "gcc" not in make().stdout


def test_the_probes_build_for_arm64(make: Make) -> None:
    """The cross compiler is among the packages that `hgm test` installs; see host-packages.txt."""
    make("CROSS_COMPILE=aarch64-linux-gnu-", output="arm64")
    said = make("CROSS_COMPILE=aarch64-linux-gnu-", "-nB", output="arm64").stdout
    count = len([*(catalog.PROBES / "c").glob("*.c"), *(catalog.PROBES / "c/lib").glob("*.c")])
    assert said.count("\naarch64-linux-gnu-gcc ") == count


def test_help_and_list_name_every_test(programs: Path) -> None:
    for name in C_PROBES:
        listed = run(programs / name, "-l").stdout.splitlines()
        said = run(programs / name, "-h")
        assert said.exit_code == 0
        assert listed, name
        assert all(f"  {test}\n" in said.stdout for test in listed), name


def test_each_name_stands_alone(programs: Path) -> None:
    """A JUnit viewer shows one name without the others, and -t takes it as a glob."""
    for spec in catalog.load():
        program = programs / Path(spec.source).stem
        python = catalog.PROBES / spec.source
        argv = [str(program)] if spec.language == "c" else [sys.executable, str(python)]
        argv += [*spec.arguments[:-2], "-l"]
        names = command.run(argv, Deadline.after(60, "the probe")).stdout.splitlines()
        assert len(set(names)) == len(names) > 0, spec.name
        for name in names:
            assert name.isprintable(), name
            assert 20 <= len(name) <= 90, name
            assert not set(name) & set("#*?["), name


def test_a_probe_and_the_catalogue_ask_for_the_same_pool(programs: Path) -> None:
    """The catalogue sizes a guest's pool, the binary looks at the one that it meets."""
    for spec in catalog.load():
        if spec.language != "c":
            continue
        size = spec.arguments[-1]
        options = spec.arguments[:-2]
        said = run(programs / Path(spec.source).stem, *options, "-h").stdout
        found = re.search(r"(\d+) free huge pages?(?: \(of 1 GiB (\d+)\))?", said)
        assert found is not None, spec.name
        needs = int(found[2] or found[1]) if size == "1G" else int(found[1])
        assert needs == sum(pool.count for pool in spec.pages), spec.name
        assert ("high-granularity" in said) == ("hgm" in spec.needs), spec.name


def test_a_glob_chooses_tests(programs: Path) -> None:
    listed = run(programs / "continue_4k", "-l").stdout.splitlines()
    chosen = [
        name for name in listed if "EINVAL" in name or name.startswith("UFFDIO_CONTINUE of 8")
    ]
    globs = ("-t", "*EINVAL*", "-t", "UFFDIO_CONTINUE of 8*")
    assert run(programs / "continue_4k", "-l", *globs).stdout.splitlines() == chosen
    assert 0 < len(chosen) < len(listed)
    document = ktap.parse(run(programs / "continue_4k", *globs).stdout)
    assert [result.description for result in document.results] == chosen
    assert document.plan == len(chosen)


def test_without_an_option_each_probe_ends_by_kselftests_rules(programs: Path) -> None:
    """Whatever this machine lacks is a skip, and says what."""
    for name in sorted(C_PROBES):
        done = run(programs / name, "-t", run(programs / name, "-l").stdout.splitlines()[0])
        (result,) = ktap.parse(done.stdout).results
        status = ktap_document.status(result)
        assert (done.exit_code, status) in ((0, "PASS"), (4, "SKIP")), (name, done.stdout)


def test_what_crashes_wants_to_be_asked_twice(programs: Path) -> None:
    done = run(programs / "crash", "lkdtm", "NONE")
    assert done.exit_code == 4
    assert "--yes-harm-this-machine" in done.stdout


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("map", ["--backing", "tmpfs"]), ("stress", ["--seconds", "0"]), ("walk", ["--round", "1"])],
)
def test_wrong_options_of_one_probe(programs: Path, name: str, arguments: list[str]) -> None:
    done = run(programs / name, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
