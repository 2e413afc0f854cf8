# SPDX-License-Identifier: GPL-2.0-only
"""Configuration fragments: which symbols are requested, and which of them a kernel may lack.

A fragment is a plain Kconfig fragment. What happens to a symbol that the kernel does not get
depends on whose fragment it is:

- ``required.config``: an error, with the comment above it as the reason;
- another file in `DIRECTORY`: a note if the kernel does not know the symbol, since symbols come and
  go; an error if the kernel knows it but dropped it for an unmet dependency;
- a user's fragment: an error, unless the line before says ``# hgm: optional``.

In any fragment, a symbol after a line ``# hgm: needed`` is one that the kernel must get. A line
``# hgm: only x86_64`` makes the symbols up to the next blank line requests for kernels of
that architecture alone.

A line of its own names objects to compile with debug information, in any directory. Flags that the
kernel's Makefiles set for an object of that name are lost, so repeat them after ``=``::

    # hgm-debug-info: hugetlb memory core=-fno-omit-frame-pointer

Another one names sources whose lines the kernel counts; one that it has not is left out::

    # hgm-coverage: mm/hugetlb.c fs/hugetlbfs/inode.c
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from harness import data
from harness.arch import Arch, arch
from harness.errors import ConfigError, SpecError
from harness.records.base import Record

#: Where the named fragments are.
DIRECTORY = data.directory("kernel-configs")

#: What the harness needs of every kernel; no later fragment may turn it off.
REQUIRED = "required"

#: Part of every kernel, before the features.
ALWAYS = (REQUIRED, "base", "hgm")

#: What becomes of a request that is not met: an error; a note if the kernel has no such symbol; a
#: note in any case.
Need = Literal["always", "if known", "optional"]

_NEEDS: dict[str, Need] = {"optional": "optional", "needed": "always"}

_SET = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_DIRECTIVE = re.compile(r"#\s*hgm:(.*)")
_DEBUG_INFO = re.compile(r"#\s*hgm-debug-info:(.*)")
_COVERAGE = re.compile(r"#\s*hgm-coverage:(.*)")
_COMMENT = re.compile(r"#\s?(.*)")


class ConfigRequest(Record, frozen=True, kw_only=True):
    """One requested symbol.

    Attributes:
        symbol: without ``CONFIG_``.
        value: as in a ``.config``, quotes included; ``n`` for not set.
        where: ``file:line`` of the request.
        need: what becomes of it if the kernel does not get it.
        reason: why the harness needs it; empty outside of `REQUIRED`.
    """

    symbol: str
    value: str
    where: str
    need: Need = "always"
    reason: str = ""

    def line(self) -> str:
        """Return the line that a ``.config`` would have."""
        if self.value == "n":
            return f"# CONFIG_{self.symbol} is not set"
        return f"CONFIG_{self.symbol}={self.value}"


class Fragment(Record, frozen=True, kw_only=True):
    """One fragment file.

    Attributes:
        name: as the caller gave it: a name, or a path.
        path: where it is, for messages: absolute, or ``kernel-configs/NAME.config``.
        text: its contents.
        need: what becomes of its requests if the kernel does not get them.
        arch: the kernel's name of the architecture that is asked for.
    """

    name: str
    path: str
    text: str
    need: Need = "always"
    arch: str


def load(features: Sequence[str], guest: Arch, directory: Path = DIRECTORY) -> tuple[Fragment, ...]:
    """Return the fragments of a kernel: `ALWAYS`, then the features, each once.

    Args:
        features: names of fragments, or paths that end with ``.config``.
        guest: the kernel's architecture.
        directory: where the named ones are.

    Raises:
        SpecError: if one does not exist.
    """
    names = list(dict.fromkeys((*ALWAYS, *features)))
    return tuple(_load_one(name, guest, directory) for name in names)


def is_path(name: str) -> bool:
    """Return whether an argument of ``--config`` is the path of a file."""
    return "/" in name or name.endswith(".config")


def _load_one(name: str, guest: Arch, directory: Path) -> Fragment:
    path = Path(name).expanduser().absolute() if is_path(name) else directory / f"{name}.config"
    is_ours = path.parent == directory
    shown = f"{directory.name}/{path.name}" if is_ours else str(path)
    need: Need = "if known" if is_ours and path.stem != REQUIRED else "always"
    try:
        text = path.read_text()
        return Fragment(name=name, path=shown, text=text, need=need, arch=guest.kernel)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        if not is_path(name) and isinstance(error, FileNotFoundError):
            reason = "there is no such fragment"
        named = ", ".join(sorted(file.stem for file in directory.glob("*.config")))
        raise SpecError(
            f"--config {name!r}: {reason}",
            hint=f"fragments are {named}; or give the path of a .config file",
        ) from error


def parse(fragment: Fragment) -> tuple[ConfigRequest, ...]:
    """Return the requests of a fragment, in its order.

    Raises:
        ConfigError: if a line is neither a symbol, nor a comment, nor a known directive.
    """
    requests: list[ConfigRequest] = []
    need, comment, in_comment, only = "", "", False, ""
    for number, raw in enumerate(fragment.text.splitlines(), 1):
        line, where = raw.strip(), f"{fragment.path}:{number}"
        setting = _setting(line)
        if setting is not None:
            symbol, value = setting
            request = ConfigRequest(
                symbol=symbol,
                value=value,
                where=where,
                need=_NEEDS.get(need, fragment.need),
                reason=comment if fragment.name == REQUIRED else "",
            )
            if only in ("", fragment.arch):
                requests.append(request)
            need, in_comment = "", False
        elif need:
            raise ConfigError(
                f"{where}: `# hgm: {need}` without a symbol on the next line",
                hint="write it directly before the CONFIG_ line that it is about",
            )
        elif directive := _DIRECTIVE.match(line):
            word = directive[1].strip()
            if word.startswith("only "):
                only = arch(word.removeprefix("only ").strip()).kernel
            else:
                need = _need(word, where)
        elif text := _COMMENT.match(line):
            comment = f"{comment} {text[1]}" if in_comment else text[1]
            in_comment = True
        elif not line:
            in_comment, only = False, ""
        else:
            raise ConfigError(
                f"{where}: {line!r} is not a CONFIG_ line", hint="write CONFIG_X=y or a comment"
            )
    if need:
        raise ConfigError(
            f"{fragment.path}: ends with `# hgm: {need}`, without its symbol",
            hint="write it directly before the CONFIG_ line that it is about",
        )
    return tuple(requests)


def _setting(line: str) -> tuple[str, str] | None:
    if match := _SET.fullmatch(line):
        return match[1], match[2].strip()
    if match := _UNSET.fullmatch(line):
        return match[1], "n"
    return None


def _need(directive: str, where: str) -> str:
    if directive not in _NEEDS:
        raise ConfigError(
            f"{where}: unknown hgm directive {directive!r}",
            hint=f"they are `{'`, `'.join(_NEEDS)}` and `only ARCH`",
        )
    return directive


def make_variables(fragments: Sequence[Fragment]) -> tuple[str, ...]:
    """Return make's variables for the objects whose compilation fragments change."""
    found: dict[str, str] = {}
    for word in _words(_DEBUG_INFO, fragments):
        name, _, flag = word.partition("=")
        found[name] = f"CFLAGS_{name}.o={' '.join(filter(None, ('-g', flag)))}"
    counted = dict.fromkeys(Path(source).stem for source in counted_sources(fragments))
    return (*found.values(), *(f"GCOV_PROFILE_{name}.o=y" for name in counted))


def counted_sources(fragments: Sequence[Fragment]) -> tuple[str, ...]:
    """Return the sources, below the tree's root, whose lines fragments ask to be counted."""
    return tuple(dict.fromkeys(_words(_COVERAGE, fragments)))


def _words(directive: re.Pattern[str], fragments: Sequence[Fragment]) -> Iterator[str]:
    for fragment in fragments:
        for line in fragment.text.splitlines():
            if match := directive.match(line.strip()):
                yield from match[1].split()


def nearest(wanted: str, known: Mapping[str, str]) -> str:
    """Return the known configuration that differs in the fewest lines; empty if there is none.

    Args:
        wanted: a configuration, a symbol per line.
        known: others, by name.
    """
    lines = set(wanted.splitlines())
    return min(known, key=lambda name: len(lines ^ set(known[name].splitlines())), default="")


def merge(fragments: Iterable[Fragment]) -> tuple[ConfigRequest, ...]:
    """Return the requests of fragments, in order; later fragments win.

    Raises:
        ConfigError: for an invalid line, and for a fragment that turns off what is required.
    """
    wanted: dict[str, ConfigRequest] = {}
    for fragment in fragments:
        for request in parse(fragment):
            earlier = wanted.get(request.symbol)
            if earlier is not None and earlier.reason:
                if same_value(earlier.value, request.value):
                    continue
                raise ConfigError(
                    f"{request.where}: `{request.line()}`, but the harness needs "
                    f"CONFIG_{earlier.symbol}={earlier.value}: {earlier.reason}",
                    hint="remove the line; image:BZIMAGE takes a kernel of any configuration",
                )
            wanted[request.symbol] = request
    return tuple(wanted.values())


def settings(config: str) -> dict[str, str]:
    """Return the symbols of a ``.config`` by name without ``CONFIG_``; ``n`` for one not set."""
    return dict(filter(None, (_setting(line.strip()) for line in config.splitlines())))


def values(config: str) -> dict[str, str]:
    """Return the symbols that a ``.config`` sets, by name without ``CONFIG_``."""
    return {name: value for name, value in settings(config).items() if value != "n"}


def unmet(requests: Iterable[ConfigRequest], config: str) -> tuple[ConfigRequest, ...]:
    """Return the requests that a final ``.config`` does not meet."""
    got = values(config)
    return tuple(r for r in requests if not same_value(r.value, got.get(r.symbol, "n")))


def same_value(wanted: str, got: str) -> bool:
    """Return whether two values are equal; numbers are compared as numbers."""
    if wanted == got or (wanted in ('""', "n") and got in ('""', "n")):
        return True
    try:
        return int(wanted, 0) == int(got, 0)
    except ValueError:
        return False
