# SPDX-License-Identifier: GPL-2.0-only
"""From fragments to a final ``.config`` in a build directory, with every request accounted for."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.deadline import Deadline
from harness.errors import ConfigError
from harness.kernel import fragments
from harness.kernel.fragments import Wish
from harness.kernel.git import Store
from harness.kernel.make import Make
from harness.workspace import atomic_write, digest

#: In a build directory: what was asked for, a symbol a line.
ASKED = ".hgm-asked.config"

#: In a build directory: finished configurations, each under the hash of what it was made from.
_KEPT = ".hgm-configs"

_INPUT = re.compile(r"\t(?:Makefile$|arch/x86/Makefile|scripts/|(?:.*/)?Kconfig[^/]*$)")
_DEFINES = re.compile(r"^[ \t]*(?:menu)?config[ \t]+(\w+)", re.MULTILINE)


def inputs(tree: str, store: Store, deadline: Deadline) -> tuple[str, ...]:
    """Return what of a tree a configuration depends on: a line of mode, blob ID and path each.

    That is every Kconfig file, the Makefiles that give Kconfig its variables, and the scripts that
    Kconfig runs to ask the compiler. The compiler itself is part of the build directory's name.
    """
    lines = store.git(["ls-tree", "-r", tree], deadline).stdout.splitlines()
    return tuple(line for line in lines if _INPUT.search(line))


def make_config(wishes: Iterable[Wish], make: Make, depends: Sequence[str]) -> str:
    """Write the build directory's ``.config`` and return its text.

    What nobody asked for is off where it can be, else at its default. Kconfig takes 4 s, so what it
    made for the same wishes and inputs is kept and taken again: a bisection goes to and fro over
    the patch that adds a symbol.

    Args:
        wishes: what is asked for.
        make: for the source and build directory.
        depends: what `inputs` returned.
    """
    asked, final = make.build / ASKED, make.build / ".config"
    wanted = "".join(f"{wish.line()}\n" for wish in wishes)
    kept = make.build / _KEPT / digest(wanted, *depends)
    asked.write_text(wanted)
    text = _recall(kept)
    if text is None:
        make.run([f"KCONFIG_ALLCONFIG={asked}", "allnoconfig", "olddefconfig"])
        text = final.read_text()
        kept.parent.mkdir(exist_ok=True)
        atomic_write(kept, f"{digest(text)}\n{text}")
    elif not final.exists() or final.read_text() != text:
        final.write_text(text)
    return text


def _recall(kept: Path) -> str | None:
    """Return a configuration that was kept; None if there is none, or not the whole of it."""
    if not kept.exists():
        return None
    checksum, _, text = kept.read_text(errors="replace").partition("\n")
    return text if checksum == digest(text) else None


def account(
    wishes: Iterable[Wish],
    config: str,
    source: Path,
    depends: Sequence[str],
    version: str,
    tools: Callable[[], Mapping[str, str]],
) -> tuple[str, ...]:
    """Compare what was asked with what was got, and return a note for each optional miss.

    Args:
        wishes: what was asked for.
        config: the final configuration.
        source: the kernel's source.
        depends: what `inputs` returned for it.
        version: of the kernel, for messages.
        tools: gives Kconfig's environment, see `explain`.

    Raises:
        ConfigError: naming every symbol that is missing and the dependency that was not met.
    """
    missed = fragments.unmet(wishes, config)
    if not missed:
        return ()
    known = defined(source, depends)
    unknown = {wish.symbol for wish in missed} - known
    reasons = dict.fromkeys(unknown, f"kernel {version} has no such symbol")
    asked = {wish.symbol for wish in missed} - unknown
    if asked:
        reasons |= explain(asked, config, source, tools())
    lines = {wish.symbol: _miss(wish, config, reasons[wish.symbol]) for wish in missed}
    required = [lines[wish.symbol] for wish in missed if not wish.optional]
    if required:
        raise ConfigError(
            f"this kernel cannot have what was asked for: {'; '.join(required)}",
            hint="ask for the dependency too, or mark the symbol with `# hgm: optional`",
        )
    return tuple(lines.values())


def _miss(wish: Wish, config: str, reason: str) -> str:
    got = fragments.values(config).get(wish.symbol, "n")
    return f"CONFIG_{wish.symbol}={wish.value} ({wish.where}) became {got}: {reason}"


def defined(source: Path, depends: Iterable[str]) -> set[str]:
    """Return every symbol that some Kconfig file of a source defines, for any architecture."""
    paths = (Path(source, line.partition("\t")[2]) for line in depends)
    texts = (path.read_text(errors="replace") for path in paths if path.name.startswith("Kconfig"))
    return {name for text in texts for name in _DEFINES.findall(text)}


def explain(
    symbols: Iterable[str], config: str, source: Path, tools: Mapping[str, str]
) -> dict[str, str]:
    """Return for each symbol why it does not have the value that was asked for.

    Args:
        symbols: names without ``CONFIG_``.
        config: the final configuration.
        source: the kernel's source.
        tools: the variables that the kernel's Makefile gives its Kconfig: ARCH, CC, LD ...
    """
    kconfig = _load(config, source, tools)
    return {name: _reason(kconfig, name) for name in symbols}


def _load(config: str, source: Path, tools: Mapping[str, str]) -> Any:
    """Return kconfiglib's model of a kernel's symbols with a configuration loaded."""
    import kconfiglib  # 60 ms that only a missing symbol is worth

    class Reader(kconfiglib.Kconfig):  # type: ignore[misc]  # kconfiglib has no types
        """Reads what kconfiglib 14.1 does not know as the older form that it does."""

        def _open(self, filename: str, mode: str) -> Any:
            if mode != "r":
                return super()._open(filename, mode)
            return io.StringIO(modernised(Path(filename).read_text(errors="replace")))

    before = dict(os.environ)
    os.environ.update(tools, srctree=str(source))
    try:
        model = Reader("Kconfig", warn=False)
        final = source.parent / f".explain.{os.getpid()}.config"
        try:
            final.write_text(config)
            model.load_config(str(final))
        finally:
            final.unlink(missing_ok=True)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return model


def modernised(text: str) -> str:
    """Return Kconfig text with the syntax of newer kernels in the form of 2020.

    ``modules`` on a line of its own was ``option modules`` before 5.14; ``transitional`` (6.18)
    only concerns old configurations.
    """
    text = re.sub(r"^([ \t]+)modules[ \t]*$", r"\1option modules", text, flags=re.MULTILINE)
    return re.sub(r"^[ \t]+transitional[ \t]*$", "", text, flags=re.MULTILINE)


def _reason(kconfig: Any, name: str) -> str:
    """Return one symbol's unmet dependency in Kconfig's own words."""
    symbol = kconfig.syms.get(name)
    if symbol is None or not symbol.nodes:
        return "this architecture has no such symbol"
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
    import kconfiglib

    selectors = [
        kconfiglib.expr_str(t)
        for t in kconfiglib.split_expr(symbol.rev_dep, kconfiglib.OR)
        if kconfiglib.expr_value(t)
    ]
    return f"is selected by {' || '.join(selectors)}" if selectors else "Kconfig changed its value"


def _false_terms(expression: Any) -> list[str]:
    """Return those parts of a conjunction that are not met, each with its symbols' values."""
    import kconfiglib

    def shown(item: Any) -> str:
        text: str = kconfiglib.standard_sc_expr_str(item)
        is_symbol = isinstance(item, kconfiglib.Symbol) and not item.is_constant
        return f"{text}(={item.str_value})" if is_symbol else text

    parts = kconfiglib.split_expr(expression, kconfiglib.AND)
    false = [part for part in parts if kconfiglib.expr_value(part) == 0]
    return [kconfiglib.expr_str(part, shown) for part in false]
