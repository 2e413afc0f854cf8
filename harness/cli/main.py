# SPDX-License-Identifier: GPL-2.0-only
"""Arguments in, exit code out. The commands are in the other modules of `harness.cli`."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click

import harness
from harness import host
from harness.cli import interrupt
from harness.errors import INTERNAL, HarnessError, foreseen

_INTERRUPTED = 130

#: All commands, as `--help` shows them, and where each is below `harness.cli`.
_COMMANDS = {
    "Test a kernel": {
        "run": "run.run",
        "compare": "compare.compare",
        "matrix": "matrix.matrix",
        "series": "series.series",
        "bisect": "bisect.bisect",
        "bisect-step": "bisect.bisect_step",
        "b4-check": "b4_check.b4_check",
        "kselftest": "kselftest.kselftest",
        "study": "study.study",
    },
    "Look at a run": {
        "judge": "run.judge",
        "map": "draw.draw",
        "post-mortem": "evidence.post_mortem",
        "coverage": "evidence.coverage",
        "export": "export.export",
        "submit": "export.submit",
        "bundle": "evidence.bundle",
        "replay": "evidence.replay",
    },
    "Look at many runs": {
        "status": "history.status",
        "history": "history.history",
        "prune": "history.prune",
        "report": "report.report",
    },
    "Sources, kernels and guests": {
        "probes": "probes.probes",
        "kernel": "kernel.kernel",
        "image": "image.image",
        "guest": "guest.guest",
        "cache": "cache.cache",
    },
    "Many hosts": {"cluster": "cluster.cluster"},
    "This host and the harness": {
        "doctor": "host.doctor",
        "test": "host.test",
        "completion": "host.completion",
        "man": "host.man",
        "selfcheck": "selfcheck.selfcheck",
    },
}
_PLACES = {name: place for group in _COMMANDS.values() for name, place in group.items()}


class _Commands(click.Group):
    """The commands: each is imported when it is asked for, and `--help` shows them in groups."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if there is none of that name."""
        if cmd_name not in _PLACES:
            return None
        module, _, function = _PLACES[cmd_name].partition(".")
        command: click.Command = getattr(importlib.import_module(f"harness.cli.{module}"), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each heading with its commands."""
        width = formatter.width - 6 - max(map(len, _PLACES))
        for heading, group in _COMMANDS.items():
            commands = [(name, self.get_command(ctx, name)) for name in group]
            with formatter.section(heading):
                formatter.write_dl([(n, c.get_short_help_str(width)) for n, c in commands if c])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(harness.__version__)
def hgm() -> None:
    """Build a kernel, boot it with 1 GiB huge pages, probe it, and say whether it is right.

    Start with `hgm doctor`, then `hgm run`.

    Exit codes: 0 as expected, 1 the kernel is wrong, 2 the caller's mistake, 3 this host failed or
    the kernel did not boot, 130 interrupted.
    """


def main() -> NoReturn:
    """Run the command line, print the error if there is one, and exit."""
    interrupt.install()
    try:
        code = hgm.main(prog_name=Path(host.program()).name, standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        cause = error.__cause__
        if isinstance(cause, EOFError):  # which click takes for an interrupt
            code = _unforeseen(cause)
        else:
            code = _say("interrupted", _INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        code = 2
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "hgm"
        message = " ".join(error.format_message().split()).rstrip(".")
        code = _say(f"{message}; see `{path} --help`", 2)
    except Exception as error:  # noqa: BLE001 - a bug of the harness ends in one line too
        known = foreseen(error)
        code = _unforeseen(error) if known is None else _failed(known)
    sys.exit(code)


def _failed(error: HarnessError) -> int:
    for line in error.console:
        click.echo(f"console: {line}", err=True)
    return _say(error.line(), error.exit_code)


def _unforeseen(error: Exception) -> int:
    """Report an unexpected error: a closed pipe, or a bug of the harness."""
    if isinstance(error, BrokenPipeError):
        sys.stdout = None  # it has no reader, so nothing may be flushed
        return 3
    from harness.workspace import Workspace  # not needed by a command that ends well

    path = Workspace.default().room("tmp").parent / "traceback.txt"
    path.write_text("".join(traceback.format_exception(error)))
    return _say(f"{INTERNAL}: {error!r}; traceback: {path}", 3)


def _say(text: str, code: int) -> int:
    click.echo(f"hgm: {text}", err=True)
    return code


if __name__ == "__main__":
    main()
