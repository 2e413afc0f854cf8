# SPDX-License-Identifier: GPL-2.0-only
"""`hgm b4-check` on a real kernel: a mail with a seeded fault, which one of two probes sees."""

import json
import subprocess
from pathlib import Path

import pytest

from harness.kernel import faults
from tests.kernel.conftest import STOCK, command_line

FAULT = "fork-forgets-private-page"


@pytest.mark.parametrize(
    ("probe", "status"),
    [("baseline/fork-private-gigantic/1G", "fail"), ("baseline/memfd-map/2M", "pass")],
)
def test_a_mail_is_tested(tmp_path: Path, probe: str, status: str) -> None:
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    words = ("b4-check", "--kernel", STOCK, "--probe", probe, "--runs-dir", str(tmp_path / "runs"))
    done = subprocess.run(
        command_line(*words),
        input=Path(faults.find(FAULT).patch).read_bytes(),
        capture_output=True,
        timeout=3000,
        check=False,
        cwd=repository,
    )
    assert done.stderr == b""
    found = {each["tool"]: each for each in json.loads(done.stdout)}
    assert {tool: each["status"] for tool, each in found.items()} == {
        "hgm-build": "pass",
        "hgm-probes": status,
    }
    assert probe in found["hgm-probes"]["details"]
    assert done.returncode == (1 if status == "fail" else 0)
