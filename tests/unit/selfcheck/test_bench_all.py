# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of all parts of a benchmark when one of them fails."""

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import ConfigError, QemuError
from harness.kernel.obtain import KernelRequest
from harness.progress import Silent
from harness.records.bench import Bench, BenchPart
from harness.run import prepare
from harness.run.subject import Subject
from harness.selfcheck import bench_all
from harness.selfcheck.bench import CannotMeasureError
from harness.vm import spec
from harness.workspace import Workspace
from tests.unit.report.benches import RATIO


def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **parts: Any) -> Bench:
    """Return what is found of parts, each of which returns its ratios or raises an error."""

    def part(result: Any) -> Any:
        def measure(*_: object) -> Any:
            if isinstance(result, BaseException):
                raise result
            return result

        return measure

    monkeypatch.setattr(bench_all, "PARTS", {name: part(each) for name, each in parts.items()})
    ready = SimpleNamespace(accel=SimpleNamespace(name="tcg"))
    monkeypatch.setattr(prepare, "prepare", lambda *_: ready)
    subject = Subject(
        kernel=KernelRequest(source="debian:", arch="x86_64"),
        machine=spec.machine((), arch_name="x86_64"),
    )
    context = Context(Workspace(tmp_path), Deadline.after(60, "the test"), Silent())
    return bench_all.measure(subject, (), 1, context)


def test_a_part_that_fails_costs_no_other_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measured(
        tmp_path,
        monkeypatch,
        boot=(RATIO,),
        snapshot=QemuError("QEMU ended", log=Path("qemu.stderr")),
        virtme=CannotMeasureError("it is not installed"),
        edit=ConfigError("no such symbol", hint="another"),
        cold=OSError(errno.ENOSPC, "No space left on device", "/cache/x"),
        set=(RATIO,),
    )
    assert found.parts[:4] == (
        BenchPart(name="boot", ratios=(RATIO,)),
        BenchPart(name="snapshot", error="QEMU ended; log: qemu.stderr"),
        BenchPart(name="virtme", absent="it is not installed"),
        BenchPart(name="edit", error="no such symbol; another"),
    )
    assert found.parts[4].error.startswith("no space left to write /cache/x")
    assert found.parts[5].ratios == (RATIO,)
    assert found.exit_code == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug"), OSError(errno.EIO)])
def test_an_interrupt_or_a_bug_ends_all_parts(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(type(error)):
        measured(tmp_path, monkeypatch, boot=(RATIO,), snapshot=error)
