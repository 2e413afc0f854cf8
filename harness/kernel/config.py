# SPDX-License-Identifier: GPL-2.0-only
"""The final ``.config`` of a source and its fragments, and the reason for each request not met.

Kconfig takes seconds, so what it made is kept in the cache, by all that it depends on::

    configs/KEY.json              a final configuration and what it lacks of what was requested
    sources/kconfig-ARCH-TREE     hash of the files of a git tree that Kconfig reads
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import cache
from harness.arch import Arch
from harness.context import Context
from harness.errors import ConfigError
from harness.kernel import fragments, toolchain
from harness.kernel.fragments import ConfigRequest, Fragment
from harness.kernel.git import Store
from harness.kernel.make import Make
from harness.kernel.series import Patched
from harness.records.base import Record, read_json, to_json
from harness.workspace import atomic_write, digest

#: Raised whenever the same inputs would no longer give the same configuration or reasons.
_RECIPE = "2"

#: Every Kconfig file, the Makefiles that set Kconfig's variables, and the scripts with which
#: Kconfig tests the compiler: enough of a tree to run `make allnoconfig` in.
_INPUT = r"\t(?:Makefile$|arch/{directory}/Makefile|scripts/|(?:.*/)?Kconfig[^/]*$)"
_DEFINES = re.compile(r"^[ \t]*(?:menu)?config[ \t]+(\w+)", re.MULTILINE)

_DEPENDS_IF = re.compile(
    r"^([ \t]+depends on )([^#\n]+)[ \t]if[ \t]([^#\n]+)(?:#.*)?$", re.MULTILINE
)


class FinalConfig(Record, frozen=True, kw_only=True):
    """What a kernel is configured with.

    Attributes:
        text: the final ``.config``.
        asked: the requested symbols, one per line.
        variables: make's variables that the fragments ask for.
        counted: the sources whose lines the kernel is to count, below the tree's root.
        notes: one line for each requested symbol that it lacks.
    """

    text: str
    asked: str
    variables: tuple[str, ...]
    counted: tuple[str, ...]
    notes: tuple[str, ...]


class _Made(Record, frozen=True, kw_only=True):
    """What Kconfig made of a set of requests.

    Attributes:
        text: the final ``.config``.
        unknown: the requested symbols that this architecture does not have.
        unmet: the other ones that it lacks: what each became and why.
    """

    text: str
    unknown: tuple[str, ...]
    unmet: dict[str, str]


def configure(
    patched: Patched,
    wanted: Sequence[Fragment],
    arch: Arch,
    tools: str,
    context: Context,
    log: Path,
) -> FinalConfig:
    """Return the configuration that a source gets from fragments; Kconfig runs if it is new.

    A symbol that is not requested is off if it can be, else at its default.

    Args:
        patched: the source.
        wanted: the fragments, in order.
        arch: the kernel's architecture.
        tools: compiler and linker.
        context: cache, deadline, progress.
        log: takes the output of make if Kconfig runs.

    Raises:
        ConfigError: naming every symbol that it may not lack and its unmet dependency.
        KernelCompileError: if the source's Kconfig files are wrong.
    """
    requests = fragments.merge(wanted)
    asked = "".join(f"{request.line()}\n" for request in requests)
    made = _make(patched.identity.tree, requests, asked, arch, tools, context, log)
    return FinalConfig(
        text=made.text,
        asked=asked,
        variables=fragments.make_variables(wanted),
        counted=fragments.counted_sources(wanted),
        notes=_account(requests, made, patched.version),
    )


def _make(
    tree: str,
    requests: Sequence[ConfigRequest],
    asked: str,
    arch: Arch,
    tools: str,
    context: Context,
    log: Path,
) -> _Made:
    """Return what Kconfig makes of the requests, from the cache if it did so before."""
    workspace = context.workspace
    programs = toolchain.kconfig_programs()
    key = digest(_RECIPE, _inputs_digest(tree, arch, context), asked, tools, *programs)
    entry = workspace.room("configs") / f"{key}.json"
    known = read_json(entry, _Made)
    if known is None:
        with workspace.lock(f"configs/{entry.name}", context.deadline, context.progress):
            known = read_json(entry, _Made)
            if known is None:
                context.progress.stage("config", f"{len(requests)} symbols")
                known = _run(tree, requests, asked, arch, context, log)
                atomic_write(entry, to_json(known))
    cache.touch(entry)
    return known


def _inputs(tree: str, arch: Arch, context: Context) -> tuple[str, ...]:
    """Return the files of a tree that a configuration depends on: mode, blob ID and path each."""
    listed = Store.of(context).git(["ls-tree", "-r", tree], context.deadline).stdout
    wanted = re.compile(_INPUT.format(directory=arch.directory))
    return tuple(line for line in listed.splitlines() if wanted.search(line))


def _inputs_digest(tree: str, arch: Arch, context: Context) -> str:
    memory = context.workspace.room("sources") / f"kconfig-{arch.name}-{tree}"
    known = memory.read_text(errors="replace") if memory.exists() else ""
    if re.fullmatch(r"[0-9a-f]{64}", known):  # it is not after a loss of power
        return known
    found = digest(*_inputs(tree, arch, context))
    atomic_write(memory, found)
    return found


def _run(
    tree: str,
    requests: Sequence[ConfigRequest],
    asked: str,
    arch: Arch,
    context: Context,
    log: Path,
) -> _Made:
    """Run Kconfig on a scratch copy of the files that it reads."""
    with context.workspace.unfinished("config") as room:
        source, output = room / "src", room / "build"
        source.mkdir()
        output.mkdir()
        depends = _inputs(tree, arch, context)
        _check_out(depends, source, context)
        requested = room / "requested"
        requested.write_text(asked)
        make = Make(source, output, context.deadline, log, context.workspace.cache, arch=arch)
        make.run([f"KCONFIG_ALLCONFIG={requested}", "allnoconfig"])
        text = (output / ".config").read_text()
        missed = {request.symbol for request in fragments.unmet(requests, text)}
        known = missed & defined(source, depends) if missed else missed
        unmet = explain(known, output / ".config", source, make.kconfig()) if known else {}
        return _Made(text=text, unknown=tuple(sorted(missed - unmet.keys())), unmet=unmet)


def _check_out(entries: Iterable[str], target: Path, context: Context) -> None:
    """Write some files of a tree, as `git ls-tree` lists them, into an empty directory."""
    listing, index = target.with_name("entries"), target.with_name("index")
    listing.write_text("".join(f"{entry}\n" for entry in entries))
    store, deadline = Store.of(context), context.deadline
    store.git(["update-index", "--index-info"], deadline, index=index, stdin=listing)
    store.git(["checkout-index", "--all"], deadline, index=index, work_tree=target)


def _account(requests: Iterable[ConfigRequest], made: _Made, version: str) -> tuple[str, ...]:
    """Return a note for each request that a configuration may leave unmet, and does.

    Raises:
        ConfigError: naming every other symbol that is missing and its unmet dependency.
    """
    reasons = dict.fromkeys(made.unknown, f"is unknown to kernel {version}") | made.unmet
    missed = [request for request in requests if request.symbol in reasons]

    def line(request: ConfigRequest) -> str:
        needed = f" (the harness needs it: {request.reason})" if request.reason else ""
        asked = f"CONFIG_{request.symbol}={request.value} ({request.where})"
        return f"{asked} {reasons[request.symbol]}{needed}"

    def may_lack(request: ConfigRequest) -> bool:
        is_unknown = request.symbol in made.unknown
        return request.need == "optional" or (request.need == "if known" and is_unknown)

    refused = [line(request) for request in missed if not may_lack(request)]
    if refused:
        raise ConfigError(
            f"this kernel cannot have the requested configuration: {'; '.join(refused)}",
            hint="request the dependency too, or turn the symbol off in a fragment of your own",
        )
    return tuple(line(request) for request in missed)


def defined(source: Path, depends: Iterable[str]) -> set[str]:
    """Return every symbol that a Kconfig file of a source defines, for any architecture."""
    paths = (Path(source, line.partition("\t")[2]) for line in depends)
    texts = (path.read_text(errors="replace") for path in paths if path.name.startswith("Kconfig"))
    return {name for text in texts for name in _DEFINES.findall(text)}


def explain(
    symbols: Iterable[str], config: Path, source: Path, tools: Mapping[str, str]
) -> dict[str, str]:
    """Return for each symbol of this architecture what it became and why.

    Args:
        symbols: names without ``CONFIG_``.
        config: the final ``.config``.
        source: the kernel's source.
        tools: the variables that the kernel's Makefile gives to Kconfig: ARCH, CC, LD ...
    """
    import kconfiglib  # 60 ms, needed only for a missing symbol

    try:
        kconfig = _load(config, source, tools)
    except kconfiglib.KconfigError as error:  # syntax newer than `modernised`
        got, why = fragments.values(config.read_text()), " ".join(str(error).split())
        return {
            name: f"became {got.get(name, 'n')}: the reason is unknown, kconfiglib fails: {why}"
            for name in symbols
        }
    found = {name: kconfig.syms.get(name) for name in symbols}
    return {
        name: f"became {symbol.str_value or 'n'}: {_reason(symbol)}"
        for name, symbol in found.items()
        if symbol and symbol.nodes
    }


def _load(config: Path, source: Path, tools: Mapping[str, str]) -> Any:
    """Return kconfiglib's model of a kernel's symbols with a configuration loaded."""
    import kconfiglib

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
        model.load_config(str(config))
    finally:
        os.environ.clear()
        os.environ.update(before)
    return model


def modernised(text: str) -> str:
    """Return Kconfig text with the syntax of newer kernels in the form of 2020.

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
