# SPDX-License-Identifier: GPL-2.0-only
"""Splats before init: another kernel is booted, and decides whether they fail the run.

The QEMU is a fake that prints its kernel's file, and no probe runs.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from harness import pipeline
from harness.recording import first_record, recorded
from harness.records.probe import ProbeSpec
from harness.records.run import REPORT, RunRecord
from harness.run import judging
from harness.run.prepare import Prepared
from harness.store import rundir
from harness.vm import accel

PROBE = ProbeSpec(name="test/one", shows="", source="c/counters.c", language="c")

OURS = "[    0.000000] Linux version 6.12.117 (hgm@hgm) (gcc 12)\n"
THEIRS = "[    0.000000] Linux version 6.1.0-50-cloud-amd64 (debian-kernel@lists) (gcc-12)\n"
WARNING = (
    "WARNING: CPU: 0 PID: 0 at arch/x86/kernel/fpu/xstate.c:{} fpu__init_system_xstate+0x8/0x9"
)
TITLE = WARNING.format(575)
INIT = "[    1.000000] Run /init as init process\n"
DONE = f"{INIT}hgm: init: SSH\nhgm: init done\n"
BOOTED = "vmlinuz-debian was booted on the same machine, for its splats before init"
NOT_BOOTED = "no other kernel was booted, to see whether splats before init are this machine's: {}"

Runner = Callable[[str, str | None], RunRecord]


def splat(title: str) -> str:
    lines = ("------------[ cut here ]------------", title, "---[ end trace 0 ]---")
    return "".join(f"[    0.500000] {line}\n" for line in lines)


@pytest.fixture
def run(
    prepared: Prepared,
    fake_qemu: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Runner:
    """Return a function that runs a probe and returns the record.

    It takes what the kernel under test prints, and what the host's only other one does, if there
    is one.
    """
    fake_qemu("prints-kernel")

    def runner(ours: str, theirs: str | None) -> RunRecord:
        Path(prepared.kernel.image).write_text(ours)
        other = tmp_path / "vmlinuz-debian"
        if theirs is not None:
            other.write_text(theirs)

        def others(*_: object) -> Iterable[Path]:
            return [] if theirs is None else [other]

        monkeypatch.setattr(accel, "other_kernels", others)
        first = first_record(("run",), prepared.machine, REPORT, [PROBE])
        with recorded(tmp_path / "runs", "test", first, prepared.context.progress) as recording:
            pipeline.probe(prepared, [PROBE], recording)
        return recording.record

    return runner


def titles(record: RunRecord) -> tuple[list[str], list[str]]:
    return [s.title for s in record.splats], [s.title for s in record.machine_splats]


def test_a_splat_that_another_kernel_has_too_is_the_machines_and_the_run_passes(
    run: Runner,
) -> None:
    theirs = THEIRS + splat(WARNING.format(943)) + INIT
    record = run(OURS + splat(TITLE) + DONE, theirs)
    assert titles(record) == ([], [TITLE])
    assert (record.verdict, record.exit_code) == ("PASS", 0)
    assert record.notes == (BOOTED,)
    kept = rundir.read_console(Path(record.run_dir), rundir.OTHER_SERIAL)
    assert kept.decode().splitlines() == theirs.splitlines()
    again = judging.judged_again(Path(record.run_dir))
    assert (titles(again), again.verdict) == (([], [TITLE]), "PASS")


@pytest.mark.parametrize(
    ("theirs", "note"),
    [
        (THEIRS + INIT, BOOTED),
        (THEIRS + splat(TITLE.replace("xstate", "init")) + INIT, BOOTED),
        (THEIRS + INIT + splat(TITLE), BOOTED),
        (OURS + splat(TITLE) + DONE, NOT_BOOTED.format("there is none on this host")),
        (None, NOT_BOOTED.format("there is none on this host")),
    ],
    ids=["none", "another", "after init", "the same kernel", "no other kernel"],
)
def test_a_splat_that_no_other_kernel_has_fails_the_run(
    run: Runner, theirs: str | None, note: str
) -> None:
    record = run(OURS + splat(TITLE) + DONE, theirs)
    assert titles(record) == ([TITLE], [])
    assert (record.verdict, record.exit_code) == ("FAIL", 1)
    assert record.reason.startswith(f"splat outside of any probe: {TITLE}; ")
    assert record.notes == (note,)


def test_a_splat_after_init_boots_no_other_kernel(run: Runner) -> None:
    record = run(OURS + DONE + splat(TITLE), THEIRS + INIT + splat(TITLE))
    assert titles(record) == ([TITLE], [])
    assert (record.verdict, record.notes) == ("FAIL", ())
    assert not (Path(record.run_dir) / rundir.OTHER_SERIAL).exists()


def test_another_kernel_that_does_not_start_init_says_nothing(run: Runner) -> None:
    panic = "[    0.600000] Kernel panic - not syncing: VFS\n"
    record = run(OURS + splat(TITLE) + DONE, THEIRS + splat(TITLE) + panic)
    assert titles(record) == ([TITLE], [])
    (note,) = record.notes
    assert note.startswith(NOT_BOOTED.format("vmlinuz-debian: "))
