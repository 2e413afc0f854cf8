# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel reports outside of any probe: functions and lines are kept when the run ends."""

from pathlib import Path

import pytest

from harness.arch import arch
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import GuestPanicked
from harness.progress import Silent
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.records.machine import AccelChoice, GuestImage
from harness.records.run import RunRecord
from harness.run import guests, parallel
from harness.run.prepare import Prepared
from harness.store import rundir
from harness.store.rundir import RunStore
from harness.vm import spec
from harness.workspace import Workspace
from tests.component.evidence.test_symbols import build, of

PANIC = """\
[    0.662037] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
[    0.662432] CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 6.12.117 #1
[    0.662880] Call Trace:
[    0.663219]  <TASK>
[    0.663858]  {place}
[    0.664738]  </TASK>
"""


def prepared(room: Path, vmlinux: str) -> Prepared:
    return Prepared(
        kernel=Kernel(
            key="",
            release="",
            image="",
            source=SourceIdentity(spec="", kind="git", origin=""),
            series=SeriesIdentity(spec="none"),
            configuration=ConfigIdentity(),
            vmlinux=vmlinux,
        ),
        image=GuestImage(key="", initramfs="", disk="", manifest=""),
        machine=spec.machine(
            spec.parse_hugepages(arch("x86_64").hugepages, "x86_64"), arch_name="x86_64"
        ),
        accel=AccelChoice(name="tcg", reason="", cpu="max"),
        programs={},
        context=Context(Workspace(room / "cache"), Deadline.after(60.0, "the test"), Silent()),
    )


def run(room: Path, vmlinux: str, place: str, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """Return a run whose guest panicked in its boot."""
    store = RunStore(room, RunRecord())
    (room / rundir.SERIAL).write_text(PANIC.format(place=place))

    def panicked(*_: object) -> None:
        raise GuestPanicked("it panicked")

    monkeypatch.setattr(parallel, "work", panicked)
    with pytest.raises(GuestPanicked):
        guests.run_probes(prepared(room, vmlinux), (), store)
    return store


def test_a_panic_in_boot_is_on_record_with_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vmlinux = build(tmp_path, "-g")
    (fault,) = of(vmlinux, "fault")
    place = f"fault+0x2/{fault.size:#x}"
    store = run(tmp_path, str(vmlinux), place, monkeypatch)
    (splat,) = store.record.splats
    assert splat.title.startswith("Kernel panic - not syncing: VFS")
    directory = tmp_path / rundir.OUTSIDE
    (where,) = rundir.read_symbols(directory)[place]
    assert where.startswith("fault at mm/first.c:")
    line = where.removeprefix("fault at ")
    assert f" {place} ({line})\n" in (directory / "decoded.log").read_text()
    assert store.record.notes == ()  # no other kernel was booted


@pytest.mark.parametrize(
    ("vmlinux", "result"), [("", None), ("serial.log", "is not an ELF file with symbols")]
)
def test_without_symbols_the_splat_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vmlinux: str, result: str | None
) -> None:
    path = str(tmp_path / vmlinux) if vmlinux else ""
    store = run(tmp_path, path, "f+0x2/0x4", monkeypatch)
    assert [splat.kind for splat in store.record.splats] == ["panic"]
    assert rundir.read_symbols(tmp_path / rundir.OUTSIDE) == {}
    capture = rundir.read_capture(tmp_path / rundir.OUTSIDE)
    assert (capture is None) is (result is None)
    if capture is not None and result is not None:
        assert result in capture.steps[0].result
