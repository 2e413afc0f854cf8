# SPDX-License-Identifier: GPL-2.0-only
"""What a shell and `man` get from the program."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.main import hgm as commands
from tests.component.cli.test_cli import hgm


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("hgm ru", {"run"}),
        ("hgm run --conf", {"--config"}),
        ("hgm run --config kas", {"kasan"}),
        ("hgm run --series hgm-6.", {"hgm-6.12", "hgm-6.12-arm64", "hgm-6.12-v2"}),
        ("hgm run --expect hgm-r", {"hgm-reference"}),
        (
            "hgm run --probe baseline/smaps",
            {"baseline/smaps", "baseline/smaps/1G", "baseline/smaps/2M"},
        ),
        ("hgm run --series nonsense", set()),
    ],
)
def test_bash_completes_commands_options_and_names(
    tmp_path: Path, typed: str, offered: set[str]
) -> None:
    program = tmp_path / "hgm"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m harness.cli "$@"\n')
    program.chmod(0o755)
    script = hgm(tmp_path, "completion", "bash")
    assert (script.returncode, script.stderr) == (0, "")
    words = typed.split()
    ask = (
        f"{script.stdout}\nCOMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}\n"
        f'_hgm_completion {shlex.quote(str(program))}\nprintf "%s\\n" "${{COMPREPLY[@]}}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", ask], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.stderr == ""
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_other_shells_have_a_script_too(tmp_path: Path, shell: str) -> None:
    done = hgm(tmp_path, "completion", shell)
    assert f"_HGM_COMPLETE={shell}_complete" in done.stdout


def test_every_command_has_a_manual_page(tmp_path: Path) -> None:
    assert hgm(tmp_path, "man", "share").returncode == 0
    pages = {path.name for path in (tmp_path / "share" / "man1").iterdir()}
    assert {"hgm.1", "hgm-run.1", "hgm-guest-drgn.1", "hgm-selfcheck-detect.1"} <= pages
    assert {f"hgm-{name}.1" for name in commands.list_commands(None)} <= pages  # type: ignore[arg-type]
    page = (tmp_path / "share" / "man1" / "hgm-run.1").read_text()
    assert ".SH OPTIONS" in page
    assert r"\fB\-\-touched\fP SERIES" in page


def test_a_directory_that_cannot_be_written_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = hgm(tmp_path, "man", "file/below")
    assert done.returncode == 2
    assert done.stderr == (
        "hgm: file/below/man1: Not a directory; name a directory that you may write to\n"
    )
