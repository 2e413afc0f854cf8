# SPDX-License-Identifier: GPL-2.0-only
"""The final ``.config`` of a source and its fragments, and the reason for each request not met.

Kconfig takes seconds, so what it made is kept in the cache, by all that it depends on::

    configs/KEY.json              a final configuration and what it lacks of what was requested
    sources/kconfig-ARCH-TREE     hash of the files of a git tree that Kconfig reads
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from harness import cache
from harness.arch import Arch
from harness.context import Context
from harness.errors import ConfigError
from harness.kernel import fragments, kconfig, toolchain
from harness.kernel.fragments import ConfigRequest, Fragment
from harness.kernel.git import Store
from harness.kernel.kconfig import SymbolFacts
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


def explain(
    names: Sequence[str],
    patched: Patched,
    wanted: Sequence[Fragment],
    arch: Arch,
    tools: str,
    context: Context,
    log: Path,
) -> tuple[SymbolFacts, ...]:
    """Return why symbols have the values that they get from fragments.

    Args:
        names: of the symbols, without ``CONFIG_``.
        patched, wanted, arch, tools, context, log: as for `configure`.

    Raises:
        SpecError: if the source has no such symbol for this architecture.
        ConfigError: if its Kconfig files cannot be read.
        KernelCompileError: as `configure`.
    """
    requests = fragments.merge(wanted)
    asked = "".join(f"{request.line()}\n" for request in requests)
    made = _make(patched.identity.tree, requests, asked, arch, tools, context, log)
    with _scratch(_inputs(patched.identity.tree, arch, context), arch, context, log) as make:
        return kconfig.facts(names, requests, made.text, make)


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
    depends = _inputs(tree, arch, context)
    with _scratch(depends, arch, context, log) as make:
        requested = make.build / "requested"
        requested.write_text(asked)
        make.run([f"KCONFIG_ALLCONFIG={requested}", "allnoconfig"])
        text = (make.build / ".config").read_text()
        missed = {request.symbol for request in fragments.unmet(requests, text)}
        known = missed & defined(make.source, depends) if missed else missed
        unmet = kconfig.unmet(known, text, make) if known else {}
        return _Made(text=text, unknown=tuple(sorted(missed - unmet.keys())), unmet=unmet)


@contextlib.contextmanager
def _scratch(depends: Iterable[str], arch: Arch, context: Context, log: Path) -> Iterator[Make]:
    """Yield make for a scratch copy of files of a tree, as `_inputs` lists them."""
    with context.workspace.unfinished("config") as room:
        source, output = room / "src", room / "build"
        source.mkdir()
        output.mkdir()
        _check_out(depends, source, context)
        yield Make(source, output, context.deadline, log, context.workspace.cache, arch)


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
