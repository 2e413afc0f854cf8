# SPDX-License-Identifier: GPL-2.0-only
"""dpkg as it is, on a small package of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import command
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.image import packages, tree

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
