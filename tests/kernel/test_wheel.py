# SPDX-License-Identifier: GPL-2.0-only
"""The harness installed as a package, with no checkout in reach: it boots guests all the same."""

import json
import os
import stat
import subprocess
import sys
import textwrap
import venv
import zipfile
from pathlib import Path

import pytest

from harness import data

_SECONDS = 900

#: What a user of the plugin writes: it is all that the project in the other directory has.
_TEST = """
    import harness
    import pytest

    @pytest.mark.hgm_machine(hugepages="1G:1")
    def test_the_pool_is_there(hgm_ssh, hgm_deadline):
        meminfo = hgm_ssh.run(["cat", "/proc/meminfo"], hgm_deadline).stdout
        assert "Hugetlb:         1048576 kB" in meminfo
        assert harness.__file__.startswith({environment!r})
"""


def run(argv: list[str], cwd: Path, *, code: int = 0) -> str:
    """Run a program outside the checkout, with nothing of it in the environment."""
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist from the checkout and the wheel from the sdist, as `python -m build` does."""
    assert data.CHECKOUT is not None
    home = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(home)], data.CHECKOUT)
    [sdist] = home.glob("*.tar.gz")
    build = ("wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", ".")
    run([sys.executable, "-m", "pip", *build, str(sdist)], home)
    [made] = home.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel, with pytest, into an environment of its own; return its ``bin``."""
    assert data.CHECKOUT is not None
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=True)
    pinned = ("--constraint", str(data.CHECKOUT / "constraints.txt"))
    python = str(home / "bin" / "python")
    run([python, "-m", "pip", "install", "-q", "--no-compile", *pinned, str(wheel), "pytest"], home)
    return home / "bin"


def test_a_test_of_ten_lines_boots_a_guest(installed: Path, tmp_path: Path) -> None:
    text = _TEST.format(environment=str(installed.parent))
    (tmp_path / "test_mine.py").write_text(textwrap.dedent(text))
    said = run([str(installed / "python"), "-m", "pytest", "-q", "."], tmp_path)
    assert "1 passed" in said


def test_hgm_harness_runs_a_probe_and_records_a_line_that_does_so_again(
    installed: Path, tmp_path: Path
) -> None:
    run([str(installed / "hgm-harness"), "run", "--probe", "baseline/memfd-map/2M"], tmp_path)
    record = json.loads((tmp_path / "runs" / "latest" / "result.json").read_text())
    assert record["verdict"] == "PASS"
    assert [probe["name"] for probe in record["probes"]] == ["baseline/memfd-map/2M"]
    assert record["command"][:4] == ["env", "-C", str(tmp_path), str(installed / "hgm-harness")]


def test_it_knows_that_it_is_not_a_checkout(installed: Path, tmp_path: Path) -> None:
    said = run([str(installed / "hgm-harness"), "test"], tmp_path, code=2)
    assert "checkout" in said
    assert len(said.splitlines()) == 1
    said = run([str(installed / "hgm-harness"), "run", "--help"], tmp_path)
    assert said.startswith("Usage: hgm-harness run ")


def test_the_wheel_holds_each_file_that_the_harness_reads(wheel: Path) -> None:
    assert data.CHECKOUT is not None
    listed = run(["git", "ls-files", "-z", *_SHIPPED], data.CHECKOUT).rstrip("\0").split("\0")
    wanted = {name if name.startswith("harness/") else f"harness/_data/{name}" for name in listed}
    with zipfile.ZipFile(wheel) as archive:
        modes = {each.filename: each.external_attr >> 16 for each in archive.infolist()}
    assert wanted <= set(modes)
    assert modes["harness/kernel/bin/hgm-gcc"] & stat.S_IXUSR


_SHIPPED = ("harness", "guest-images", "kernel-configs", "kernel-patches", "probes")
