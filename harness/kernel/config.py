# SPDX-License-Identifier: GPL-2.0-only
"""From config requests to a final ``.config``, and the reason for each request not met."""

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
from harness.kernel.fragments import ConfigRequest
from harness.kernel.git import Store
from harness.kernel.make import Make
from harness.workspace import atomic_write, digest

#: In a build directory: the requested symbols, one per line.
ASKED = ".hgm-asked.config"

#: In a build directory: finished configurations, each named by the hash of its inputs.
_KEPT = ".hgm-configs"

_INPUT = re.compile(r"\t(?:Makefile$|arch/x86/Makefile|scripts/|(?:.*/)?Kconfig[^/]*$)")
_DEFINES = re.compile(r"^[ \t]*(?:menu)?config[ \t]+(\w+)", re.MULTILINE)


def inputs(tree: str, store: Store, deadline: Deadline) -> tuple[str, ...]:
    """Return the files of a tree that a configuration depends on: mode, blob ID and path each.

    These are every Kconfig file, the Makefiles that set Kconfig's variables, and the scripts with
    which Kconfig tests the compiler. The compiler itself is part of the build directory's name.
    """
    lines = store.git(["ls-tree", "-r", tree], deadline).stdout.splitlines()
    return tuple(line for line in lines if _INPUT.search(line))


def make_config(asked: str, make: Make, depends: Sequence[str]) -> str:
    """Write the build directory's ``.config`` and return its text.

    A symbol that is not requested is off if it can be, else at its default. Kconfig takes 4 s, so
    its result is kept and used again for the same requests and inputs: a bisection goes to and fro
    across the patch that adds a symbol.

    Args:
        asked: the requested symbols, one per line.
        make: for the source and build directory.
        depends: what `inputs` returned.
    """
    requested, final = make.build / ASKED, make.build / ".config"
    kept = make.build / _KEPT / digest(asked, *depends)
    requested.write_text(asked)
    text = _recall(kept)
    if text is None:
        make.run([f"KCONFIG_ALLCONFIG={requested}", "allnoconfig", "olddefconfig"])
        text = final.read_text()
        kept.parent.mkdir(exist_ok=True)
        atomic_write(kept, f"{digest(text)}\n{text}")
    elif not final.exists() or final.read_text() != text:
        final.write_text(text)
    return text


def _recall(kept: Path) -> str | None:
    """Return a configuration that was kept; None if there is none, or it is damaged."""
    if not kept.exists():
        return None
    checksum, _, text = kept.read_text(errors="replace").partition("\n")
    return text if checksum == digest(text) else None


def account(
    requests: Iterable[ConfigRequest],
    config: str,
    source: Path,
    depends: Sequence[str],
    version: str,
    tools: Callable[[], Mapping[str, str]],
) -> tuple[str, ...]:
    """Return a note for each optional request that the final configuration does not meet.

    Args:
        requests: what was requested.
        config: the final configuration.
        source: the kernel's source.
        depends: what `inputs` returned for it.
        version: of the kernel, for messages.
        tools: returns Kconfig's environment, see `explain`.

    Raises:
        ConfigError: naming every required symbol that is missing and its unmet dependency.
    """
    missed = fragments.unmet(requests, config)
    if not missed:
        return ()
    known = defined(source, depends)
    unknown = {request.symbol for request in missed} - known
    reasons = dict.fromkeys(unknown, f"kernel {version} has no such symbol")
    asked = {request.symbol for request in missed} - unknown
    if asked:
        reasons |= explain(asked, config, source, tools())
    lines = {request.symbol: _miss(request, config, reasons[request.symbol]) for request in missed}
    required = [lines[request.symbol] for request in missed if not request.optional]
    if required:
        raise ConfigError(
            f"this kernel cannot have the requested configuration: {'; '.join(required)}",
            hint="request the dependency too, or mark the symbol with `# hgm: optional`",
        )
    return tuple(lines.values())


def _miss(request: ConfigRequest, config: str, reason: str) -> str:
    got = fragments.values(config).get(request.symbol, "n")
    return f"CONFIG_{request.symbol}={request.value} ({request.where}) became {got}: {reason}"


def defined(source: Path, depends: Iterable[str]) -> set[str]:
    """Return every symbol that a Kconfig file of a source defines, for any architecture."""
    paths = (Path(source, line.partition("\t")[2]) for line in depends)
    texts = (path.read_text(errors="replace") for path in paths if path.name.startswith("Kconfig"))
    return {name for text in texts for name in _DEFINES.findall(text)}


def explain(
    symbols: Iterable[str], config: str, source: Path, tools: Mapping[str, str]
) -> dict[str, str]:
    """Return for each symbol why it does not have the requested value.

    Args:
        symbols: names without ``CONFIG_``.
        config: the final configuration.
        source: the kernel's source.
        tools: the variables that the kernel's Makefile gives to Kconfig: ARCH, CC, LD ...
    """
    kconfig = _load(config, source, tools)
    return {name: _reason(kconfig, name) for name in symbols}


def _load(config: str, source: Path, tools: Mapping[str, str]) -> Any:
    """Return kconfiglib's model of a kernel's symbols with a configuration loaded."""
    import kconfiglib  # 60 ms, needed only for a missing symbol

    class Reader(kconfiglib.Kconfig):  # type: ignore[misc]  # kconfiglib has no types
        """Gives kconfiglib 14.1 the older form of syntax that it does not know."""

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
    """Return one symbol's unmet dependency in Kconfig's syntax."""
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
    """Return the parts of a conjunction that are not met, each with its symbols' values."""
    import kconfiglib

    def shown(item: Any) -> str:
        text: str = kconfiglib.standard_sc_expr_str(item)
        is_symbol = isinstance(item, kconfiglib.Symbol) and not item.is_constant
        return f"{text}(={item.str_value})" if is_symbol else text

    parts = kconfiglib.split_expr(expression, kconfiglib.AND)
    false = [part for part in parts if kconfiglib.expr_value(part) == 0]
    return [kconfiglib.expr_str(part, shown) for part in false]
