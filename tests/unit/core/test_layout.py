# SPDX-License-Identifier: GPL-2.0-only
"""Which parts of the harness may import which."""

import ast
from pathlib import Path

import harness

ROOT = Path(harness.__file__).parent

#: What starts processes or talks to a guest.
IMPURE = {
    "subprocess",
    "harness.command",
    "harness.evidence",
    "harness.image",
    "harness.kernel",
    "harness.run",
    "harness.vm",
}


def imports(path: Path) -> set[str]:
    """Return what a module imports: modules by their whole name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def modules() -> dict[str, set[str]]:
    """Return every module of the harness with what it imports."""
    named = {
        ".".join(("harness", *path.relative_to(ROOT).with_suffix("").parts)): path
        for path in ROOT.rglob("*.py")
    }
    return {name.removesuffix(".__init__"): imports(path) for name, path in named.items()}


def test_judge_reaches_nothing_that_starts_a_process() -> None:
    known = modules()
    reached: set[str] = set()
    todo = {name for name in known if name.startswith("harness.judge")}
    assert "harness.judge.probe_verdict" in todo
    while todo:
        reached |= todo
        todo = {each for name in todo for each in known.get(name, ())} - reached
    bad = {each for each in reached if any(f"{each}.".startswith(f"{no}.") for no in IMPURE)}
    assert bad == set()


def test_no_two_packages_import_each_other() -> None:
    packages = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert {"judge", "vm", "image"} <= packages
    pairs = {
        (name.split(".")[1], each.split(".")[1])
        for name, found in modules().items()
        for each in found
        if name.count(".") > 1 and each.startswith("harness.")
    }
    mutual = {(one, two) for one, two in pairs if one < two and (two, one) in pairs}
    assert {pair for pair in mutual if packages.issuperset(pair)} == set()
