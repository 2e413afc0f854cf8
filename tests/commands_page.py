# SPDX-License-Identifier: GPL-2.0-only
"""``python -m tests.commands_page`` prints ``docs/reference/commands.md`` from `--help`."""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator

import click

from harness.cli.main import hgm

_HEAD = """\
<!-- SPDX-License-Identifier: GPL-2.0-only -->
<!-- Written by `python -m tests.commands_page`; do not edit. -->
# Commands

In a checkout the program is `./hgm`; an installed package has `hgm-harness` with the same commands.
Exit codes: [verdicts](verdicts.md).
"""

_SHARED = "Options that several commands share"
_LINK = f"[shared](#{_SHARED.lower().replace(' ', '-')})"
_TABLE = "| option | meaning |\n|---|---|"

#: An option that so many commands have, word for word, is described once.
_MANY = 3


def page() -> str:
    """Return the page: a section for each command, and one for the options that many have."""
    commands = list(_commands(hgm, ("hgm",)))
    rows = {path: _rows(command, path) for path, command in commands}
    counted = Counter(row for table in rows.values() for row in table.items())
    shared = {name: text for (name, text), count in counted.items() if count >= _MANY}
    whole = f"## hgm\n\nhgm COMMAND [OPTIONS] [ARGUMENTS]\n\n{inspect.cleandoc(hgm.help or '')}\n"
    sections = [_section(path, command, rows[path], shared) for path, command in commands]
    table = "\n".join(_line(name, text) for name, text in shared.items())
    return "\n".join([_HEAD, whole, *sections, f"## {_SHARED}\n\n{_TABLE}\n{table}\n"])


def _commands(
    command: click.Command, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from _commands(found, (*path, name))


def _rows(command: click.Command, path: tuple[str, ...]) -> dict[str, str]:
    """Return what `--help` says of each option."""
    context = click.Context(command, info_name=" ".join(path))
    options = [option for option in command.params if isinstance(option, click.Option)]
    records = (option.get_help_record(context) for option in options)
    return {record[0]: re.sub(r"\s+", " ", record[1]) for record in records if record}


def _section(
    path: tuple[str, ...], command: click.Command, rows: dict[str, str], shared: dict[str, str]
) -> str:
    context = click.Context(command)
    usage = " ".join([*path, *command.collect_usage_pieces(context)])
    parts = [f"## {' '.join(path)}", f"`{usage}`", inspect.cleandoc(command.help or "")]
    own = [_line(name, text) for name, text in rows.items() if shared.get(name) != text]
    if own:
        parts.append("\n".join([_TABLE, *own]))
    common = [f"`{name.split()[0]}`" for name, text in rows.items() if shared.get(name) == text]
    if common:
        parts.append(f"And {', '.join(common)}: {_LINK}.")
    return "\n\n".join(parts) + "\n"


def _line(name: str, text: str) -> str:
    return "| `{}` | {} |".format(name.replace("|", "\\|"), text.replace("|", "\\|"))


if __name__ == "__main__":
    sys.stdout.write(page())
