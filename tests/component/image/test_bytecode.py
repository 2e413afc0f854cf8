# SPDX-License-Identifier: GPL-2.0-only
"""Byte code by the guest's own Python, twice, from the smallest packages that hold one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import CommandFailed
from harness.image import bytecode, packages, recipe, tree
from harness.image.packages import HostApt
from harness.image.tree import Entry
from harness.progress import Silent

LIBRARY = "usr/lib/python3.11"


@pytest.fixture
def deadline() -> Deadline:
    return Deadline.after(300, "the test")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Entry]:
    """Return a Python's tree with a library that is cut down to what its compiler needs."""
    deadline = Deadline.after(300, "the packages")
    home = tmp_path_factory.mktemp("apt")
    apt = HostApt(home, "amd64")
    names = {"python3-minimal", "python3.11-minimal", "libpython3.11-minimal", "libc6", "libexpat1"}
    resolved = apt.resolve(["python3-minimal"], deadline)
    wanted = [one for one in resolved if one.name in names | {"zlib1g"}]
    trees = packages.fetch(apt, wanted, home / "data.tar", deadline, Silent())
    moves = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"}
    return tree.overlay((name, recipe.moved(one, moves)) for name, one in trees.items())


def test_each_source_gets_byte_code_that_is_never_stale(
    python: dict[str, Entry], tmp_path: Path, deadline: Deadline
) -> None:
    made = bytecode.compiled(python, [LIBRARY], tmp_path / "one", deadline)
    sources = {path for path in python if path.startswith(LIBRARY) and path.endswith(".py")}
    compiled = {path: made[path] for path in made.keys() - python.keys() if path.endswith(".pyc")}
    assert len(compiled) == len(sources) > 50
    flags = {entry.data[4:8] for entry in compiled.values()}
    assert flags == {b"\x01\0\0\0"}  # PEP 552: by the source's hash, and not checked
    assert not any(str(tmp_path).encode() in entry.data for entry in compiled.values())


def test_the_same_sources_make_the_same_bytes(
    python: dict[str, Entry], tmp_path: Path, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bytecode.compiled(python, [f"{LIBRARY}/collections"], tmp_path / "one", deadline)
    # What `hgm` sets for itself, and what tox does not hand on: neither may reach the compiler.
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "prefix"))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    two = bytecode.compiled(python, [f"{LIBRARY}/collections"], tmp_path / "elsewhere", deadline)
    different = [path for path in one.keys() | two.keys() if one.get(path) != two.get(path)]
    assert different == []
    assert one.keys() > python.keys()


def test_a_source_that_does_not_compile(
    python: dict[str, Entry], tmp_path: Path, deadline: Deadline
) -> None:
    bad = tree.file("usr/lib/mine/bad.py", b"def\n")
    with pytest.raises(CommandFailed, match="SyntaxError"):
        bytecode.compiled({**python, bad.path: bad}, ["usr/lib/mine"], tmp_path / "x", deadline)
