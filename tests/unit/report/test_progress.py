# SPDX-License-Identifier: GPL-2.0-only
"""What people see meanwhile."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from harness.report.progress import PlainProgress, TerminalProgress, for_stream
from tests.unit.report.test_text import Terminal


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_plain_lines_have_seconds_and_steps_are_throttled() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainProgress(stream, interval=10.0, clock=clock) as progress:
        progress.stage("kernel", "build 6.12")
        for second in range(1, 26):
            clock.now = 100.0 + second
            progress.step(second, 100, "objects")
        progress.note("ccache is\nnot installed")
        progress.stage("boot")
        progress.step(5, None, "lines")
        clock.now += 10.0
        progress.step(812, None, "lines")
    assert stream.getvalue() == (
        "[    0.0 s] kernel: build 6.12\n"
        "[   10.0 s] kernel: 10 of 100 objects (10 %)\n"
        "[   20.0 s] kernel: 20 of 100 objects (20 %)\n"
        "[   25.0 s] ccache is not installed\n"
        "[   25.0 s] boot\n"
        "[   35.0 s] boot: 812 lines\n"
    )


@pytest.mark.parametrize(
    ("make", "environment", "expected"),
    [
        (io.StringIO, {"TERM": "xterm"}, PlainProgress),
        (Terminal, {"TERM": "xterm"}, TerminalProgress),
        (Terminal, {"TERM": "dumb"}, PlainProgress),
        (Terminal, {}, PlainProgress),
        (Terminal, {"TERM": "xterm", "CI": "true"}, PlainProgress),
        (Terminal, {"TERM": "xterm", "CI": ""}, TerminalProgress),
    ],
)
def test_the_display_suits_the_stream(
    make: Callable[[], io.StringIO], environment: dict[str, str], expected: type
) -> None:
    assert type(for_stream(make(), environment)) is expected


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


def test_terminal_keeps_finished_stages_and_notes(terminal: Terminal) -> None:
    with TerminalProgress(terminal) as progress:
        progress.stage("kernel", "build [6.12]")
        progress.step(1, 2, "objects")
        progress.note("a [note]")
        progress.stage("boot")
    shown = terminal.getvalue()
    assert "kernel: build [6.12] (" in shown
    assert "a [note]" in shown
    assert "boot (" in shown
    assert "\x1b[?25h" in shown  # the cursor is back


def test_a_stage_that_an_exception_ended_is_not_finished(terminal: Terminal) -> None:
    def interrupted() -> None:
        with TerminalProgress(terminal) as progress:
            progress.stage("kernel")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    shown = terminal.getvalue()
    assert "kernel (" not in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1


def test_only_notes_are_written_outside_of_the_context(terminal: Terminal) -> None:
    progress = TerminalProgress(terminal)
    progress.stage("kernel")
    progress.step(1, 2, "objects")
    assert terminal.getvalue() == ""
    progress.note("a warning\nthat comes late")
    assert terminal.getvalue() == "a warning that comes late\n"
