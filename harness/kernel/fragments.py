# SPDX-License-Identifier: GPL-2.0-only
"""Configuration fragments: what is asked for, of which versions, and what came of it.

A fragment is a plain Kconfig fragment. A comment on the line before a symbol may say more::

    # hgm: optional
    # hgm: since 6.5
    # hgm: until 6.4
    # hgm: since 6.5 optional

A line of its own names objects that are compiled with debug information, whichever directory they
are in; a flag that the kernel's Makefiles give one of that name is lost and must be named with it::

    # hgm-debug-info: hugetlb memory core=-fno-omit-frame-pointer
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness import data
from harness.errors import ConfigError, SpecError
from harness.records.base import Record

#: Where the named fragments lie.
DIRECTORY = data.directory("kernel-configs")

#: Asked for in every kernel, before the features.
ALWAYS = ("base", "hgm")

_SET = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_DIRECTIVE = re.compile(r"#\s*hgm:(.*)")
_DEBUG_INFO = re.compile(r"#\s*hgm-debug-info:(.*)")
_SINCE_UNTIL = re.compile(r"(since|until)\s+(\d+\.\d+)")


class Wish(Record, frozen=True, kw_only=True):
    """One requested symbol.

    Attributes:
        symbol: without ``CONFIG_``.
        value: as in a ``.config``, quotes included; ``n`` for not set.
        where: ``file:line`` of the request.
        optional: whether the build may go on without it.
        since: first ``(VERSION, PATCHLEVEL)`` it belongs to; None for no limit.
        until: last one it belongs to; None for no limit.
    """

    symbol: str
    value: str
    where: str
    optional: bool = False
    since: tuple[int, int] | None = None
    until: tuple[int, int] | None = None

    def fits(self, version: str) -> bool:
        """Return whether a kernel ``VERSION.PATCHLEVEL...`` is within the range."""
        numbers = _numbers(version)
        after = self.since is None or self.since <= numbers
        return after and (self.until is None or numbers <= self.until)

    def line(self) -> str:
        """Return the line that a ``.config`` would have."""
        if self.value == "n":
            return f"# CONFIG_{self.symbol} is not set"
        return f"CONFIG_{self.symbol}={self.value}"


class Fragment(Record, frozen=True, kw_only=True):
    """One fragment file.

    Attributes:
        name: as it was asked for: a name, or a path.
        path: where it lies.
        text: its contents.
    """

    name: str
    path: str
    text: str


def load(features: Sequence[str], directory: Path = DIRECTORY) -> tuple[Fragment, ...]:
    """Return the fragments of a kernel: `ALWAYS`, then the features, each once.

    Args:
        features: names of fragments, or paths that end with ``.config``.
        directory: where the named ones lie.

    Raises:
        SpecError: if one does not exist.
    """
    names = list(dict.fromkeys((*ALWAYS, *features)))
    return tuple(_load_one(name, directory) for name in names)


def _load_one(name: str, directory: Path) -> Fragment:
    is_path = "/" in name or name.endswith(".config")
    path = Path(name).expanduser().absolute() if is_path else directory / f"{name}.config"
    try:
        return Fragment(name=name, path=str(path), text=path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        named = ", ".join(sorted(file.stem for file in directory.glob("*.config")))
        raise SpecError(
            f"--config {name!r}: {reason}", hint=f"there are {named}; or give a path to X.config"
        ) from error


def parse(fragment: Fragment) -> tuple[Wish, ...]:
    """Return what a fragment asks for, in its order.

    Raises:
        ConfigError: if a line is neither a symbol, nor a comment, nor a known directive.
    """
    wishes: list[Wish] = []
    pending: list[str] = []
    for number, raw in enumerate(fragment.text.splitlines(), 1):
        line, where = raw.strip(), f"{fragment.path}:{number}"
        if directive := _DIRECTIVE.match(line):
            pending.append(directive[1].strip())
            continue
        request = _request(line)
        if request is not None:
            wishes.append(_wish(*request, where, " ".join(pending)))
            pending = []
        elif line and not line.startswith("#"):
            raise ConfigError(
                f"{where}: {line!r} is no CONFIG_ line", hint="write CONFIG_X=y or a comment"
            )
        elif pending:
            raise ConfigError(f"{where}: an hgm directive without a symbol on the next line")
    if pending:
        raise ConfigError(f"{fragment.path}: its last hgm directive has no symbol")
    return tuple(wishes)


def _request(line: str) -> tuple[str, str] | None:
    if match := _SET.fullmatch(line):
        return match[1], match[2].strip()
    if match := _UNSET.fullmatch(line):
        return match[1], "n"
    return None


def _wish(symbol: str, value: str, where: str, directives: str) -> Wish:
    limits = {key: _numbers(version) for key, version in _SINCE_UNTIL.findall(directives)}
    rest = set(_SINCE_UNTIL.sub(" ", directives).replace(",", " ").split())
    if rest - {"optional"}:
        raise ConfigError(
            f"{where}: unknown hgm directive {' '.join(sorted(rest - {'optional'}))!r}",
            hint="known are `optional`, `since X.Y` and `until X.Y`",
        )
    return Wish(
        symbol=symbol,
        value=value,
        where=where,
        optional="optional" in rest,
        since=limits.get("since"),
        until=limits.get("until"),
    )


def debug_objects(fragments: Iterable[Fragment]) -> tuple[str, ...]:
    """Return make's variables that give the objects which fragments name debug information."""
    found: dict[str, str] = {}
    for fragment in fragments:
        for line in fragment.text.splitlines():
            if match := _DEBUG_INFO.match(line.strip()):
                for word in match[1].split():
                    name, _, flag = word.partition("=")
                    found[name] = f"CFLAGS_{name}.o={' '.join(filter(None, ('-g', flag)))}"
    return tuple(found.values())


def nearest(wanted: str, known: Mapping[str, str]) -> str:
    """Return which configuration differs in the fewest lines; empty without any.

    Args:
        wanted: a configuration, a symbol a line.
        known: others, by name.
    """
    lines = set(wanted.splitlines())
    return min(known, key=lambda name: len(lines ^ set(known[name].splitlines())), default="")


def merge(fragments: Iterable[Fragment], version: str) -> tuple[tuple[Wish, ...], tuple[str, ...]]:
    """Return what the fragments ask of a version, later ones winning, and notes on what is left.

    Args:
        fragments: in order.
        version: ``VERSION.PATCHLEVEL...`` of the kernel.
    """
    wanted: dict[str, Wish] = {}
    left: dict[str, Wish] = {}
    for fragment in fragments:
        for wish in parse(fragment):
            if wish.fits(version):
                wanted[wish.symbol] = wish
            else:
                left[wish.symbol] = wish
    notes = [_left_out(wish, version) for name, wish in left.items() if name not in wanted]
    return tuple(wanted.values()), tuple(notes)


def _left_out(wish: Wish, version: str) -> str:
    limits = [
        f"{word} {limit[0]}.{limit[1]}"
        for word, limit in (("since", wish.since), ("until", wish.until))
        if limit is not None
    ]
    return f"CONFIG_{wish.symbol}: not asked of {version}; its fragment says {' '.join(limits)}"


def values(config: str) -> dict[str, str]:
    """Return the symbols that a ``.config`` sets, by name without ``CONFIG_``."""
    found = (_SET.fullmatch(line.strip()) for line in config.splitlines())
    return {match[1]: match[2] for match in found if match and match[2] != "n"}


def unmet(wishes: Iterable[Wish], config: str) -> tuple[Wish, ...]:
    """Return the wishes that a final ``.config`` does not fulfil."""
    got = values(config)
    return tuple(w for w in wishes if not same_value(w.value, got.get(w.symbol, "n")))


def same_value(wanted: str, got: str) -> bool:
    """Return whether two values are the same; numbers are, however they are written."""
    if wanted == got or (wanted in ('""', "n") and got in ('""', "n")):
        return True
    try:
        return int(wanted, 0) == int(got, 0)
    except ValueError:
        return False


def _numbers(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)
