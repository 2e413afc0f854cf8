# SPDX-License-Identifier: GPL-2.0-only
"""Configuration fragments: which symbols are requested, and for which kernel versions.

A fragment is a plain Kconfig fragment. A comment on the line before a symbol may say more::

    # hgm: optional
    # hgm: since 6.5
    # hgm: until 6.4
    # hgm: since 6.5 optional

A line of its own names objects to compile with debug information, in any directory. Flags that the
kernel's Makefiles set for an object of that name are lost, so repeat them after ``=``::

    # hgm-debug-info: hugetlb memory core=-fno-omit-frame-pointer
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness import data
from harness.errors import ConfigError, SpecError
from harness.records.base import Record

#: Where the named fragments are.
DIRECTORY = data.directory("kernel-configs")

#: Part of every kernel, before the features.
ALWAYS = ("base", "hgm")

_SET = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_DIRECTIVE = re.compile(r"#\s*hgm:(.*)")
_DEBUG_INFO = re.compile(r"#\s*hgm-debug-info:(.*)")
_SINCE_UNTIL = re.compile(r"(since|until)\s+(\d+\.\d+)")


class ConfigRequest(Record, frozen=True, kw_only=True):
    """One requested symbol.

    Attributes:
        symbol: without ``CONFIG_``.
        value: as in a ``.config``, quotes included; ``n`` for not set.
        where: ``file:line`` of the request.
        optional: whether the build may go on without it.
        since: first ``(VERSION, PATCHLEVEL)`` it is for; None for no limit.
        until: last one it is for; None for no limit.
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
        name: as the caller gave it: a name, or a path.
        path: where it is.
        text: its contents.
    """

    name: str
    path: str
    text: str


def load(features: Sequence[str], directory: Path = DIRECTORY) -> tuple[Fragment, ...]:
    """Return the fragments of a kernel: `ALWAYS`, then the features, each once.

    Args:
        features: names of fragments, or paths that end with ``.config``.
        directory: where the named ones are.

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
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        if not is_path and isinstance(error, FileNotFoundError):
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
    pending: list[str] = []
    for number, raw in enumerate(fragment.text.splitlines(), 1):
        line, where = raw.strip(), f"{fragment.path}:{number}"
        if directive := _DIRECTIVE.match(line):
            pending.append(directive[1].strip())
            continue
        setting = _setting(line)
        if setting is not None:
            requests.append(_config_request(*setting, where, " ".join(pending)))
            pending = []
        elif line and not line.startswith("#"):
            raise ConfigError(
                f"{where}: {line!r} is not a CONFIG_ line", hint="write CONFIG_X=y or a comment"
            )
        elif pending:
            raise ConfigError(f"{where}: an hgm directive without a symbol on the next line")
    if pending:
        raise ConfigError(f"{fragment.path}: its last hgm directive has no symbol")
    return tuple(requests)


def _setting(line: str) -> tuple[str, str] | None:
    if match := _SET.fullmatch(line):
        return match[1], match[2].strip()
    if match := _UNSET.fullmatch(line):
        return match[1], "n"
    return None


def _config_request(symbol: str, value: str, where: str, directives: str) -> ConfigRequest:
    limits = {key: _numbers(version) for key, version in _SINCE_UNTIL.findall(directives)}
    rest = set(_SINCE_UNTIL.sub(" ", directives).replace(",", " ").split())
    if rest - {"optional"}:
        raise ConfigError(
            f"{where}: unknown hgm directive {' '.join(sorted(rest - {'optional'}))!r}",
            hint="known are `optional`, `since X.Y` and `until X.Y`",
        )
    return ConfigRequest(
        symbol=symbol,
        value=value,
        where=where,
        optional="optional" in rest,
        since=limits.get("since"),
        until=limits.get("until"),
    )


def debug_objects(fragments: Iterable[Fragment]) -> tuple[str, ...]:
    """Return make's variables that add debug information to the objects that fragments name."""
    found: dict[str, str] = {}
    for fragment in fragments:
        for line in fragment.text.splitlines():
            if match := _DEBUG_INFO.match(line.strip()):
                for word in match[1].split():
                    name, _, flag = word.partition("=")
                    found[name] = f"CFLAGS_{name}.o={' '.join(filter(None, ('-g', flag)))}"
    return tuple(found.values())


def nearest(wanted: str, known: Mapping[str, str]) -> str:
    """Return the known configuration that differs in the fewest lines; empty if there is none.

    Args:
        wanted: a configuration, a symbol per line.
        known: others, by name.
    """
    lines = set(wanted.splitlines())
    return min(known, key=lambda name: len(lines ^ set(known[name].splitlines())), default="")


def merge(
    fragments: Iterable[Fragment], version: str
) -> tuple[tuple[ConfigRequest, ...], tuple[str, ...]]:
    """Return the requests for a version, later fragments winning, and notes on those left out.

    Args:
        fragments: in order.
        version: ``VERSION.PATCHLEVEL...`` of the kernel.
    """
    wanted: dict[str, ConfigRequest] = {}
    left: dict[str, ConfigRequest] = {}
    for fragment in fragments:
        for request in parse(fragment):
            if request.fits(version):
                wanted[request.symbol] = request
            else:
                left[request.symbol] = request
    notes = [_left_out(request, version) for name, request in left.items() if name not in wanted]
    return tuple(wanted.values()), tuple(notes)


def _left_out(request: ConfigRequest, version: str) -> str:
    limits = [
        f"{word} {limit[0]}.{limit[1]}"
        for word, limit in (("since", request.since), ("until", request.until))
        if limit is not None
    ]
    limit_text = " ".join(limits)
    return f"CONFIG_{request.symbol}: not requested for {version}: its fragment says {limit_text}"


def values(config: str) -> dict[str, str]:
    """Return the symbols that a ``.config`` sets, by name without ``CONFIG_``."""
    found = (_SET.fullmatch(line.strip()) for line in config.splitlines())
    return {match[1]: match[2] for match in found if match and match[2] != "n"}


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


def _numbers(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)
