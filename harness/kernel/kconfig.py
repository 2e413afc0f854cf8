# SPDX-License-Identifier: GPL-2.0-only
"""Why a symbol of the kernel has its value, as kconfiglib reads the Kconfig files.

`kconfiglib` is imported where it is used: that takes 60 ms, and few commands need it.
"""

from __future__ import annotations

import difflib
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, SpecError
from harness.kernel import fragments
from harness.kernel.fragments import ConfigRequest
from harness.kernel.make import Make
from harness.records.base import Record

_DEPENDS_IF = re.compile(
    r"^([ \t]+depends on )([^#\n]+)[ \t]if[ \t]([^#\n]+)(?:#.*)?$", re.MULTILINE
)


class SymbolFacts(Record, frozen=True, kw_only=True):
    """A symbol, and why it has its value.

    Attributes:
        name: without ``CONFIG_``.
        value: as in a ``.config``; ``n`` if it is not set.
        why: one line.
        asked: where a fragment requests it, and for which value; empty if none does.
        prompt: what a menu calls it; empty if no menu has it.
        defined: ``FILE:LINE`` of each definition.
        depends: its dependency in Kconfig's syntax, with values; empty for none.
        selectors: how many symbols select it if they are on.
        selected: those that do so now, with their condition.
    """

    name: str
    value: str
    why: str
    asked: str
    prompt: str
    defined: tuple[str, ...]
    depends: str
    selectors: int
    selected: tuple[str, ...]


def facts(
    names: Sequence[str], requests: Iterable[ConfigRequest], text: str, make: Make
) -> tuple[SymbolFacts, ...]:
    """Return why symbols have their values.

    Args:
        names: of the symbols, without ``CONFIG_``.
        requests: what was requested.
        text: the final ``.config``.
        make: of the source.

    Raises:
        SpecError: if the source has no such symbol for this architecture.
        ConfigError: if its Kconfig files cannot be read.
    """
    model = _load(text, make)
    known = [name for name, symbol in model.syms.items() if symbol.nodes]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, cutoff=0.75)
            raise SpecError(
                f"this kernel has no symbol CONFIG_{name} for {make.arch.name}",
                hint=f"it has {', '.join(close)}" if close else "",
            )
    asked = {request.symbol: request for request in requests}
    return tuple(_facts(model.syms[name], asked.get(name)) for name in names)


def _facts(symbol: Any, request: ConfigRequest | None) -> SymbolFacts:
    import kconfiglib

    prompts = [node.prompt[0] for node in symbol.nodes if node.prompt]
    selectors = kconfiglib.split_expr(symbol.rev_dep, kconfiglib.OR)
    return SymbolFacts(
        name=symbol.name,
        value=_value(symbol),
        why=_why(symbol, request),
        asked=f"{request.line()} ({request.where})" if request else "",
        prompt=prompts[0] if prompts else "",
        defined=tuple(f"{node.filename}:{node.linenr}" for node in symbol.nodes),
        depends="" if symbol.direct_dep is symbol.kconfig.y else _with_values(symbol.direct_dep),
        selectors=0 if symbol.rev_dep is symbol.kconfig.n else len(selectors),
        selected=tuple(_true_terms(symbol.rev_dep)),
    )


def _value(symbol: Any) -> str:
    """Return a symbol's value as in a ``.config``, ``n`` if it is not set."""
    line = symbol.config_string.strip()
    return line.partition("=")[2] if "=" in line else "n"


def _default(symbol: Any) -> str:
    """Return the expression that gives a symbol its default, if it is more than a value."""
    import kconfiglib

    for value, condition in symbol.defaults:
        if kconfiglib.expr_value(condition):
            literal = isinstance(value, kconfiglib.Symbol) and not value.nodes
            return "" if literal else f": {_with_values(value)}"
    return ""


def _why(symbol: Any, request: ConfigRequest | None) -> str:
    """Return in a line why a symbol has its value."""
    value = _value(symbol)
    if request is not None:
        reason = f": {request.reason}" if request.reason else ""
        return f"as requested{reason}" if value == request.value else _reason(symbol)
    if selected := _true_terms(symbol.rev_dep):
        return f"is selected by {' || '.join(selected)}"
    if value != "n":
        return f"is its default{_default(symbol)}"
    lacks = _false_terms(symbol.direct_dep)
    return f"needs {' && '.join(lacks)}" if lacks else "nothing asks for it"


def unmet(names: Iterable[str], text: str, make: Make) -> dict[str, str]:
    """Return for each symbol of this architecture what it became and why.

    Args:
        names: of the symbols, without ``CONFIG_``.
        text: the final ``.config``.
        make: of the source.
    """
    try:
        model = _load(text, make)
    except ConfigError as error:
        got = fragments.values(text)
        return {
            name: f"became {got.get(name, 'n')}: the reason is unknown, {error.message}"
            for name in names
        }
    found = {name: model.syms.get(name) for name in names}
    return {
        name: f"became {symbol.str_value or 'n'}: {_reason(symbol)}"
        for name, symbol in found.items()
        if symbol and symbol.nodes
    }


def _load(text: str, make: Make) -> Any:
    """Return kconfiglib's model of a kernel's symbols with a configuration loaded.

    Raises:
        ConfigError: for syntax that is newer than `in_older_syntax` knows.
    """
    import kconfiglib

    class Reader(kconfiglib.Kconfig):  # type: ignore[misc]  # kconfiglib has no types
        """Gives kconfiglib 14.1 the Kconfig files in a syntax that it knows."""

        def _open(self, filename: str, mode: str) -> Any:
            if mode != "r":
                return super()._open(filename, mode)
            return io.StringIO(in_older_syntax(Path(filename).read_text(errors="replace")))

    config = make.build / ".config"
    config.write_text(text)
    before = dict(os.environ)
    os.environ.update(make.kconfig(), srctree=str(make.source))
    try:
        model = Reader("Kconfig", warn=False)
        model.load_config(str(config))
    except kconfiglib.KconfigError as error:
        raise ConfigError(
            f"kconfiglib fails: {' '.join(str(error).split())}",
            hint="leave out --explain: the configuration itself does not depend on kconfiglib",
        ) from None
    finally:
        os.environ.clear()
        os.environ.update(before)
    return model


def in_older_syntax(text: str) -> str:
    """Return Kconfig text in the syntax of 2020, which kconfiglib 14.1 reads.

    ``modules`` on a line of its own was ``option modules`` before 5.14; ``depends on A if B`` (7.x)
    is ``depends on A || !B``; ``transitional`` (6.18) only concerns old configurations.
    """
    text = text.replace("\\\n", " ")
    text = re.sub(r"^([ \t]+)modules[ \t]*$", r"\1option modules", text, flags=re.MULTILINE)
    text = _DEPENDS_IF.sub(r"\1(\2) || !(\3)", text)
    return re.sub(r"^[ \t]+transitional[ \t]*$", "", text, flags=re.MULTILINE)


def _reason(symbol: Any) -> str:
    """Return a symbol's unmet dependency in Kconfig's syntax."""
    terms = _false_terms(symbol.direct_dep)
    if terms:
        return f"needs {' && '.join(terms)}"
    prompts = [node.prompt[1] for node in symbol.nodes if node.prompt]
    if not prompts:
        return "has no prompt; only another symbol's `select` or its default can set it"
    hidden = [term for prompt in prompts for term in _false_terms(prompt)]
    if hidden:
        return f"can only be chosen with {' && '.join(hidden)}"
    if symbol.choice is not None and symbol.choice.selection is not None:
        return f"its choice went to CONFIG_{symbol.choice.selection.name}"
    selectors = _true_terms(symbol.rev_dep)
    return f"is selected by {' || '.join(selectors)}" if selectors else "Kconfig changed its value"


def _true_terms(expression: Any) -> list[str]:
    """Return the parts of a disjunction that are met."""
    import kconfiglib

    parts = kconfiglib.split_expr(expression, kconfiglib.OR)
    return [kconfiglib.expr_str(part) for part in parts if kconfiglib.expr_value(part)]


def _false_terms(expression: Any) -> list[str]:
    """Return the parts of a conjunction that are not met, each with its symbols' values."""
    import kconfiglib

    parts = kconfiglib.split_expr(expression, kconfiglib.AND)
    false = [part for part in parts if kconfiglib.expr_value(part) == 0]
    return [_with_values(part) for part in false]


def _with_values(expression: Any) -> str:
    """Return an expression in Kconfig's syntax, each symbol with its value."""
    import kconfiglib

    def shown(item: Any) -> str:
        text: str = kconfiglib.standard_sc_expr_str(item)
        is_symbol = isinstance(item, kconfiglib.Symbol) and not item.is_constant
        return f"{text}(={item.str_value})" if is_symbol else text

    text: str = kconfiglib.expr_str(expression, shown)
    return text
