# SPDX-License-Identifier: GPL-2.0-only
"""`make -C probes run_tests` inside a guest, which has no harness: only make, sh and Python."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from harness import command
from harness.deadline import Deadline
from harness.judge import ktap, ktap_document
from harness.probes import catalog
from harness.vm.ssh import Ssh

#: What is built: the two that `run-here` asks, and the probes that are run.
_PROGRAMS = ("counters", "features", "map", "split", "split_refused")
_GLOBS = ("baseline/memfd-map", "hgm/split", "hgm/split-refused")


def _copy(to: Path) -> None:
    """Copy the directory of probes with the sources of some of them, and build these."""
    shutil.copytree(catalog.PROBES, to, ignore=shutil.ignore_patterns("build"))
    for source in to.glob("c/*.c"):
        if source.stem not in _PROGRAMS:
            source.unlink()
    command.run(["make", "-j2", "-C", str(to)], Deadline.after(300, "make"))


def _packed(directory: Path) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.add(directory, arcname="probes")
    return data.getvalue()


@pytest.mark.hgm_disk
@pytest.mark.hgm_kernel("debian:linux-source-6.12", series="hgm-6.12")
def test_make_run_tests_runs_the_probes_in_a_guest(
    hgm_ssh: Ssh, hgm_deadline: Deadline, tmp_path: Path
) -> None:
    _copy(tmp_path / "probes")
    hgm_ssh.put(_packed(tmp_path / "probes"), "/tmp/probes.tar", hgm_deadline)
    hgm_ssh.run(["tar", "-x", "-C", "/tmp", "-f", "/tmp/probes.tar"], hgm_deadline)
    chosen = " ".join(f"-t {glob}" for glob in _GLOBS)
    done = hgm_ssh.run(["make", "-C", "/tmp/probes", "run_tests", f"RUN={chosen}"], hgm_deadline)
    assert done.exit_code == 0, done.stdout + done.stderr
    output = done.stdout[done.stdout.index("KTAP version 1") :]
    document = ktap.parse(output)
    names = [f"{glob}/{size}" for glob in _GLOBS for size in ("1G", "2M")]
    assert sorted(each.description for each in document.results) == sorted(names)
    assert {ktap_document.status(each) for each in document.results} == {"PASS"}
    assert all(each.subtests for each in document.results)
    assert "# 6 passed, 0 failed, 0 skipped" in output
