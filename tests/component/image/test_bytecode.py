# SPDX-License-Identifier: GPL-2.0-only
"""Byte code by the guest's own Python, twice, from the smallest packages that hold one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from harness import apt
from harness.apt import Apt
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import CommandFailed
from harness.image import bytecode, packages, tree
from harness.image.programs import Programs
from harness.image.tree import Entry
from harness.progress import Silent
from harness.workspace import Workspace

LIBRARY = "usr/lib/python3.13"


@pytest.fixture
def deadline() -> Deadline:
    return Deadline.after(300, "the test")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Entry]:
    """Return a Python's tree with a library that is cut down to what its compiler needs."""
    home = tmp_path_factory.mktemp("python")
    context = Context(Workspace(home), Deadline.after(300, "the packages"), Silent())
    archive = Apt(apt.release("trixie"), context)
    names = {"python3-minimal", "python3.13-minimal", "libpython3.13-minimal", "libc6", "libexpat1"}
    resolved = archive.resolve(["python3-minimal"])
    wanted = [one for one in resolved if one.name in names | {"zlib1g"}]
    (home / "debs").mkdir()
    debs = archive.download(wanted, home / "debs")
    return tree.overlay(
        (name, packages.contents(deb, home / "data.tar", context.deadline))
        for name, deb in debs.items()
    )


def compiled(
    source: dict[str, Entry], directory: str, home: Path, deadline: Deadline
) -> dict[str, Entry]:
    return bytecode.compiled(source, [directory], home, Programs(source, home), deadline)


def test_each_source_gets_byte_code_that_is_never_stale(
    python: dict[str, Entry], tmp_path: Path, deadline: Deadline
) -> None:
    made = compiled(python, LIBRARY, tmp_path / "one", deadline)
    sources = {
        path
        for path, entry in python.items()
        if path.startswith(LIBRARY)
        and path.endswith(".py")
        and not (stat.S_ISLNK(entry.mode) and entry.data.startswith(b"/"))
    }
    byte_code = {path: made[path] for path in made.keys() - python.keys() if path.endswith(".pyc")}
    assert len(byte_code) == len(sources) > 50
    flags = {entry.data[4:8] for entry in byte_code.values()}
    assert flags == {b"\x01\0\0\0"}  # PEP 552: by the source's hash, and not checked
    assert not any(str(tmp_path).encode() in entry.data for entry in byte_code.values())


def test_the_same_sources_make_the_same_bytes(
    python: dict[str, Entry], tmp_path: Path, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = compiled(python, f"{LIBRARY}/collections", tmp_path / "one", deadline)
    # What `hgm` sets for itself, and what tox does not hand on: neither may reach the compiler.
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "prefix"))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    two = compiled(python, f"{LIBRARY}/collections", tmp_path / "elsewhere", deadline)
    different = [path for path in one.keys() | two.keys() if one.get(path) != two.get(path)]
    assert different == []
    assert one.keys() > python.keys()


def test_a_source_that_is_not_in_the_tree_gets_none(
    python: dict[str, Entry], tmp_path: Path, deadline: Deadline
) -> None:
    programs = Programs(python, tmp_path / "programs")
    left_out = f"{LIBRARY}/collections/abc.py"
    source = {path: entry for path, entry in python.items() if path != left_out}
    made = bytecode.compiled(source, [f"{LIBRARY}/collections"], programs.root, programs, deadline)
    names = {path.rpartition("/")[2] for path in made if path.endswith(".pyc")}
    assert names == {"__init__.cpython-313.pyc"}


def test_a_link_to_a_file_of_the_host_is_not_followed(
    python: dict[str, Entry], tmp_path: Path, deadline: Deadline
) -> None:
    hosts = tmp_path / "hosts.py"
    hosts.write_text("")
    link = tree.link(f"{LIBRARY}/collections/hosts.py", str(hosts))
    made = compiled({**python, link.path: link}, f"{LIBRARY}/collections", tmp_path / "x", deadline)
    assert made[link.path] == link
    assert not any("hosts.cpython" in path for path in made)


def test_a_source_that_does_not_compile(
    python: dict[str, Entry], tmp_path: Path, deadline: Deadline
) -> None:
    bad = tree.file("usr/lib/mine/bad.py", b"def\n")
    with pytest.raises(CommandFailed, match="SyntaxError"):
        compiled({**python, bad.path: bad}, "usr/lib/mine", tmp_path / "x", deadline)
