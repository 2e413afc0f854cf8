# SPDX-License-Identifier: GPL-2.0-only
"""`hgm doctor` and `hgm test`: this host, and this project on it."""

from __future__ import annotations

import copy
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
    """Print a script for a shell's completion.

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

    The pages say what --help says. To read one: MANPATH=DIRECTORY: man hgm-run.
    """
    root = context.find_root()
    pages = directory / "man1"
    try:
        pages.mkdir(parents=True, exist_ok=True)
        _write_pages(root.info_name or "hgm", _loaded(root.command), pages)
    except OSError as error:
        raise SpecError(
            f"{pages}: {error.strerror}", hint="name a directory that you may write to"
        ) from None
    return 0


def _write_pages(name: str, command: click.Command, directory: Path) -> None:
    """Write the page of a command, and those of the commands inside of it.

    Args:
        name: what one types to run it.
        command: as `_loaded` returns it.
        directory: for the pages.
    """
    import click_man.core

    import harness

    title = name.replace(" ", "-")
    page = click_man.core.generate_man_page(
        click.Context(command, info_name=title), version=harness.__version__
    )
    # The synopsis is the one place that has what one types, as in git's pages.
    (directory / f"{title}.1").write_text(page.replace(f"\n.B {title}\n", f"\n.B {name}\n", 1))
    if isinstance(command, click.Group):
        for inside, each in command.commands.items():
            _write_pages(f"{name} {inside}", each, directory)


def _loaded(command: click.Command) -> click.Command:
    """Return a command with those inside of it, which the program imports as they are asked for.

    The short help of each is its first sentence; click_man would cut it at 45 characters.
    """
    sentence = command.get_short_help_str(limit=1000).removesuffix(".")
    if not isinstance(command, click.Group):
        found = copy.copy(command)
        found.short_help = sentence
        return found
    context = click.Context(command)
    inside = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return click.Group(
        command.name,
        {name: _loaded(each) for name, each in inside.items() if each is not None},
        help=command.help,
        short_help=sentence,
        params=command.params,
    )
