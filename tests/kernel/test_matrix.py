# SPDX-License-Identifier: GPL-2.0-only
"""A matrix on a real kernel: interrupted in its second cell, continued, and looked at."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kernel.conftest import STOCK, Run, command_line

MATRIX = f"""
kernels = ["{STOCK}"]
series = ["none"]
[machines.usual]
[probes.first]
probes = ["baseline/memfd-map/2M"]
[probes.second]
probes = ["baseline/smaps/2M"]
"""


def records(runs: Path, cell: str) -> list[dict[str, Any]]:
    found = sorted(runs.glob(f"matrix-*/*-usual-{cell}-*/2*/result.json"))
    return [json.loads(path.read_text()) for path in found]


def is_in_the_second_cell(runs: Path) -> bool:
    return any(record["stage"] == "guest" for record in records(runs, "second"))


def test_an_interrupted_matrix_goes_on_with_the_cell_that_it_was_in(
    hgm: Callable[..., Run], tmp_path: Path
) -> None:
    matrix, runs = tmp_path / "night.toml", tmp_path / "runs"
    matrix.write_text(MATRIX)
    words = ("matrix", str(matrix), "--runs-dir", str(runs))
    errors = tmp_path / "stderr"
    with (
        errors.open("w") as file,
        subprocess.Popen(command_line(*words), stderr=file, start_new_session=True) as process,
    ):
        end = time.monotonic() + 600
        while not is_in_the_second_cell(runs):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert "warning" not in errors.read_text()

    again = hgm(*words, "--json")
    assert again.code == 0, again.err
    result = json.loads(again.out)
    assert result["finished"]
    assert [record["verdict"] for record in records(runs, "first")] == ["PASS"], "run once"
    verdicts = [record["verdict"] for record in records(runs, "second")]
    assert verdicts == ["INTERRUPTED", "PASS"]

    status = hgm("status", "--runs-dir", str(runs), "--json")
    assert status.code == 0, status.err
    cells = [each["cell"]["probes"] for each in json.loads(status.out)["cells"]]
    assert sorted(cells) == ["", "baseline/memfd-map/2M", "baseline/smaps/2M"]  # "" has builds
