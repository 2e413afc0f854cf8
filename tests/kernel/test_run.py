# SPDX-License-Identifier: GPL-2.0-only
"""The main job, from the command line, on real kernels."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from tests.kernel.conftest import (
    MACHINE,
    STOCK,
    Run,
    command_line,
    is_stock,
    passed_or_not_offered,
    terminal,
)

Hgm = Callable[..., Run]


def test_a_stock_kernel_passes_the_baseline_and_skips_hgm_with_its_own_errno(
    stock_run: Run,
) -> None:
    is_stock(stock_run, STOCK)


def test_the_default_run_is_the_reference_series_and_every_probe_passes(
    reference_run: Run,
) -> None:
    assert reference_run.code == 0, reference_run.err
    record = reference_run.record
    assert (record["verdict"], record["outcome"]) == ("PASS", "probes ran")
    assert record["expect"]["name"] == "hgm-reference"
    assert record["kernel"]["series"]["spec"] == "hgm-6.12"
    assert record["kernel"]["config"]["hgm"] is True
    assert record["hgm"] == {"present": True, "evidence": "MADV_SPLIT: accepted on 1G, 2M"}
    for probe in record["probes"]:
        assert probe["reason"] == MACHINE or passed_or_not_offered(probe), probe


def test_stock_against_reference_is_the_hgm_probes_newly_passing_and_nothing_else(
    hgm: Hgm, stock_run: Run, reference_run: Run
) -> None:
    run = hgm("compare", stock_run.record["run_dir"], reference_run.record["run_dir"], "--json")
    assert run.code == 0, run.err
    statuses = reference_run.statuses()
    passed = {name for name, status in statuses.items() if status == "PASS"}
    expected = {name for name in passed if name.startswith("hgm/")}
    fixed = {name for name, status in stock_run.statuses().items() if status == "KNOWN"} & passed
    found = run.record
    kinds = {change["name"]: change["kind"] for change in found["changes"]}
    # It needs what 6.12 does not have: with the series it says that instead.
    assert {kinds.pop(f"hgm/rwp/{size}") for size in ("1G", "2M")} == {"changed reason"}
    assert set(kinds.values()) == {"newly passing"}
    assert set(kinds) == expected | fixed
    assert found["splats"] == []
    assert {transition["name"] for transition in found["transitions"]} == expected
    assert all(transition["held"] for transition in found["transitions"])


def test_the_run_directory_holds_what_shows_the_verdict(hgm: Hgm) -> None:
    run = hgm("run", "--probe", "baseline/memfd-map/2M", "--json")
    directory = Path(run.record["run_dir"])
    assert json.loads((directory / "result.json").read_text()) == run.record
    assert "Linux version" in (directory / "serial.log").read_text()
    evidence = directory / "probes" / "baseline+memfd-map+2M"
    assert (evidence / "ktap").read_text().startswith("KTAP version 1\n")
    assert "<testcase" in (directory / "junit.xml").read_text()
    assert os.access(directory / "reproduce.sh", os.X_OK)
    assert "query-version" in (directory / "qmp.log").read_text()
    assert run.record["qemu"][0].startswith("qemu-system-")


def test_the_script_in_the_run_directory_does_the_run_again(hgm: Hgm, tmp_path: Path) -> None:
    first = hgm("run", "--probe", "baseline/memfd-map/2M", "--json")
    script = Path(first.record["run_dir"]) / "reproduce.sh"
    again = subprocess.run(
        [script, "--json", "--runs-dir", str(tmp_path / "again")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd="/",
    )
    assert again.returncode == 0, again.stderr
    record = json.loads(again.stdout)
    assert record["run_dir"] != first.record["run_dir"]
    assert record["kernel"]["key"] == first.record["kernel"]["key"]
    assert {probe["name"]: probe["status"] for probe in record["probes"]} == first.statuses()


def test_a_run_can_be_judged_again(hgm: Hgm, reference_run: Run) -> None:
    again = hgm("judge", reference_run.record["run_dir"], "--json")
    assert again.code == reference_run.code == 0
    assert again.statuses() == reference_run.statuses()
    assert again.record["reason"] == reference_run.record["reason"]


@pytest.mark.parametrize(
    ("series", "expect", "code"),
    [
        ("none", "hgm", 1),
        ("none", "stock", 0),
        ("none", "report", 0),
        ("hgm-6.12", "hgm", 0),
        ("hgm-6.12", "stock", 1),
    ],
)
def test_what_is_expected_decides(hgm: Hgm, series: str, expect: str, code: int) -> None:
    words = ("--series", series, "--expect", expect, "--probe", "baseline/memfd-map/2M")
    run = hgm("run", *words, "--json")
    assert run.code == code, run.err
    assert ("no HGM (MADV_SPLIT: EINVAL)" in run.record["reason"]) is (series == "none")


def test_a_bzimage_built_by_hand_is_run_and_its_config_read_from_itself(
    hgm: Hgm, tmp_path: Path
) -> None:
    built = Path(hgm("kernel", "build", "--log", str(tmp_path / "log")).out.strip())
    image = tmp_path / "my-bzImage"
    image.write_bytes(built.read_bytes())
    run = hgm("run", "--kernel", f"image:{image}", "--probe", "baseline/m*/2M", "--json")
    assert run.code == 0, run.err
    assert run.record["kernel"]["source"]["kind"] == "image"
    assert run.record["kernel"]["config"]["known"] is True  # through IKCONFIG


def test_the_probes_of_a_second_run_are_found_and_nothing_is_built(hgm: Hgm) -> None:
    run = hgm("run", "--probe", "baseline/memfd-map/2M", "--json")
    assert run.record["kernel"]["cached"] is True
    assert not (Path(run.record["run_dir"]) / "build.log").exists()


def test_two_nodes_share_the_pool(hgm: Hgm) -> None:
    run = hgm("run", "--nodes", "2", "--probe", "baseline/memfd-map/2M", "--json")
    assert run.code == 0, run.err
    nodes = {
        (pool["size"], pool["node"]): pool["total"] for pool in run.record["hugepages"]["nodes"]
    }
    assert nodes == {(2**30, 0): 1, (2**30, 1): 1, (2**21, 0): 32, (2**21, 1): 32}


def test_a_short_pool_is_infrastructure_and_shows_the_kernels_own_line(hgm: Hgm) -> None:
    run = hgm("run", "--hugepages", "1G:3,2M:64", "--memory", "4G", "--json")
    assert run.code == 3
    assert run.record["verdict"] == "ERROR"
    assert "asked for 3" in run.record["reason"]
    assert "HugeTLB: allocating 3 of page size 1.00 GiB failed" in run.record["reason"]
    for probe in run.record["probes"]:
        assert probe["status"] == ("SKIP" if probe["reason"] == MACHINE else "LOST"), probe


def test_one_command_in_a_guest(hgm: Hgm) -> None:
    shell = hgm("guest", "shell", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (shell.code, shell.out) == (7, "out\n")
    assert shell.err.endswith("err\n")


def test_a_script_on_standard_input_is_run_in_a_guest(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo out\ntest -t 0 || exit 7\n")
    words = command_line("guest", "shell", "--no-disk", "--kernel", STOCK, "--series", "none")
    with script.open() as file:
        shell = subprocess.run(words, stdin=file, capture_output=True, timeout=600, check=False)
    assert (shell.returncode, shell.stdout) == (7, b"out\n")


_CONSOLE = ("guest", "shell", "--console", "--no-disk", "--kernel", STOCK, "--series", "none")


def test_the_console_of_a_guest_is_a_terminal() -> None:
    with terminal(*_CONSOLE) as shell:
        shell.expect(r"\[ +0\.0+\] Linux version .*hgm: init done.*/ # ")
        shell.sendline("stty size; echo a message >/dev/kmsg")
        shell.expect(r"40 120\r\n\[.*\] a message\r\n")
        shell.sendline("echo sle''eping; sleep 1000")
        shell.expect(r"sleeping\r\n")
        shell.sendintr()
        shell.expect("/ # ")
        shell.sendline("exit")
        shell.expect("reboot: Power down")
        shell.expect(pexpect.EOF)
    assert shell.exitstatus == 0


def test_a_panic_ends_the_console(hgm: Hgm) -> None:
    with terminal(*_CONSOLE) as shell:
        shell.expect("hgm: init done.*/ # ")
        shell.sendline("echo c >/proc/sysrq-trigger")
        shell.expect("Kernel panic - not syncing: sysrq triggered crash")
        shell.expect("hgm: the kernel panicked")
        shell.expect(pexpect.EOF)
    assert shell.exitstatus == 3
    refused = hgm(*_CONSOLE)
    assert refused.code == 2
    assert "--console needs a terminal as its standard input" in refused.err
