# SPDX-License-Identifier: GPL-2.0-only
"""The choice of the accelerator, with a fake QEMU under which KVM lives, hangs or dies."""

import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import host as host_facts
from harness import workspace
from harness.arch import Arch, arch, arches
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import AcceleratorError, SpecError
from harness.progress import Silent
from harness.records.machine import AccelChoice
from harness.vm import accel
from harness.workspace import Workspace


@pytest.fixture(params=arches())
def guest(request: pytest.FixtureRequest) -> Arch:
    """An architecture, which `host` has too."""
    return arch(request.param)


@pytest.fixture
def host(
    guest: Arch, fake_qemu: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """A host with a /dev/kvm; the returned function says what happens under it."""
    monkeypatch.setattr(platform, "machine", lambda: guest.name)
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(host_facts, "_KVM", device)
    monkeypatch.setattr(accel, "PROOF_SECONDS", 1.5)
    monkeypatch.setenv("FAKE_QEMU_LOG", str(tmp_path / "qemu.log"))
    fake_qemu("lives")
    return lambda mode: monkeypatch.setenv("FAKE_QEMU_KVM", mode)


def starts(tmp_path: Path) -> list[str]:
    """Return the command lines of the guests that were started."""
    log = tmp_path / "qemu.log"
    return [line for line in log.read_text().splitlines() if "-kernel" in line]


def choose(tmp_path: Path, wanted: str = "auto") -> AccelChoice:
    kernel = tmp_path / "kernel"
    kernel.touch()
    return accel.choose(
        wanted,
        [kernel],
        context=Context(Workspace(tmp_path / "cache"), Deadline.after(30, "the choice"), Silent()),
        arch_name=platform.machine(),
    )


def test_kvm_is_used_where_a_kernel_was_seen_to_start(
    guest: Arch, host: Callable[[str], None], tmp_path: Path
) -> None:
    host("lives")
    choice = choose(tmp_path)
    assert (choice.name, choice.cpu) == ("kvm", "host")
    assert "was seen to start under KVM" in choice.reason
    assert choose(tmp_path, "kvm").name == "kvm"
    (start,) = starts(tmp_path)  # what was proven is remembered
    assert f"-machine {guest.machine_kvm},accel=kvm" in start


@pytest.mark.parametrize(
    ("mode", "why"), [("silent", "printed no banner"), ("dies", "the fake dies at once")]
)
def test_where_kvm_does_not_work_tcg_is_used_and_the_proof_is_kept(
    guest: Arch, host: Callable[[str], None], tmp_path: Path, mode: str, why: str
) -> None:
    host(mode)
    choice = choose(tmp_path)
    assert (choice.name, choice.cpu) == ("tcg", guest.cpu_tcg)
    assert "KVM does not work here" in choice.reason
    assert why in choice.reason
    guests = len(starts(tmp_path))
    assert choose(tmp_path) == choice
    with pytest.raises(AcceleratorError, match="KVM does not work here"):
        choose(tmp_path, "kvm")
    assert len(starts(tmp_path)) == guests


def test_a_qemu_that_dies_with_one_cpu_model_is_tried_with_the_next(
    guest: Arch, host: Callable[[str], None], tmp_path: Path
) -> None:
    host("dies")
    choose(tmp_path)
    models = [line.split("-cpu ")[1].split()[0] for line in starts(tmp_path)]
    assert models == [*guest.cpu_kvm, guest.cpu_tcg]
    assert f"-machine {guest.machine},accel=tcg" in starts(tmp_path)[-1]


def test_a_kernel_that_never_starts_proves_nothing_about_kvm(
    host: Callable[[str], None], tmp_path: Path, fake_qemu: Callable[[str], None]
) -> None:
    host("silent")
    fake_qemu("silent")
    choice = choose(tmp_path)
    assert choice.name == "tcg"
    assert "no kernel on this host can show" in choice.reason
    assert not list((tmp_path / "cache" / "accel").glob("*.json")), "nothing is remembered"


def test_without_dev_kvm_no_guest_is_started(
    host: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_facts, "_KVM", tmp_path / "nothing")
    assert choose(tmp_path).reason.endswith("does not exist")
    with pytest.raises(AcceleratorError, match="does not exist"):
        choose(tmp_path, "kvm")
    assert not (tmp_path / "qemu.log").exists()


def test_tcg_is_not_proven_and_an_unknown_accelerator_is_refused(
    host: Callable[[str], None], tmp_path: Path
) -> None:
    assert choose(tmp_path, "tcg").reason == "asked for with --accel tcg"
    with pytest.raises(SpecError, match="xen"):
        choose(tmp_path, "xen")
    assert not (tmp_path / "qemu.log").exists()


def test_after_a_reboot_of_the_host_kvm_is_proven_again(
    host: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host("lives")
    choose(tmp_path)
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("another\n")
    monkeypatch.setattr(workspace, "_BOOT_ID", boot_id)
    choose(tmp_path)
    assert len(starts(tmp_path)) == 2
