# SPDX-License-Identifier: GPL-2.0-only
"""Probes and guests that end badly, on a real kernel: each has its status, and the run goes on."""

import dataclasses
import functools
from pathlib import Path

import msgspec
import pytest

from harness.errors import BootError, GuestPanicked, PoolShort, SshUnreachable
from harness.image.overlay import OverlayFile
from harness.records.probe import Capture, ProbeResult, ProbeSpec
from harness.records.run import RunRecord
from harness.run import capture as run_capture
from harness.run import judging
from harness.run.prepare import Prepared
from harness.vm.guest import BootRequest, booted
from tests.kernel.conftest import probed

GOOD = "#!/bin/sh\necho 'KTAP version 1'; echo 1..1; echo 'ok 1 it is good'\n"
CRASH = "#!/bin/sh\necho 'KTAP version 1'\necho c >/proc/sysrq-trigger\n"
HANG = "#!/bin/sh\necho 'KTAP version 1'; echo 1..1\nexec sleep 1000\n"
GARBAGE = "#!/bin/sh\necho 'Segmentation fault, says the probe'\n"
SHORT = "#!/bin/sh\necho 'KTAP version 1'; echo 1..2; echo 'ok 1 one'\n"


POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
TAKE = f"{GOOD}echo 60 >{POOL}\n"
LATE = f"{TAKE}(sleep 1; echo 64 >{POOL}) >/dev/null 2>&1 &\n"


def spec(name: str, budget: float = 20.0) -> ProbeSpec:
    return ProbeSpec(
        name=f"test/{name}",
        shows="",
        source=f"c/{name}.c",
        language="c",
        budget=budget,
        taints_guest=name == "spoils",
    )


def run(prepared: Prepared, tmp_path: Path, scripts: dict[str, str], **budget: float) -> RunRecord:
    """Run shell scripts as probes and return the record."""
    programs = dict(prepared.programs)
    for name, text in scripts.items():
        programs[name] = tmp_path / name
        programs[name].write_text(text)
    specs = [spec(name, budget.get(name, 20.0)) for name in scripts]
    return probed(with_programs(prepared, programs), specs, tmp_path / "runs").record


def latest(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "latest"


def with_programs(prepared: Prepared, programs: dict[str, Path]) -> Prepared:
    return Prepared(
        prepared.kernel,
        prepared.image,
        prepared.machine,
        prepared.accel,
        programs,
        prepared.context,
    )


def by_name(record: RunRecord) -> dict[str, ProbeResult]:
    return {probe.name.removeprefix("test/"): probe for probe in record.probes}


def test_a_crash_and_a_hang_are_told_apart_and_the_rest_gets_a_new_guest(
    hgm_prepared: Prepared, tmp_path: Path
) -> None:
    scripts = {"crash": CRASH, "good": GOOD, "hang": HANG, "good2": GOOD}
    record = run(hgm_prepared, tmp_path, scripts, hang=3.0)
    found = by_name(record)
    assert {name: probe.status for name, probe in found.items()} == {
        "crash": "CRASH",
        "good": "PASS",
        "hang": "HANG",
        "good2": "PASS",
    }
    assert "sysrq triggered crash" in found["crash"].reason
    assert any("Kernel panic" in line for splat in found["crash"].splats for line in splat.block)
    assert found["good"].splats == found["good2"].splats == ()
    assert (latest(tmp_path) / "serial.log").read_text().count("Linux version 6.12") == 3


def test_output_without_ktap_fails(hgm_prepared: Prepared, tmp_path: Path) -> None:
    found = by_name(run(hgm_prepared, tmp_path, {"garbage": GARBAGE, "short": SHORT}))
    assert found["garbage"].status == found["short"].status == "FAIL"
    assert "Segmentation fault, says the probe" in found["garbage"].reason


def test_a_leak_fails_a_probe_and_its_guest_is_abandoned(
    hgm_prepared: Prepared, tmp_path: Path
) -> None:
    scripts = {"late": LATE, "good": GOOD, "take": TAKE, "spoils": TAKE, "good2": GOOD}
    found = by_name(run(hgm_prepared, tmp_path, scripts))
    assert {name: probe.status for name, probe in found.items()} == {
        "late": "PASS",
        "good": "PASS",
        "take": "FAIL",
        "spoils": "PASS",
        "good2": "PASS",
    }
    assert found["take"].reason.startswith("leak: ")
    assert {(leak.what, leak.before, leak.after) for leak in found["take"].leaks} == {
        ("pool.2M.node0.total", 64, 60),
        ("pool.2M.node0.free", 64, 60),
        ("meminfo.HugePages_Total", 64, 60),
        ("meminfo.HugePages_Free", 64, 60),
        ("meminfo.Hugetlb", 2228224, 2220032),
    }
    assert found["spoils"].leaks == ()
    boots = (latest(tmp_path) / "serial.log").read_text().count("Linux version 6.12")
    assert boots == 3  # one to the leak, one to the probe that spoils, one for the rest
    judged = {probe.name: probe for probe in judging.judged_again(latest(tmp_path)).probes}
    assert judged["test/take"].leaks == found["take"].leaks


def boot(prepared: Prepared, tmp_path: Path, **changes: object) -> None:
    request = BootRequest(
        prepared.kernel,
        prepared.image,
        prepared.machine,
        prepared.accel,
        **changes,  # type: ignore[arg-type]
    )
    with booted(request, tmp_path, prepared.context):
        pass


def test_a_panic_during_boot_is_reported_with_its_line(
    hgm_prepared: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(GuestPanicked, match="panicked during boot: Kernel panic - not syncing: "):
        boot(hgm_prepared, tmp_path, append=("rdinit=/nowhere", "root=/dev/none"))
    assert "Kernel panic" in (tmp_path / "serial.log").read_text()


def test_a_kernel_without_cma_is_an_error_of_the_machine(
    hgm_prepared: Prepared, tmp_path: Path
) -> None:
    machine = msgspec.structs.replace(hgm_prepared.machine, hugetlb_cma=True)
    asked = dataclasses.replace(hgm_prepared, machine=machine)
    with pytest.raises(PoolShort, match="took 0 MiB of its 0 MiB of CMA for 2048 MiB"):
        boot(asked, tmp_path)


def test_a_missing_ssh_server_is_an_error_with_inits_message(
    hgm_prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.vm.guest.LOGIN_SECONDS", 5.0)
    broken = OverlayFile("/usr/sbin/dropbear", b"#!/bin/busybox sh\nexit 1\n", 0o755)
    with pytest.raises(SshUnreachable, match="no SSH server"):
        boot(hgm_prepared, tmp_path, files=(broken,))


def test_an_init_that_does_nothing_is_an_error_with_the_last_line(
    hgm_prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.vm.guest.INIT_SECONDS", 16.0)
    idle = OverlayFile("/init", b"#!/bin/busybox sh\nexec /bin/busybox sleep 1000\n", 0o755)
    with pytest.raises(BootError, match="no progress during boot; last line on its console: "):
        boot(hgm_prepared, tmp_path, files=(idle,))


def test_a_guest_that_makes_no_progress_in_boot_is_captured(
    hgm_prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.vm.guest.INIT_SECONDS", 16.0)
    busy = OverlayFile("/init", b"#!/bin/busybox sh\nwhile :; do :; done\n", 0o755)
    look = functools.partial(run_capture.locate_stall, hgm_prepared, tmp_path)
    with pytest.raises(BootError, match=r"no progress during boot, in user mode.*; last line"):
        boot(hgm_prepared, tmp_path, files=(busy,), locate_stall=look)
    capture = msgspec.json.decode((tmp_path / "boot" / "capture.json").read_bytes(), type=Capture)
    assert {step.name: step.result for step in capture.steps}["registers"] == "ok"
    assert "RIP=" in (tmp_path / "boot" / "registers.txt").read_text()


def test_the_record_of_a_run_is_plain_data(hgm_prepared: Prepared, tmp_path: Path) -> None:
    record = run(hgm_prepared, tmp_path, {"good": GOOD})
    assert msgspec.json.decode((latest(tmp_path) / "result.json").read_bytes(), type=RunRecord)
    assert record.probes[0].status == "PASS"
