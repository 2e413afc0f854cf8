# SPDX-License-Identifier: GPL-2.0-only
"""`hgm doctor` and `hgm test`: this host, and this project on it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.options import arch_option, guest_arch
from harness.errors import SpecError


@click.command()
@arch_option
def doctor(arch: str) -> int:
    """Show what this host lacks and the command that installs it."""
    from harness import doctor as host_doctor
    from harness.vm import accel
    from harness.workspace import Workspace

    guest = guest_arch(arch)
    known = accel.remembered(Workspace.default(), guest.name)
    findings = host_doctor.examine((known.works, known.reason) if known else None, guest.name)
    host_doctor.write(findings, sys.stdout)
    return host_doctor.exit_code(findings)


@click.command()
@click.argument("environments", nargs=-1)
@click.option(
    "-k", "expression", metavar="EXPR", default="", help="Only tests that match, as in pytest."
)
def test(environments: tuple[str, ...], expression: str) -> int:
    """Run the project's own tests.

    ENVIRONMENTS are lint, types, unit, component and kernel, all by default. One more, long, builds
    many kernels and is only run by name.
    """
    from harness.selfcheck import tests

    return tests.run(environments, expression)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "fish", "zsh"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print what makes a shell complete options and names.

    For bash: eval "$(./hgm completion bash)" in ~/.bashrc. For zsh the same in ~/.zshrc, after
    compinit; for fish: ./hgm completion fish > ~/.config/fish/completions/hgm.fish. These two call
    the hgm that is in PATH.
    """
    from click import shell_completion

    root = context.find_root()
    name = root.info_name or "hgm"
    variable = f"_{name}_complete".replace("-", "_").upper()
    classes = {
        "bash": shell_completion.BashComplete,
        "fish": shell_completion.FishComplete,
        "zsh": shell_completion.ZshComplete,
    }
    click.echo(classes[shell](root.command, {}, name, variable).source())
    return 0


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.pass_context
def man(context: click.Context, directory: Path) -> int:
    """Write a manual page of each command into DIRECTORY/man1.

    It is what --help says. To read them: MANPATH=DIRECTORY: man hgm-run.
    """
    import click_man.core

    import harness

    root = context.find_root()
    pages = directory / "man1"
    try:
        pages.mkdir(parents=True, exist_ok=True)
        click_man.core.write_man_pages(
            root.info_name, _loaded(root.command), version=harness.__version__, target_dir=pages
        )
    except OSError as error:
        raise SpecError(
            f"{pages}: {error.strerror}", hint="name a directory that you may write to"
        ) from None
    return 0


def _loaded(command: click.Command) -> click.Command:
    """Return a command with those inside of it, which the program imports as they are asked for."""
    if not isinstance(command, click.Group):
        return command
    context = click.Context(command)
    inside = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return click.Group(
        command.name,
        {name: _loaded(each) for name, each in inside.items() if each is not None},
        help=command.help,
        params=command.params,
    )
