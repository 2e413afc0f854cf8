# SPDX-License-Identifier: GPL-2.0-only
"""apt and dpkg as they are: a small package of our own, and lists that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import command
from harness.apt import Package, verify
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, InfrastructureError
from harness.image import packages, tree
from harness.image.packages import HostApt
from harness.workspace import file_digest

CONTROL = """\
Package: hello
Version: 1
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: says hello
"""


@pytest.fixture
def deadline() -> Deadline:
    return Deadline.after(60, "the test")


@pytest.fixture
def hello(tmp_path: Path, deadline: Deadline) -> Path:
    source = tmp_path / "hello"
    (source / "DEBIAN").mkdir(parents=True)
    (source / "DEBIAN/control").write_text(CONTROL)
    (source / "usr/bin").mkdir(parents=True)
    (source / "usr/bin/hello").write_text("#!/bin/sh\necho hello\n")
    (source / "usr/bin/hello").chmod(0o755)
    (source / "usr/bin/hi").symlink_to("hello")
    deb = tmp_path / "hello_1_all.deb"
    command.run(["dpkg-deb", "--build", "--root-owner-group", str(source), str(deb)], deadline)
    return deb


def test_contents(hello: Path, tmp_path: Path, deadline: Deadline) -> None:
    found = packages.contents(hello, tmp_path / "data.tar", deadline)
    assert found["usr/bin/hello"] == tree.file(
        "usr/bin/hello", b"#!/bin/sh\necho hello\n", mode=0o755
    )
    assert found["usr/bin/hi"] == tree.link("usr/bin/hi", "hello")


def test_a_truncated_package(hello: Path, tmp_path: Path, deadline: Deadline) -> None:
    hello.write_bytes(hello.read_bytes()[:-100])
    with pytest.raises(InfrastructureError, match=r"hello_1_all\.deb") as caught:
        packages.contents(hello, tmp_path / "data.tar", deadline)
    assert caught.value.exit_code == 3


def test_one_wrong_byte_is_noticed(hello: Path) -> None:
    package = Package(name="hello", version="1", size=0, sha256=file_digest(hello))
    verify(hello, package)
    damaged = bytearray(hello.read_bytes())
    damaged[-1] ^= 1
    hello.write_bytes(damaged)
    with pytest.raises(InfrastructureError, match="hello 1 arrived damaged"):
        verify(hello, package)


def test_lists_that_are_not_there(tmp_path: Path, deadline: Deadline) -> None:
    (tmp_path / "no-lists/partial").mkdir(parents=True)
    (tmp_path / "apt").mkdir()
    apt = HostApt(tmp_path / "apt", "amd64", lists=tmp_path / "no-lists")
    with pytest.raises(InfrastructureError) as caught:
        apt.resolve(["busybox-static"], deadline)
    assert caught.value.line() == (
        "apt-get: Unable to locate package busybox-static; "
        "refresh its package lists with `sudo apt-get update`"
    )


def test_a_package_that_does_not_exist(tmp_path: Path, deadline: Deadline) -> None:
    apt = HostApt(tmp_path, "amd64")
    with pytest.raises(InfrastructureError, match="Unable to locate package hgm-no-such-package"):
        apt.resolve(["hgm-no-such-package"], deadline)


def test_resolving_does_not_depend_on_what_the_host_has(tmp_path: Path, deadline: Deadline) -> None:
    names = [one.name for one in HostApt(tmp_path, "amd64").resolve(["dropbear-bin"], deadline)]
    assert {"dropbear-bin", "libc6"} <= set(names)
    assert names == sorted(names)


def test_a_deadline_ends_apt(tmp_path: Path) -> None:
    with pytest.raises(DeadlineExpired, match="the image took longer"):
        HostApt(tmp_path, "amd64").resolve(["dropbear-bin"], Deadline.after(0.01, "the image"))
