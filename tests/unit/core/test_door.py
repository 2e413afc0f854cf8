# SPDX-License-Identifier: GPL-2.0-only
"""Help without the harness is the same help: each command and each option is in it."""

from collections.abc import Iterator

import click
import pytest

from harness import data, door, host
from harness.cli.main import hgm

assert data.CHECKOUT is not None
REFERENCE = (data.CHECKOUT / "docs" / "reference" / "commands.md").read_text()


def leaves(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield each command that is not a group, with the words that name it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from leaves(found, *path, name)


def test_every_command_is_listed() -> None:
    listed = door.help_text(["--help"], REFERENCE)
    for_developers = door.help_text(["selfcheck", "--help"], REFERENCE)
    assert "selfcheck" not in listed
    for path, command in leaves(hgm):
        if not command.hidden:
            where = for_developers if path[0] == "selfcheck" else listed
            assert f"  {' '.join(path)} " in where


def test_every_summary_fits_a_line() -> None:
    for words in (["--help"], ["selfcheck", "--help"]):
        assert max(map(len, door.help_text(words, REFERENCE).splitlines())) <= 80


@pytest.mark.parametrize(("path", "command"), list(leaves(hgm)))
def test_every_option_is_explained(path: tuple[str, ...], command: click.Command) -> None:
    said = door.help_text([*path, "--help"], REFERENCE)
    assert said.startswith(f"Usage: hgm {' '.join(path)} ")
    options = [each for each in command.params if isinstance(each, click.Option)]
    for option in options:
        assert option.opts[0] in said
    assert all(len(line) <= 80 or "[" in line for line in said.splitlines())


def test_a_group_lists_its_commands() -> None:
    said = door.help_text(["series", "-h"], REFERENCE)
    assert "series check" in said
    assert "  run " not in said


def test_an_unknown_command_is_the_callers_mistake() -> None:
    with pytest.raises(host.HostError, match="No such command 'x'") as caught:
        door.help_text(["x", "--help"], REFERENCE)
    assert caught.value.exit_code == 2
