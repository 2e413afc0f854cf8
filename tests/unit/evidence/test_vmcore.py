# SPDX-License-Identifier: GPL-2.0-only
import os
from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.evidence import vmcore


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
