# SPDX-License-Identifier: GPL-2.0-only
"""What a shell and `man` get from the program.

Shells are among the packages that `hgm test` installs; see host-packages.txt.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pexpect
import pytest

from harness.cli.main import hgm as commands
from tests.component.cli.test_cli import hgm

OFFERS = [
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
]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user who has `hgm` in PATH, and no settings."""
    program = tmp_path / "bin" / "hgm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m harness.cli "$@"\n')
    program.chmod(0o755)
    home = {name: str(tmp_path) for name in ("HOME", "ZDOTDIR", "XDG_CONFIG_HOME")}
    return {**os.environ, **home, "PATH": f"{program.parent}:{os.environ['PATH']}", "TERM": "dumb"}


def script(tmp_path: Path, shell: str, file: Path) -> Path:
    """Write the script that completes in a shell to a file."""
    done = hgm(tmp_path, "completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(done.stdout)
    return file


def output_of(argv: Sequence[str], environ: dict[str, str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environ)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(("typed", "offered"), OFFERS)
def test_bash_completes_commands_options_and_names(
    tmp_path: Path, environ: dict[str, str], typed: str, offered: set[str]
) -> None:
    words = typed.split()
    ask = (
        f"source {script(tmp_path, 'bash', tmp_path / 'hgm.bash')}\n"
        f"COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}\n"
        '_hgm_completion hgm\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    assert set(output_of(["bash", "-c", ask], environ).split()) == offered


@pytest.mark.parametrize(("typed", "offered"), OFFERS)
def test_fish_completes_commands_options_and_names(
    tmp_path: Path, environ: dict[str, str], typed: str, offered: set[str]
) -> None:
    script(tmp_path, "fish", tmp_path / "fish" / "completions" / "hgm.fish")
    said = output_of(["fish", "-c", f"complete -C {shlex.quote(typed)}"], environ)
    assert {line.partition("\t")[0] for line in said.splitlines()} == offered


@pytest.mark.parametrize(("typed", "offered"), OFFERS)
def test_zsh_completes_commands_options_and_names(
    tmp_path: Path, environ: dict[str, str], typed: str, offered: set[str]
) -> None:
    variables = {"COMPLETION": str(script(tmp_path, "zsh", tmp_path / "hgm.zsh"))}
    shutil.copy(Path(__file__).with_name("complete.zsh"), tmp_path / ".zshrc")
    zsh = pexpect.spawn(
        "zsh", ["--no-globalrcs", "-i"], env=environ | variables, encoding="utf-8", timeout=60
    )
    try:
        zsh.expect_exact("ready> ")
        zsh.send(f"{typed}\t")
        zsh.expect_exact("OFFERED:")
        zsh.expect_exact(":OFFERED")
        assert set(str(zsh.before).split()) == offered
    finally:
        zsh.close(force=True)


def test_every_command_has_a_manual_page(tmp_path: Path) -> None:
    assert hgm(tmp_path, "man", "share").returncode == 0
    pages = {path.name for path in (tmp_path / "share" / "man1").iterdir()}
    assert {"hgm.1", "hgm-run.1", "hgm-guest-drgn.1", "hgm-selfcheck-detect.1"} <= pages
    assert {f"hgm-{name}.1" for name in commands.list_commands(None)} <= pages  # type: ignore[arg-type]
    page = (tmp_path / "share" / "man1" / "hgm-run.1").read_text()
    assert ".SH OPTIONS" in page
    assert r"\fB\-\-touched\fP SERIES" in page


def test_a_manual_page_has_its_name_and_all_of_its_first_sentence(tmp_path: Path) -> None:
    assert hgm(tmp_path, "man", "share").returncode == 0
    pages = {path.stem: path.read_text() for path in (tmp_path / "share" / "man1").iterdir()}
    check = pages["hgm-b4-check"].splitlines()
    assert check[0].startswith('.TH "HGM-B4-CHECK" "1" ')
    assert check[2:6] == [
        r"hgm-b4-check \- Test the patch in a mail, as a check command of b4",
        ".SH SYNOPSIS",
        ".B hgm b4-check",
        "[OPTIONS]",
    ]
    assert r"See \fBhgm-guest-gdb(1)\fP" in pages["hgm-guest"]
    lines = {name: page.splitlines() for name, page in pages.items()}
    assert [name for name, page in lines.items() if page[2].endswith("...")] == []
    macros = {line.split()[0] for page in lines.values() for line in page if line[:1] in (".", "'")}
    assert macros == {".TH", ".SH", ".PP", ".TP", ".B"}, "a line of text is taken for a macro"


def test_a_directory_that_cannot_be_written_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = hgm(tmp_path, "man", "file/below")
    assert done.returncode == 2
    assert done.stderr == (
        "hgm: file/below/man1: Not a directory; name a directory that you may write to\n"
    )
