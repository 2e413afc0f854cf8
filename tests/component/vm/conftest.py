# SPDX-License-Identifier: GPL-2.0-only
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.arch import arches
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.records.machine import AccelChoice, GuestImage
from harness.vm import spec
from harness.vm.guest import BootRequest


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
