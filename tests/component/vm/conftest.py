# SPDX-License-Identifier: GPL-2.0-only
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.arch import arches
from harness.context import Context
from harness.deadline import Deadline
from harness.probes import compile as programs
from harness.progress import Silent
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.records.machine import AccelChoice, GuestImage
from harness.records.probe import ProbeResult, ProbeSpec
from harness.run import guests
from harness.run.prepare import Prepared
from harness.vm import guest, spec
from harness.vm.guest import BootRequest, Guest
from harness.vm.ssh import CommandOutput, Ssh
from harness.workspace import Workspace


@pytest.fixture
def fake_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put the fake QEMU in front of PATH; the returned function chooses what it does."""
    programs = tmp_path / "programs"
    programs.mkdir()
    text = Path(__file__).with_name("fake_qemu.py").read_text()
    text = text.replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1)
    for each in arches().values():
        (programs / each.qemu).write_text(text)
        (programs / each.qemu).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return lambda mode: monkeypatch.setenv("FAKE_QEMU", mode)


@pytest.fixture
def request_to_boot(tmp_path: Path) -> BootRequest:
    """A request whose files are there and mean nothing."""
    for name in ("bzImage", "initramfs", "disk"):
        (tmp_path / name).write_bytes(b"fake")
    kernel = Kernel(
        key="0" * 64,
        release="6.12.0-fake",
        image=str(tmp_path / "bzImage"),
        source=SourceIdentity(spec="image:fake", kind="image", origin="fake"),
        series=SeriesIdentity(spec="none"),
        configuration=ConfigIdentity(known=False),
    )
    image = GuestImage(
        key="0" * 64,
        initramfs=str(tmp_path / "initramfs"),
        disk=str(tmp_path / "disk"),
        manifest="",
    )
    accel = AccelChoice(name="tcg", reason="the test", cpu="max")
    return BootRequest(kernel, image, spec.machine((), arch_name="x86_64"), accel)


@pytest.fixture
def prepared(
    fake_qemu: Callable[[str], None],
    request_to_boot: BootRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Prepared:
    """All that guests need, which a host has logged in to as soon as they have booted.

    In each guest one probe passes without being run.
    """
    monkeypatch.setattr(guest, "_log_in", lambda *_: None)
    monkeypatch.setattr(Ssh, "run", lambda *_, **__: CommandOutput(0, "", ""))
    monkeypatch.setattr(guest, "_pools", lambda *_: ())
    monkeypatch.setattr(guest, "_await_shell", lambda _: None)
    monkeypatch.setattr(guests._Lanes, "_one_guest", _one_guest)
    files = {Path(source).stem: tmp_path / Path(source).stem for source in programs.ALWAYS}
    for path in files.values():
        path.write_bytes(b"a program")
    return Prepared(
        kernel=request_to_boot.kernel,
        image=request_to_boot.image,
        machine=request_to_boot.machine,
        accel=request_to_boot.accel,
        programs=files,
        context=Context(Workspace(tmp_path / "cache"), Deadline.after(60, "the test"), Silent()),
    )


def _one_guest(
    lanes: Any, prepared: Prepared, host: Guest, first: ProbeSpec, *_: object
) -> Iterator[ProbeSpec]:
    yield first
    lanes._store.add_probe(ProbeResult(name=first.name, status="PASS"))
    lanes._queue.finish()
