# SPDX-License-Identifier: GPL-2.0-only
"""The order of the packages in ``harness/``, and the names in it: one meaning each."""

import ast
import functools
import re
from collections import defaultdict
from pathlib import Path

import pytest

import harness
from harness.arch import arches

ROOT = Path(harness.__file__).parent

#: A room is a package or a module directly in ``harness/``; it imports only what stands before it.
ORDER = (
    *("records", "errors", "arch", "sizes", "deadline", "progress", "command", "workspace"),
    *("context", "data", "host", "cache", "apt", "kernel", "image", "vm", "probes", "judge"),
    *("store", "evidence", "report", "run", "recording", "reproducer", "pipeline", "campaign"),
    *("study", "site", "cluster", "selfcheck", "doctor", "door", "cli", "pytest_plugin"),
)

#: What a room must not import although it stands before it.
FORBIDDEN = {("judge", room) for room in {*ORDER} - {"errors", "arch", "records", "judge"}} | {
    ("store", "judge"),
    ("pytest_plugin", "cli"),
    ("pytest_plugin", "selfcheck"),
}


@functools.cache
def _modules() -> tuple[tuple[Path, ast.Module], ...]:
    files = sorted(ROOT.rglob("*.py"))
    return tuple((path.relative_to(ROOT), ast.parse(path.read_text())) for path in files)


def _room(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else path.stem


def _imported(tree: ast.Module) -> set[str]:
    """Return the rooms that a module imports, wherever in it, for type checking included."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "harness":
            names |= {f"harness.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[1] for name in names if name.startswith("harness.")}


def _imports() -> dict[tuple[str, str], str]:
    """Return each pair of rooms of which the first imports the second, with a file that does."""
    return {
        (_room(path), room): str(path)
        for path, tree in _modules()
        for room in _imported(tree) - {_room(path)}
    }


def _breaks_the_rules(importer: str, imported: str) -> bool:
    return (importer, imported) in FORBIDDEN or ORDER.index(imported) >= ORDER.index(importer)


def test_every_room_has_its_place_in_the_order() -> None:
    assert {_room(path) for path, _ in _modules()} - {"__init__"} == set(ORDER)


def test_rooms_import_only_what_stands_before_them() -> None:
    broken = {pair: file for pair, file in _imports().items() if _breaks_the_rules(*pair)}
    assert broken == {}


def test_no_two_rooms_import_each_other() -> None:
    pairs = _imports().keys()
    assert {pair for pair in pairs if pair[::-1] in pairs} == set()


def test_only_the_command_line_imports_the_self_checks() -> None:
    assert {a for a, b in _imports() if b == "selfcheck"} == {"cli"}


def _named(node: ast.AST) -> str:
    """Return the name of a class, or of an alias of a type; empty for anything else."""
    if isinstance(node, ast.ClassDef):
        return node.name.lstrip("_")
    if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith(
        ("Literal[", "Callable[")
    ):
        return ast.unparse(node.targets[0]).lstrip("_")
    return ""


def test_the_name_of_a_type_means_one_thing() -> None:
    found = defaultdict(set)
    for path, tree in _modules():
        for name in {_named(node) for node in ast.walk(tree)} - {""}:
            found[name].add(str(path))
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


@pytest.mark.parametrize(
    ("text", "rooms"),
    [
        ("import harness.vm.ssh", {"vm"}),
        ("from harness import vm, host", {"vm", "host"}),
        ("def f():\n    from harness.vm.ssh import Ssh", {"vm"}),
        ("from harness.vm import ssh\nimport os", {"vm"}),
        ("import harness", set()),
    ],
)
def test_imports_are_found_wherever_they_are(text: str, rooms: set[str]) -> None:
    assert _imported(ast.parse(text)) == rooms


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("judge", "command"),
        ("judge", "evidence"),
        ("judge", "vm"),
        ("judge", "run"),
        ("store", "judge"),
        ("store", "campaign"),
        ("kernel", "run"),
        ("campaign", "cli"),
    ],
)
def test_the_rules_of_the_architecture(importer: str, imported: str) -> None:
    assert _breaks_the_rules(importer, imported)


#: Words of a string that belong to one architecture; `Image` is a usual word too.
_OF_ONE_ARCHITECTURE = re.compile(
    "|".join(
        sorted(
            {
                re.escape(word)
                for each in arches().values()
                for word in (
                    *(each.name, each.kernel, each.directory, each.debian, each.triplet),
                    *(each.image, each.linker, each.qemu, each.machine, each.console),
                    *(each.page_tables.root, each.page_tables.levels_register, each.drgn.name),
                    *each.registers.by_gdb,
                )
            }
            - {"Image"}
            # Registers, and what else the kernel prints with them.
            | {"ia32", r"\bCR\d", r"\bR(?:IP|[SB]P|[SD]I|[A-D]X)\b", "FLAGS: ", "PKRU", "TTBR"}
            | {
                "pstate",
                r"\b(?:pc|lr|sp)\b.* : ",
                r"\bx(?:29|\[0-9\])",
                "(?:ESR|FSC) = ",
                "pgtable: ",
            }
        )
    )
)

#: Files outside of the table with such strings, and why they are there.
_NAMED_OUTSIDE = {
    "records/base.py": "the architecture of records that name none",
    "judge/kernel_functions.py": "names of functions: a trace does not say whose they are",
    "judge/stacks.py": "the same, and how the kernel prints registers",
}


def _strings(tree: ast.Module) -> set[str]:
    """Return the strings in a module that are not docstrings."""
    stated = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in stated
    }


def test_architectures_are_named_in_the_table_alone() -> None:
    found = {
        str(path)
        for path, tree in _modules()
        if any(map(_OF_ONE_ARCHITECTURE.search, _strings(tree)))
    }
    assert found == _NAMED_OUTSIDE.keys()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"""For x86_64."""', False),
        ('kernel == "arm64"', True),
        ('f"{directory}/bzImage"', True),
        ('f(console="ttyAMA0,115200")', True),
        ('["qemu-system-x86"]', True),
        ('"the kernel\'s Image"', False),
        ("""re.compile(r"RSP: |(?:[RE]?[A-DS][XIP]|R[0-9]{2}): ")""", True),
        ("""re.compile(r"E?FLAGS: |CPU: ")""", True),
        ("""re.compile(r"pstate: ")""", True),
        ("""re.compile(r"(?:pc|lr|sp) : |Call trace:")""", True),
        ("""re.compile("  ESR = 0x")""", True),
        ("""re.compile(r"x[0-9]+ ?: ")""", True),
        ('read("system-registers.xml")', True),
        ('"0 bytes x4 : or more"', False),
    ],
)
def test_an_architecture_is_found_in_a_string(text: str, found: bool) -> None:
    strings = _strings(ast.parse(text))
    assert any(map(_OF_ONE_ARCHITECTURE.search, strings)) == found
