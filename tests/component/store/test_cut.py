# SPDX-License-Identifier: GPL-2.0-only
"""Real processes: a writer that is killed at any moment, and reproduce.sh run by a shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness.report import reproduce
from harness.store.rundir import load
from tests.unit.report.records import RUN

WRITER = """
import sys
from pathlib import Path
from harness.records.run import RunRecord
from harness.store.rundir import RunStore
for turn in range(10**9):
    RunStore(Path(sys.argv[1]), RunRecord(notes=(str(turn),) * 1000))
    if turn == int(sys.argv[2]):
        print("ready", flush=True)
"""


@pytest.mark.parametrize("turns", [0, 1, 7, 30])
def test_a_killed_writer_leaves_a_readable_record_that_says_cut(tmp_path: Path, turns: int) -> None:
    argv = [sys.executable, "-c", WRITER, str(tmp_path), str(turns)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        os.kill(writer.pid, signal.SIGKILL)
    record = load(tmp_path)
    assert record.verdict == "CUT"
    assert len(set(record.notes)) == 1
    assert int(record.notes[0]) >= turns


def test_the_script_runs_the_exact_command(tmp_path: Path) -> None:
    show = tmp_path / "show all"
    show.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    show.chmod(0o755)
    odd = ["a b", "*", "$HOME", "it's", "--probe=hgm/*", "", "`id`", "x\\y"]
    script = tmp_path / "reproduce.sh"
    assert RUN.kernel is not None
    nasty = msgspec.structs.replace(RUN.kernel, release="6.12\necho pwned")
    record = msgspec.structs.replace(RUN, command=(str(show), *odd), kernel=nasty)
    script.write_text(reproduce.render(record))
    done = subprocess.run(["sh", str(script), "more"], capture_output=True, text=True, check=True)
    assert done.stdout == "\n".join([*odd, "more", ""])
    assert done.stderr == ""


def test_the_script_says_what_it_met_the_first_time() -> None:
    script = reproduce.render(RUN)
    assert script.startswith("#!/bin/sh\n# SPDX-License-Identifier: GPL-2.0-only\n")
    for fact in (
        "6.12.117, debian:linux-source-6.12",
        "patch    " + "d" * 64 + " 0001-x.patch",
        "tcg: no KVM guest",
        "qemu     7.2.22",
        "qemu-system-x86_64 -append 'console=ttyS0 panic=1'",
    ):
        assert fact in script
    assert script.endswith(
        "exec ./hgm run --probe 'hgm/*' --kernel 'tree:/home/me/my linux' \"$@\"\n"
    )
