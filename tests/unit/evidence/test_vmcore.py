# SPDX-License-Identifier: GPL-2.0-only
import os
from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.evidence import vmcore
from harness.store.rundir import new_run_directory


def test_the_newest_dumps_stay() -> None:
    dumps = [(Path("old"), 1.0), (Path("newest"), 3.0), (Path("newer"), 2.0)]
    assert vmcore.surplus(dumps, 2) == (Path("old"),)
    assert vmcore.surplus(dumps, 0) == (Path("newest"), Path("newer"), Path("old"))
    assert vmcore.surplus(dumps, 9) == ()


def test_thin_leaves_everything_else(tmp_path: Path) -> None:
    for number, run in enumerate(("a", "b", "c")):
        directory = tmp_path / run / "probes" / "x"
        directory.mkdir(parents=True)
        (directory / "vmcore").write_bytes(b"x")
        (directory / "ktap").write_bytes(b"x")
        os.utime(directory / "vmcore", (number, number))
    vmcore.thin(tmp_path, 1)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["a/probes/x/ktap", "b/probes/x/ktap", "c/probes/x/ktap", "c/probes/x/vmcore"]


@pytest.mark.parametrize("keep", [0, 1, 3, 9])
def test_the_dumps_of_the_latest_run_count_once(tmp_path: Path, keep: int) -> None:
    dumps: list[Path] = []
    for run in (new_run_directory(tmp_path, name) for name in ("old", "new")):
        for probe in ("a", "b"):
            path = run / "probes" / probe / vmcore.NAME
            path.parent.mkdir(parents=True)
            path.write_bytes(b"memory")
            os.utime(path, (len(dumps), len(dumps)))
            dumps.append(path)
    vmcore.thin(tmp_path, keep)
    assert [path for path in dumps if path.exists()] == dumps[max(0, 4 - keep) :]


def test_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HGM_VMCORES", raising=False)
    monkeypatch.delenv("HGM_VMCORE_LIMIT", raising=False)
    assert vmcore.policy() == vmcore.Policy(keep=3, limit=2**30)
    monkeypatch.setenv("HGM_VMCORES", "0")
    monkeypatch.setenv("HGM_VMCORE_LIMIT", "64M")
    assert vmcore.policy() == vmcore.Policy(keep=0, limit=64 << 20)
    monkeypatch.setenv("HGM_VMCORES", "-1")
    with pytest.raises(SpecError, match="HGM_VMCORES"):
        vmcore.policy()
    monkeypatch.setenv("HGM_VMCORES", "1")
    monkeypatch.setenv("HGM_VMCORE_LIMIT", "much")
    with pytest.raises(SpecError, match="HGM_VMCORE_LIMIT"):
        vmcore.policy()
