# SPDX-License-Identifier: GPL-2.0-only
"""The start of `./hgm`: installs what is missing, then runs the harness in its environment.

Imports the standard library only. `--version`, `--help` and `doctor` install nothing: until the
Python environment is there, help is taken from ``docs/reference/commands.md``.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import harness
from harness import host

#: The oldest Python that the harness runs on; Debian 12 has it.
_MINIMUM_PYTHON = (3, 11)

#: Commands that start no program of the host, and so need none of its Debian packages.
_WITHOUT_PACKAGES = (
    *(("cache",), ("compare",), ("completion",), ("doctor",), ("export",), ("history",)),
    *(("judge",), ("kselftest",), ("man",), ("map",), ("probes",), ("prune",), ("report",)),
    *(("status",), ("submit",), ("image", "import")),
)

_REFERENCE = Path(__file__).parent.parent / "docs" / "reference" / "commands.md"

_WIDTH = 80


def enter(words: Sequence[str]) -> int:
    """Run `hgm WORDS`: exec the harness, or return the exit code of what was done without it."""
    try:
        return _enter(words)
    except host.HostError as error:
        print("\n  ".join([f"hgm: {error}", *error.lines]), file=sys.stderr)  # noqa: T201
        return error.exit_code
    except OSError as error:
        print(f"hgm: this host could not be made ready: {error}", file=sys.stderr)  # noqa: T201
        return 3
    except KeyboardInterrupt:
        print("hgm: interrupted", file=sys.stderr)  # noqa: T201
        return 130


def _enter(words: Sequence[str]) -> int:
    if sys.version_info < _MINIMUM_PYTHON:
        wanted = ".".join(map(str, _MINIMUM_PYTHON))
        raise host.HostError(f"Python {wanted} is needed, and this is {sys.version.split()[0]}")
    if list(words) == ["--version"]:
        print(f"hgm, version {harness.__version__}")  # noqa: T201
        return 0
    if host.environment_is_ready() and (_asks_for_help(words) or words[0] == "doctor"):
        return _become_the_harness(words)
    if "_HGM_COMPLETE" in os.environ:
        return 0  # a shell asks for completions
    if _asks_for_help(words):
        text = help_text(words, _REFERENCE.read_text())
        print(text, file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    _check_command(words)
    if words[0] == "doctor":
        return _show_doctor(words)
    alone = any(tuple(words[: len(command)]) == command for command in _WITHOUT_PACKAGES)
    host.prepare(packages_too=not alone, arch=_arch(words), tests_too=words[0] == "test")
    return _become_the_harness(words)


def _become_the_harness(words: Sequence[str]) -> int:
    host.hold_environment()
    environment = host.environment()
    # Byte code is kept, but with the environment and not in the checkout.
    variables = {**os.environ, "PYTHONPYCACHEPREFIX": str(environment / "pycache")}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    python = environment / "bin" / "python"
    # -P: what happens to lie in the caller's directory is not imported.
    return os.execve(python, [str(python), "-P", "-m", "harness.cli", *words], variables)  # noqa: S606


def _show_doctor(words: Sequence[str]) -> int:
    if len(words) > 1 and not _arch(words):
        raise host.HostError("doctor takes --arch ARCH only; see `hgm doctor --help`", exit_code=2)
    from harness import doctor  # here, since a warm start does without it

    findings = doctor.examine(arch=_arch(words))
    doctor.write(findings, sys.stdout)
    return doctor.exit_code(findings)


def _arch(words: Sequence[str]) -> str:
    """Return the value of ``--arch``; empty without it."""
    found = re.search(r"(?:^|\0)--arch[=\0]([^\0]+)", "\0".join(words))
    return found[1] if found else ""


def _asks_for_help(words: Sequence[str]) -> bool:
    """Return whether help is all that is wanted; what follows ``--`` is for another program."""
    own = words[: words.index("--")] if "--" in words else words
    return not own or "-h" in own or "--help" in own


def _check_command(words: Sequence[str]) -> None:
    if words[0] not in {command[0] for command in _commands(_REFERENCE.read_text()) if command}:
        raise host.HostError(f"No such command {words[0]!r}; see `hgm --help`", exit_code=2)


def help_text(words: Sequence[str], reference: str) -> str:
    """Return what the reference says about a command, or about each command in a group.

    Raises:
        HostError: if there is no such command.
    """
    commands = _commands(reference)
    asked = tuple(itertools.takewhile(lambda word: not word.startswith("-"), words))
    while asked not in commands and not any(name[: len(asked)] == asked for name in commands):
        asked = asked[:-1]  # an argument of a command
    if not asked and words and not words[0].startswith("-"):
        _check_command(words)
    if asked in commands:
        text = list(_plain(commands[asked], _rows(reference)))
    else:
        text = [f"Usage: hgm {' '.join(asked)} COMMAND [OPTIONS] [ARGUMENTS]"]
    inside = [name for name in commands if len(name) > len(asked) and name[: len(asked)] == asked]
    if not asked:  # developers of the harness ask for `hgm selfcheck --help`
        inside = [name for name in inside if name[0] != "selfcheck"]
    if inside:
        width = max(len(" ".join(name)) for name in inside) + 2
        text += ["", *(f"  {' '.join(name):<{width}}{_summary(commands[name])}" for name in inside)]
    return "\n".join(text)


def _commands(reference: str) -> dict[tuple[str, ...], str]:
    """Return the section of each command by the words of its name."""
    parts = (section.partition("\n") for section in reference.split("\n## "))
    words = ((tuple(heading.split()), body.strip()) for heading, _, body in parts)
    return {heading[1:]: body for heading, body in words if heading[0] == "hgm"}


def _rows(text: str) -> dict[str, str]:
    """Return the rows of the tables as a terminal shows them, by the first name of the option."""
    found = re.findall(r"^\| `(.+?)` \| (.*) \|$", text, re.MULTILINE)
    return {option.split()[0]: _row(option, meaning) for option, meaning in found}


def _row(option: str, meaning: str) -> str:
    shown = f"  {option}\n{textwrap.indent(textwrap.fill(meaning, _WIDTH - 6), ' ' * 6)}"
    return shown.replace("\\|", "|")


def _summary(body: str) -> str:
    """Return the first line of a command's description."""
    _usage, first, *_ = body.split("\n\n")
    return first


def _plain(body: str, shared: dict[str, str]) -> Iterator[str]:
    """Yield the paragraphs and tables of a section as a terminal shows them."""
    usage, *blocks = body.split("\n\n")
    yield f"Usage: {usage.strip('`')}"
    for block in blocks:
        yield ""
        if block.startswith("|"):
            yield from _rows(block).values()
        elif "(#options-that-several-commands-share)" in block:
            yield from (shared[name] for name in re.findall(r"`(\S+)`", block))
        else:
            yield textwrap.fill(block, _WIDTH)
