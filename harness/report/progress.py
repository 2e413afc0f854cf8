# SPDX-License-Identifier: GPL-2.0-only
"""Shows the progress of a command.

On a terminal one live line shows the stage and how far it is; in a pipe, in CI or on a dumb
terminal there are some plain lines with the seconds since the start.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from harness.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

#: Seconds between two plain lines about the same stage.
_PLAIN_INTERVAL = 10.0


class Display(Progress, Protocol):
    """A progress that writes to a stream until the end of its context."""

    def __enter__(self) -> Self:
        """Start."""

    def __exit__(self, *error: object) -> None:
        """Stop, and clear the live line."""


def for_stream(stream: TextIO, environment: Mapping[str, str] = os.environ) -> Display:
    """Return the display for a stream.

    Args:
        stream: usually standard error.
        environment: ``CI`` or ``TERM=dumb`` choose plain lines.
    """
    dumb = environment.get("TERM", "dumb") == "dumb" or bool(environment.get("CI"))
    return PlainProgress(stream) if dumb or not stream.isatty() else TerminalProgress(stream)


class PlainProgress:
    """Plain lines, each with the seconds since the start.

    Args:
        stream: where they go.
        interval: seconds between two lines about the steps of one stage.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        interval: float = _PLAIN_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._interval = interval
        self._clock = clock
        self._began = clock()
        self._stage = ""
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def stage(self, name: str, detail: str = "") -> None:
        """Write the stage's name."""
        self._stage = name
        self._next = self._clock() + self._interval
        self._write(f"{name}: {detail}" if detail else name)

    def step(self, done: int, total: int | None, unit: str) -> None:
        """Write how far it is, at most once an interval."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + self._interval
        self._write(f"{self._stage}: {_amount(done, total, unit)}")

    def note(self, text: str) -> None:
        """Write the note."""
        self._write(text)

    def _write(self, text: str) -> None:
        line = " ".join(text.split())
        self._stream.write(f"[{self._clock() - self._began:7.1f} s] {line}\n")
        self._stream.flush()


class TerminalProgress:
    """One live line; finished stages and notes stay above it.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live: RichProgress | None = None
        self._task: TaskID | None = None
        self._name = ""
        self._detail = ""
        self._began = 0.0

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
            console=Console(file=self._stream, highlight=False, markup=False),
            transient=True,
        )
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._settle(finished=error[0] is None)
            self._live.stop()
            self._live = None

    def stage(self, name: str, detail: str = "") -> None:
        """Write a line about the stage that ended, and show the new one."""
        if self._live is None:
            return
        self._settle(finished=True)
        self._name, self._detail, self._began = name, detail, time.monotonic()
        described = f"{name}: {detail}" if detail else name
        self._task = self._live.add_task(described, total=None, amount="")

    def step(self, done: int, total: int | None, unit: str) -> None:
        """Move the bar."""
        if self._live is not None and self._task is not None:
            amount = _amount(done, total, unit)
            self._live.update(self._task, completed=done, total=total, amount=amount)

    def note(self, text: str) -> None:
        """Write the note above the live line, or to the stream where that has ended."""
        line = " ".join(text.split())
        if self._live is None:
            self._stream.write(f"{line}\n")
        else:
            self._live.console.print(line)

    def _settle(self, *, finished: bool) -> None:
        """Remove the live line and, if its stage ended well, write a plain one."""
        if self._live is None or self._task is None:
            return
        self._live.remove_task(self._task)
        self._task = None
        if finished:
            seconds = time.monotonic() - self._began
            detail = f": {self._detail}" if self._detail else ""
            self._live.console.print(f"{self._name}{detail} ({seconds:.1f} s)")


def _amount(done: int, total: int | None, unit: str) -> str:
    """Return how far something is, such as ``812 of 2030 objects (40 %)``."""
    if not total:
        return f"{done} {unit}"
    return f"{done} of {total} {unit} ({100 * done // total} %)"
