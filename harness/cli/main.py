# SPDX-License-Identifier: GPL-2.0-only
"""Arguments in, exit code out. The commands are in `harness.cli`, the work elsewhere."""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

import click

import harness
from harness.cli import (
    bisect,
    cache,
    compare,
    draw,
    evidence,
    guest,
    host,
    image,
    kernel,
    kselftest,
    probes,
    run,
    selfcheck,
    series,
)
from harness.errors import INTERNAL, HarnessError, NoSpace
from harness.workspace import Workspace

_INTERRUPTED = 130


#: All commands, as `--help` shows them.
_COMMANDS: dict[str, tuple[click.Command, ...]] = {
    "Test a kernel": (
        run.run,
        compare.compare,
        series.series,
        bisect.bisect,
        bisect.bisect_step,
        kselftest.kselftest,
    ),
    "Look at a run": (
        run.judge,
        draw.draw,
        evidence.post_mortem,
        evidence.bundle,
        evidence.replay,
    ),
    "Sources, kernels and guests": (
        probes.probes,
        kernel.kernel,
        image.image,
        guest.guest,
        cache.cache,
    ),
    "This host and the harness": (host.doctor, host.test, selfcheck.selfcheck),
}


class _Grouped(click.Group):
    """A group of commands whose `--help` shows them under headings."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each heading with its commands."""
        width = formatter.width - 6 - max(map(len, self.commands))
        for heading, commands in _COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(c.name or "", c.get_short_help_str(width)) for c in commands])


@click.group(
    cls=_Grouped,
    commands=[command for commands in _COMMANDS.values() for command in commands],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(harness.__version__, prog_name="hgm")
def hgm() -> None:
    """Build a kernel, boot it with 1 GiB huge pages, probe it, and say whether it is right.

    Start with `hgm doctor`, then `hgm run`.

    Exit codes: 0 as expected, 1 a probe failed, 2 the caller's mistake, 3 infrastructure,
    130 interrupted.
    """


def main() -> NoReturn:
    """Run the command line; every end has its exit code and, if it is no good one, its line."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        code = hgm.main(prog_name="hgm", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        cause = error.__cause__
        if isinstance(cause, EOFError):  # which click takes for an interrupt
            code = _unforeseen(cause)
        else:
            code = _say("interrupted", _INTERRUPTED)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "hgm"
        said = error.format_message().rstrip(".")
        code = _say(f"{said}; see `{path} --help`", 2)
    except HarnessError as error:
        for line in error.console:
            click.echo(f"console: {line}", err=True)
        code = _say(error.line(), error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last door: a defect of ours ends in a line too
        code = _unforeseen(error)
    sys.exit(code)


def _unforeseen(error: Exception) -> int:
    """Say what no stage foresaw: a full disk, a closed pipe, or a defect of ours."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _say(NoSpace(f"no space left: {error}", hint="free some space").line(), 3)
    if isinstance(error, BrokenPipeError):
        sys.stdout = None  # nobody reads it, so nothing is flushed
        return 3
    path = Workspace.default().room("tmp").parent / "traceback.txt"
    path.write_text("".join(traceback.format_exception(error)))
    return _say(f"{INTERNAL}: {error!r}; traceback: {path}", 3)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str, code: int) -> int:
    click.echo(f"hgm: {text}", err=True)
    return code


if __name__ == "__main__":
    main()
