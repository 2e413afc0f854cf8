# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import io
import stat
import tarfile

import pytest

from harness.errors import UserError
from harness.image import tree
from harness.image.tree import Entry

SOME = tree.with_parents(
    {
        entry.path: entry
        for entry in (
            tree.file("usr/bin/x", b"#!/bin/sh\n", 0o4755),
            tree.link("bin", "usr/bin"),
            tree.directory("tmp", 0o1777),
        )
    }
)


def as_tar(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for header, data in members:
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def header(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


@pytest.mark.parametrize(
    ("name", "plain"),
    [("./usr/bin/x", "usr/bin/x"), ("usr//bin/", "usr/bin"), (".", ""), ("./", "")],
)
def test_plain_path(name: str, plain: str) -> None:
    assert tree.plain_path(name) == plain


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "usr/../../x"])
def test_plain_path_does_not_leave_the_tree(name: str) -> None:
    with pytest.raises(ValueError, match="leaves the tree"):
        tree.plain_path(name)


def test_parents_come_first_and_keep_the_mode_they_were_given() -> None:
    whole = tree.with_parents(
        {"root/.ssh/keys": tree.file("root/.ssh/keys", b""), "root": tree.directory("root", 0o700)}
    )
    assert list(whole) == ["root", "root/.ssh", "root/.ssh/keys"]
    assert [stat.S_IMODE(whole[path].mode) for path in ("root", "root/.ssh")] == [0o700, 0o755]


def test_overlay_takes_the_same_entry_twice_and_the_first_directory() -> None:
    first = {"a": tree.file("a", b"1"), "d": tree.directory("d", 0o700)}
    second = {"a": tree.file("a", b"1"), "d": tree.directory("d"), "b": tree.link("b", "a")}
    assert tree.overlay([("one", first), ("two", second)]) == {**second, "d": first["d"]}


@pytest.mark.parametrize(
    "other", [tree.file("a", b"2"), tree.file("a", b"1", 0o755), tree.link("a", "1")]
)
def test_overlay_refuses_what_differs(other: Entry) -> None:
    with pytest.raises(UserError, match="a of two differs from the one of one"):
        tree.overlay([("one", {"a": tree.file("a", b"1")}), ("two", {"a": other})])


def test_tar_round_trip() -> None:
    buffer = io.BytesIO()
    tree.write_tar(SOME, buffer)
    buffer.seek(0)
    assert tree.read_tar(buffer) == SOME


def test_tar_bytes_do_not_depend_on_the_order_of_the_tree() -> None:
    forward, backward = io.BytesIO(), io.BytesIO()
    tree.write_tar(SOME, forward)
    tree.write_tar(dict(reversed(SOME.items())), backward)
    assert forward.getvalue() == backward.getvalue()


def test_hard_links_become_copies() -> None:
    archive = as_tar(
        (header("./perl"), b"ELF"), (header("./perl5", tarfile.LNKTYPE, "./perl"), b"")
    )
    assert tree.read_tar(archive)["perl5"] == tree.file("perl5", b"ELF")


def test_a_package_with_a_device_is_refused() -> None:
    with pytest.raises(ValueError, match="neither file, link nor directory"):
        tree.read_tar(as_tar((header("./null", tarfile.CHRTYPE), b"")))


def test_a_truncated_archive_is_an_error() -> None:
    whole = as_tar((header("./x"), b"x" * 5000)).getvalue()
    with pytest.raises(tarfile.TarError):
        tree.read_tar(io.BytesIO(whole[:3000]))


def test_below() -> None:
    assert tree.below(SOME, "usr") == {
        "bin": tree.directory("bin"),
        "bin/x": tree.file("bin/x", b"#!/bin/sh\n", 0o4755),
    }
