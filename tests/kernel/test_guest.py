# SPDX-License-Identifier: GPL-2.0-only
"""The fixtures that a kernel developer writes host-side tests with, and what they promise."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest

from harness.deadline import Deadline
from harness.errors import CommandFailed, DeadlineExpired, GuestLost
from harness.progress import Silent
from harness.records.kernel import Kernel
from harness.run.prepare import Prepared
from harness.vm.console import Console
from harness.vm.guest import Guest, forwarded_port
from harness.vm.qmp import Qmp
from harness.vm.ssh import Ssh


def port_of(guest: Guest, deadline: Deadline) -> int:
    command: dict[str, object] = {"command-line": "info usernet"}
    return forwarded_port(guest.qmp.execute("human-monitor-command", command, deadline=deadline))


def test_ssh_separates_streams_and_quotes_arguments(hgm_ssh: Ssh, hgm_deadline: Deadline) -> None:
    nasty = "a b;$(id) 'q' \"d\" \\ \n`x`"
    answer = hgm_ssh.run(
        ["sh", "-c", 'printf %s "$1"; echo e >&2; exit 9', "x", nasty], hgm_deadline
    )
    assert (answer.exit_code, answer.stdout, answer.stderr) == (9, nasty, "e\n")


def test_ssh_copies_both_ways_and_reports_failures(hgm_ssh: Ssh, hgm_deadline: Deadline) -> None:
    data = bytes(range(256)) * 4096
    hgm_ssh.put(data, "/tmp/file", hgm_deadline, mode=0o750)
    assert hgm_ssh.get("/tmp/file", hgm_deadline) == data
    mode = hgm_ssh.run(["stat", "-c", "%a", "/tmp/file"], hgm_deadline).stdout
    assert mode == "750\n"
    with pytest.raises(CommandFailed, match="No such file"):
        hgm_ssh.get("/tmp/none", hgm_deadline)


def test_a_command_that_takes_too_long_raises_at_its_deadline(hgm_ssh: Ssh) -> None:
    with pytest.raises(DeadlineExpired, match="the nap"):
        hgm_ssh.run(["sleep", "60"], Deadline.after(0.5, "the nap"))


def test_only_the_key_of_this_run_logs_in(hgm_guest: Guest, hgm_deadline: Deadline) -> None:
    log_in: dict[str, Callable[[paramiko.Transport], object]] = {
        "password": lambda transport: transport.auth_password("root", ""),
        "key": lambda transport: transport.auth_publickey("root", paramiko.ECDSAKey.generate()),
    }
    for attempt in log_in:
        with socket.create_connection(("127.0.0.1", port_of(hgm_guest, hgm_deadline))) as sock:
            transport = paramiko.Transport(sock)
            transport.start_client(timeout=20)
            with pytest.raises(paramiko.AuthenticationException):
                log_in[attempt](transport)
            transport.close()


def test_the_guest_reaches_nothing(hgm_ssh: Ssh, hgm_deadline: Deadline) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        # 10.0.2.2 is the host's loopback to a guest whose network is not restricted.
        answer = hgm_ssh.run(["nc", "-w", "3", "10.0.2.2", port], hgm_deadline)
        assert answer.exit_code != 0
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listener.accept()


#: Gets a page table now and then.
_GROWS = """
import mmap, time
mapped = mmap.mmap(-1, 1 << 30)
for start in range(0, 1 << 30, 2 << 20):
    mapped[start] = 1
    time.sleep(0.15)
"""


@pytest.mark.hgm_disk
def test_a_table_that_a_process_gets_meanwhile_is_not_the_kernels(
    hgm_prepared: Prepared, hgm_ssh: Ssh, hgm_deadline: Deadline
) -> None:
    counters = hgm_prepared.programs["counters"].read_bytes()
    hgm_ssh.put(counters, "/tmp/counters", hgm_deadline, mode=0o755)
    hgm_ssh.put(_GROWS.encode(), "/tmp/grows.py", hgm_deadline)
    script = """python3 /tmp/grows.py & sleep 1
        for reading in $(seq 60); do /tmp/counters; done
        kill $!"""
    answer = hgm_ssh.run(["sh", "-c", script], hgm_deadline)
    assert answer.exit_code == 0, answer.stderr
    readings = [
        line for line in answer.stdout.splitlines() if line.startswith("pagetables.unowned ")
    ]
    assert len(readings) == 60
    assert len(set(readings)) == 1, readings


def test_qmp_stops_and_resumes_the_guest(
    hgm_qmp: Qmp, hgm_ssh: Ssh, hgm_deadline: Deadline
) -> None:
    hgm_qmp.execute("stop", deadline=hgm_deadline)
    assert hgm_qmp.execute("query-status", deadline=hgm_deadline)["status"] == "paused"
    hgm_qmp.wait_event(lambda event: event["event"] == "STOP", hgm_deadline)
    hgm_qmp.execute("cont", deadline=hgm_deadline)
    assert hgm_ssh.run(["true"], hgm_deadline).exit_code == 0


def test_the_console_has_the_first_byte_and_an_emergency_shell(
    hgm_guest: Guest, hgm_console: Console, hgm_deadline: Deadline
) -> None:
    assert re.search(r"^\[ +0\.000000\] Linux version ", hgm_console.text(), re.MULTILINE)
    hgm_guest.ssh.close()
    assert "uid=0" in hgm_console.command("id", hgm_deadline)


def test_the_guest_powers_off_through_its_kernel(hgm_guest: Guest) -> None:
    hgm_guest.power_off(Silent())
    assert hgm_guest.qemu.process.wait(Deadline.after(10, "QEMU's end")) == 0
    assert "reboot: Power down" in hgm_guest.console.text()


def test_a_guest_that_is_killed_is_lost_at_once(hgm_guest: Guest, hgm_deadline: Deadline) -> None:
    hgm_guest.qemu.process.popen.kill()
    hgm_guest.console.wait_ended(hgm_deadline)
    with pytest.raises(GuestLost):
        hgm_guest.ssh.run(["true"], hgm_deadline)


@pytest.mark.hgm_disk
def test_the_disk_brings_python_with_ctypes_and_bash(
    hgm_ssh: Ssh, hgm_kernel: Kernel, hgm_deadline: Deadline
) -> None:
    program = (
        "import ctypes, os; print(os.uname().release, ctypes.CDLL(None).getpid() == os.getpid())"
    )
    answer = hgm_ssh.run(["python3", "-c", program], hgm_deadline)
    assert answer.stdout == f"{hgm_kernel.release} True\n"
    assert hgm_ssh.run(["bash", "-c", "echo $BASH_VERSION"], hgm_deadline).stdout.startswith("5.")


@pytest.mark.hgm_machine(hugepages="2M:8", cpus=1)
def test_a_machine_is_what_its_marker_says(hgm_guest: Guest, hgm_deadline: Deadline) -> None:
    assert {(pool.size, pool.total) for pool in hgm_guest.pools} >= {(2**21, 8)}
    assert hgm_guest.ssh.run(["nproc"], hgm_deadline).stdout == "1\n"


def test_nothing_of_a_guest_is_left_in_the_workspace(hgm_guest: Guest, tmp_path: Path) -> None:
    assert not list(tmp_path.glob("*initrd*")), "the initramfs holds the run's private keys"
