# SPDX-License-Identifier: GPL-2.0-only
"""`./hgm` on a machine that has python3 and git and nothing else of what the harness needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import cache, data, host
from harness.workspace import Workspace

_FAKE_APT = """#!/bin/sh
echo "apt-get $*"
if [ "$1" = update ]; then exit {update}; fi
for name in {programs}; do
    /bin/cp "$0" {installed}/$name
done
exit {install}
"""


class Machine:
    """A machine without the host packages, on which the door is called."""

    def __init__(self, home: Path) -> None:
        self.home, self.cache = home / "home", home / "home" / "cache"
        # What is installed goes where no link to a program of this machine can be written through.
        links, self.installed = home / "links", home / "installed"
        for directory in (self.home, links, self.installed):
            directory.mkdir()
        for name in ("git", "python3"):
            (links / name).symlink_to(f"/usr/bin/{name}")
        self.variables = {
            "PATH": f"{links}:{self.installed}",
            "HOME": str(self.home),
            "HGM_CACHE": str(self.cache),
        }

    def hgm(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        assert data.CHECKOUT is not None
        return subprocess.run(
            [sys.executable, "-IS", str(data.CHECKOUT / "hgm"), *words],
            cwd=self.home,
            env={**self.variables, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )

    def untouched(self) -> bool:
        return not list(self.home.iterdir())

    def add_apt(self, *, update: int = 0, install: int = 0) -> None:
        """Put an apt-get into PATH that ends with these exit codes, and installs all programs."""
        programs = [each.shown_by for each in host.packages() if not each.shown_by.startswith("/")]
        text = _FAKE_APT.format(
            update=update, install=install, installed=self.installed, programs=" ".join(programs)
        )
        self.add_program("apt-get", text)
        self.add_program("dpkg-deb", "#!/bin/sh\n")

    def add_program(self, name: str, text: str) -> None:
        (self.installed / name).write_text(text)
        (self.installed / name).chmod(0o755)

    def add_environment(self) -> None:
        """Make a Python environment whose python says what it was called with."""
        scripts = host.environment() / "bin"
        scripts.mkdir(parents=True)
        (scripts / "hgm-harness").touch()
        (scripts / "python").write_text('#!/bin/sh\necho "became $*"\n')
        (scripts / "python").chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HGM_INSTALL", raising=False)
    return made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--help",), "series check"),
        (("-h",), "series check"),
        (("run", "--help"), "--kselftest"),
        (("series", "-h"), "series try"),
        (("series", "try", "--help"), "--hugepages"),
        (("--version",), f"hgm, version {harness.__version__}"),
    ],
)
def test_questions_are_answered_and_nothing_is_made(
    machine: Machine, words: tuple[str, ...], said: str
) -> None:
    done = machine.hgm(*words)
    assert said in done.stdout
    assert done.returncode == 0
    assert machine.untouched()


def test_a_shell_that_asks_for_completions_gets_none_and_no_help(machine: Machine) -> None:
    done = machine.hgm(_HGM_COMPLETE="bash_complete")
    assert (done.returncode, done.stdout) == (0, "")
    assert machine.untouched()


def test_the_doctor_says_what_is_missing_and_installs_nothing(machine: Machine) -> None:
    machine.add_apt()
    done = machine.hgm("doctor")
    assert done.returncode == 3
    assert "gcc (compiles kernels and probes)" in done.stdout
    assert "apt-get install -y --no-install-recommends gcc" in done.stdout
    assert str(host.environment()) in done.stdout
    assert machine.untouched()


def test_the_doctor_knows_that_nothing_may_be_installed(machine: Machine) -> None:
    machine.add_apt()
    python = next(line for line in machine.hgm("doctor").stdout.splitlines() if "python " in line)
    assert python.startswith("note")
    done = machine.hgm("doctor", HGM_INSTALL="no").stdout
    assert f"missing python    {host.environment()} is not there, and HGM_INSTALL=no" in done
    assert "HGM_INSTALL=yes ./hgm cache list" in done
    assert machine.untouched()


@pytest.mark.parametrize("words", [("--arch", "arm64"), ("--arch=aarch64",)])
def test_only_guests_of_another_architecture_need_its_packages(
    machine: Machine, words: tuple[str, ...]
) -> None:
    machine.add_apt()
    assert "arm" not in machine.hgm("doctor").stdout.replace(str(host.environment()), "")
    for_arm64 = machine.hgm("doctor", *words).stdout
    assert {"qemu-system-arm", "gcc-aarch64-linux-gnu"} <= set(for_arm64.split())
    assert "qemu-system-x86" not in for_arm64
    assert machine.untouched()


@pytest.mark.parametrize(
    ("words", "variables", "code", "said"),
    [
        ((), {}, 2, "  test "),
        (("nonsense",), {}, 2, "No such command 'nonsense'"),
        (("nonsense", "--help"), {}, 2, "No such command 'nonsense'"),
        (("doctor", "--nonsense"), {}, 2, "doctor takes --arch ARCH only"),
        (("run",), {"HGM_INSTALL": "maybe"}, 2, "HGM_INSTALL is 'maybe'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    machine: Machine, words: tuple[str, ...], variables: dict[str, str], code: int, said: str
) -> None:
    done = machine.hgm(*words, **variables)
    assert done.returncode == code
    assert said in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout
    assert machine.untouched()


@pytest.mark.parametrize("install", ["yes", "no"])
def test_without_apt_each_missing_program_is_a_line(machine: Machine, install: str) -> None:
    done = machine.hgm("run", HGM_CACHE="/proc/nope", HGM_INSTALL=install)
    first, *lines, last = done.stdout.splitlines()
    assert done.returncode == 3
    assert first == "hgm: missing, and there is no apt-get to install it:"
    boots = "  qemu-system-x86_64: boots guests (Debian's package qemu-system-x86)"
    assert lines.count(boots) == 1
    assert not any("apt-get" in line for line in lines)
    assert "`hgm image import FILE`" in last
    assert machine.untouched()


def test_without_apt_the_doctor_says_where_the_guest_image_comes_from(machine: Machine) -> None:
    done = machine.hgm("doctor")
    assert done.returncode == 3
    assert "missing packages  gcc: compiles kernels and probes (Debian's package gcc)" in (
        done.stdout
    )
    assert "apt-get install" not in done.stdout
    assert "hgm image import FILE" in done.stdout


def test_a_cache_that_cannot_be_made_is_said_in_a_line(machine: Machine) -> None:
    done = machine.hgm("judge", "x", HGM_CACHE="/proc/nope")
    assert done.returncode == 3
    assert "/proc/nope" in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout


def test_who_wants_nothing_installed_gets_the_lines_to_type(machine: Machine) -> None:
    machine.add_apt()
    done = machine.hgm("run", HGM_INSTALL="no")
    first, apt, venv, pip = done.stdout.splitlines()
    assert done.returncode == 3
    assert "HGM_INSTALL=no" in first
    assert apt.strip().startswith(("apt-get install", "sudo apt-get install"))
    assert " gcc " in apt
    assert f"-m venv --clear {host.environment()}" in venv
    assert f"{host.environment()}/bin/python -m pip install" in pip
    assert machine.untouched()


def test_what_is_installed_is_said_first_and_then_the_command_runs(machine: Machine) -> None:
    machine.add_apt()
    machine.add_environment()
    done = machine.hgm("run", "--json")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("hgm: will install these Debian packages")
    assert "gcc, binutils, make" in lines[0]
    assert lines[1].startswith("apt-get update")
    assert lines[2].startswith("apt-get install -y --no-install-recommends gcc")
    assert lines[3] == "became -P -m harness.cli run --json"
    assert machine.hgm("run").stdout == "became -P -m harness.cli run\n"


def test_a_package_list_that_cannot_be_fetched_does_not_stop_a_run(machine: Machine) -> None:
    machine.add_apt(update=100)
    machine.add_environment()
    done = machine.hgm("run")
    assert "trying with the package lists that are here" in done.stdout
    assert done.stdout.endswith("became -P -m harness.cli run\n")


def test_packages_that_cannot_be_installed_stop_a_run(machine: Machine) -> None:
    machine.add_apt(install=100)
    machine.add_environment()
    done = machine.hgm("run")
    assert done.returncode == 3
    assert "hgm: installing the Debian packages failed, see above; type:\n" in done.stdout
    assert "became" not in done.stdout


@pytest.mark.parametrize(
    "words", [("judge", "x"), ("probes", "list"), ("image", "import", "x"), ("run", "--help")]
)
def test_what_starts_no_program_installs_no_package(
    machine: Machine, words: tuple[str, ...]
) -> None:
    machine.add_apt()
    machine.add_environment()
    assert machine.hgm(*words).stdout == f"became -P -m harness.cli {' '.join(words)}\n"


def test_a_user_without_sudo_gets_the_line_for_root(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.add_apt()
    machine.add_environment()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(host.HostError, match="sudo is not installed") as caught:
        host.prepare(packages_too=True)
    assert "will install" not in capfd.readouterr().err
    assert [line.split()[:2] for line in caught.value.lines] == [["apt-get", "install"]]
    machine.add_program("sudo", "#!/bin/sh\necho sudo >&2\nexit 1\n")
    with pytest.raises(host.HostError, match="failed") as caught:
        host.prepare(packages_too=True)
    assert [line.split()[:2] for line in caught.value.lines] == [["sudo", "apt-get"]]


def test_an_environment_in_use_is_not_pruned(machine: Machine) -> None:
    machine.add_environment()
    [entry] = cache.entries(Workspace(machine.cache))
    assert (entry.kind, entry.path, entry.pinned) == ("environment", str(host.environment()), False)
    assert entry in cache.to_remove([entry], 0)
    host.hold_environment()
    [entry] = cache.entries(Workspace(machine.cache))
    assert entry.pinned
