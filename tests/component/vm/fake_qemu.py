#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A fake QEMU for component tests: QMP and a console over the inherited sockets, no machine.

What it does is in FAKE_QEMU, or in FAKE_QEMU_KVM where it is run with KVM: ``lives``, ``waits`` (to
be saved), ``dies`` (at once), ``mute-qmp``, ``silent``, ``panics``, ``panics-late`` and
``ends-late`` (once the host may log in), ``stands-still``, ``no-ssh``, ``refuses`` (QMP
commands), or ``prints-kernel`` (the text of the kernel's file); or what it does once the guest
runs: ``stops`` (SIGSTOP), ``stops-for-a-moment``, ``pauses`` (as by another monitor), ``wedges``
(answers QMP no more), ``closes`` (its end of QMP), ``is-killed``. Its command lines go to the file
FAKE_QEMU_LOG.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONSOLE = {
    "lives": ["Linux version 6.12.0-fake", "hgm: init done"],
    "waits": ["Linux version 6.12.0-fake", "hgm: init: ready to be saved", "hgm: init done"],
    "no-ssh": ["Linux version 6.12.0-fake", "hgm: init: no SSH server", "hgm: init done"],
    "stands-still": ["Linux version 6.12.0-fake", "Run /init as init process"],
    "panics-late": [
        "Linux version 6.12.0-fake",
        "hgm: init: SSH",
        "Kernel panic - not syncing: Attempted to kill init!",
        "---[ end Kernel panic - not syncing ]---",
    ],
    "ends-late": ["Linux version 6.12.0-fake", "hgm: init: SSH"],
    "panics": [
        "Linux version 6.12.0-fake",
        "Kernel panic - not syncing: VFS: Unable to mount root fs",
        "---[ end Kernel panic - not syncing ]---",
    ],
}


def channel(name: str) -> socket.socket:
    for word in sys.argv:
        match = re.fullmatch(rf"socket,id={name},fd=(\d+)", word)
        if match:
            return socket.socket(fileno=int(match[1]))
    raise SystemExit(f"fake qemu: no chardev {name}")


def commands(qmp: socket.socket) -> Iterator[dict[str, Any]]:
    """Yield commands as QEMU reads them: JSON objects with nothing, or anything, in between."""
    text = ""
    while chunk := qmp.recv(65536):
        text += chunk.decode()
        while text.strip():
            try:
                command, end = json.JSONDecoder().raw_decode(text := text.lstrip())
            except json.JSONDecodeError:
                break  # the rest has not come yet
            text = text[end:]
            yield command


def serve(mode: str, qmp: socket.socket, console: socket.socket) -> None:
    def say(message: object) -> None:
        qmp.sendall(json.dumps(message).encode() + b"\r\n")

    version = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": "fake"}
    say({"QMP": {"version": version, "capabilities": []}})
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]  # nobody listens there
    usernet = f"  TCP[HOST_FORWARD]  9  127.0.0.1 {port}  10.0.2.15  22  0  0\r\n"
    running = {"status": "running", "running": True}
    answers: dict[str, object] = {
        "query-version": version,
        "query-status": running,
        "query-cpus-fast": [{"cpu-index": 0, "thread-id": os.getpid()}],
        "human-monitor-command": usernet,
        "query-migrate-capabilities": [{"capability": "xbzrle", "state": False}],
    }
    for command in commands(qmp):
        name = command["execute"]
        tag = {"id": command["id"]} if "id" in command else {}
        if mode == "refuses" and name == "cont":
            error = {"class": "GenericError", "desc": "the fake refuses"}
            say({"error": error, **tag})
            continue
        say({"return": answers.get(name, {}), **tag})
        if name == "cont":
            say({"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 0}})
            threading.Thread(target=boot, args=(mode, console)).start()
            if mode == "pauses":
                answers["query-status"] = {"status": "paused", "running": False}
            after_cont(mode, qmp)
        if name == "quit":
            os._exit(0)


def after_cont(mode: str, qmp: socket.socket) -> None:
    if mode == "stops":
        os.kill(os.getpid(), signal.SIGSTOP)
    if mode == "stops-for-a-moment":
        subprocess.Popen(["sh", "-c", 'sleep 0.3; kill -CONT "$0"', str(os.getpid())])
        os.kill(os.getpid(), signal.SIGSTOP)
    if mode == "wedges":
        threading.Event().wait()
    if mode == "closes":
        qmp.shutdown(socket.SHUT_RDWR)
        threading.Event().wait()
    if mode == "is-killed":
        os.kill(os.getpid(), signal.SIGKILL)


def boot(mode: str, console: socket.socket) -> None:
    lines = CONSOLE.get(mode, [])
    if mode == "prints-kernel":
        lines = Path(sys.argv[sys.argv.index("-kernel") + 1]).read_text().splitlines()
    for line in lines:
        console.sendall(line.encode() + b"\r\n")
        if mode.endswith("-late") and line == "hgm: init: SSH":
            time.sleep(0.5)  # the host logs in
    if mode in ("panics", "panics-late", "ends-late") or "Kernel panic" in "".join(lines[-1:]):
        os._exit(0)


def main() -> None:
    mode = os.environ.get("FAKE_QEMU", "lives")
    if any("accel=kvm" in word for word in sys.argv):
        mode = os.environ.get("FAKE_QEMU_KVM", mode)
    with Path(os.environ.get("FAKE_QEMU_LOG", os.devnull)).open("a") as log:
        log.write(" ".join(sys.argv[1:]) + "\n")
    if mode == "dies":
        sys.stderr.write("qemu-system-x86_64: -machine q35: the fake dies at once\n")
        sys.exit(1)
    qmp, console = channel("qmp"), channel("console")
    if mode == "mute-qmp":
        threading.Event().wait()
    serve(mode, qmp, console)


if __name__ == "__main__":
    main()
