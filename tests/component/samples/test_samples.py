# SPDX-License-Identifier: GPL-2.0-only
"""The commands of the samples in docs/ci, run as their services run them.

No kernel is built: Debian is an archive whose linux-source-6.12 is empty, so a run ends with exit
code 2, after it left its record. Everything after that has a run to show.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from harness.records.probe import Status
from tests.component.debian_archive import empty_debian
from tests.component.site.nights import record
from tests.unit.report.junit_schema import parse
from tests.unit.test_ci_samples import SAMPLES, cron_jobs, instructions, read_unit, read_yaml

HERE = Path(__file__).parent

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module", autouse=True)
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with empty_debian(tmp_path_factory.mktemp("debian")):
        yield


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return ~/hgm, of a user whom git knows."""
    (tmp_path / ".gitconfig").write_text("[user]\nname = Somebody\nemail = s@example.org\n")
    made = tmp_path / "hgm"
    made.mkdir()
    shutil.copy(HERE / "hgm", made / "hgm")
    return made


def run(
    argv: Sequence[str], checkout: Path, variables: Mapping[str, str] | None = None, text: str = ""
) -> Done:
    """Run a program in the checkout, with an apt-get and a sudo that change nothing."""
    env = {
        **os.environ,
        **(variables or {}),
        "HOME": str(checkout.parent),
        "HGM_CACHE": str(checkout.parent / "cache"),
        "PATH": f"{HERE / 'bin'}:{os.environ['PATH']}",
        "SAMPLES_HOST_PATH": os.environ["PATH"],
        "SAMPLES_PYTHON": sys.executable,
    }
    return subprocess.run(
        argv, cwd=checkout, env=env, input=text, capture_output=True, text=True, check=False
    )


def test_github(checkout: Path) -> None:
    summary = checkout.parent / "summary"
    job = read_yaml("github.yml")["jobs"]["kernel"]
    codes: dict[str, int] = {}
    for step in job["steps"]:
        if "run" in step and (step.get("if") == "always()" or not any(codes.values())):
            variables = {**job["env"], "GITHUB_STEP_SUMMARY": str(summary)}
            codes[step["name"]] = run(["bash", "-e"], checkout, variables, step["run"]).returncode
    assert codes == {"Install what ./hgm needs": 0, "Test the kernel": 2, "Summarize": 0}
    assert summary.read_text().startswith("### hgm: ERROR\n")
    upload = job["steps"][-1]
    assert (checkout / upload["with"]["path"] / "latest" / "result.json").exists()


def test_gitlab(checkout: Path) -> None:
    job = read_yaml("gitlab.yml")["kernel"]
    script = "\n".join(job["before_script"] + job["script"])
    done = run(["bash", "-e", "-o", "pipefail"], checkout, job["variables"], script)
    assert done.returncode == 2
    assert "linux-source-6.12_6.12.7-1_all.deb has no usr/src" in done.stdout
    after = run(["bash", "-e"], checkout, job["variables"], "\n".join(job["after_script"]))
    assert (after.returncode, after.stderr) == (0, "")
    report = checkout / job["artifacts"]["reports"]["junit"]
    assert report.resolve() == report, "not through the link runs/latest"
    assert parse(report.read_bytes()).get("errors") != "0"


def nights(checkout: Path) -> None:
    """Leave two nights' runs, the second with a regression, and the file of a matrix."""
    statuses: tuple[Status, ...] = ("PASS", "FAIL")
    for number, status in enumerate(statuses, 1):
        record(number, {"hgm/fork/1G": status}, checkout / "runs", key="one")
    assert run(["./hgm", "history", "--rebuild"], checkout).returncode == 0
    (checkout / "nightly.toml").write_text(
        'kernels = ["debian:linux-source-6.12"]\nseries = ["none"]\n'
        "[machines.usual]\n[probes.all]\n"
    )


def test_cron(checkout: Path) -> None:
    nights(checkout)
    (job,) = cron_jobs()
    done = run(["sh", "-c", job], checkout, {"HGM_INSTALL": "no"})
    assert "ERROR: round 1: 1 cell: 1 NOT RUN" in done.stdout
    assert "hgm/fork/1G" in done.stdout
    assert "pages written" in (checkout / "night.log").read_text()
    assert "hgm/fork/1G" in (checkout / "site" / "index.html").read_text()


def test_the_service(checkout: Path) -> None:
    nights(checkout)
    service = read_unit("hgm-nightly.service")["Service"]
    home = str(checkout.parent)
    assert service["WorkingDirectory"].replace("%h", home) == str(checkout)
    variables = dict([service["Environment"].split("=", 1)])
    start, post = (
        run(shlex.split(service[name].replace("%h", home)), checkout, variables)
        for name in ("ExecStart", "ExecStopPost")
    )
    assert start.returncode == 3
    assert str(start.returncode) not in service["SuccessExitStatus"].split()
    assert (post.returncode, post.stderr) == (0, "")
    assert "hgm/fork/1G" in (checkout / "site" / "index.html").read_text()


@pytest.mark.parametrize(("old", "new"), [("", ""), ("Nice=", "Nicer="), ("02:00:00", "26:00:00")])
def test_systemd_verifies_the_units(checkout: Path, old: str, new: str) -> None:
    """systemd-analyze is among the packages that `hgm test` installs; see host-packages.txt."""
    units = [checkout / "hgm-nightly.service", checkout / "hgm-nightly.timer"]
    for unit in units:
        unit.write_text((SAMPLES / unit.name).read_text().replace(old, new))
    argv = ["systemd-analyze", "--user", "verify", *map(str, units)]
    done = run(argv, checkout, {"XDG_RUNTIME_DIR": str(checkout.parent)})
    assert (done.stdout + done.stderr == "") == (old == new)


def test_the_container(checkout: Path) -> None:
    found = list(instructions())
    packages, image = (rest for name, rest in found if name == "RUN")
    assert run(["sh", "-c", packages], checkout).returncode == 0
    # The archive has no packages for a guest; that is how far it gets.
    assert "Unable to locate package bash" in run(["sh", "-c", image], checkout).stderr
    entry = dict(found)
    done = run([*json.loads(entry["ENTRYPOINT"]), *json.loads(entry["CMD"])], checkout)
    assert "packages" in done.stdout
