# SPDX-License-Identifier: GPL-2.0-only
"""Our cpio writer against the cpio program, and the run's archive behind the image's."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from harness import command
from harness.deadline import Deadline
from harness.image import cpio, tree
from harness.image.overlay import OverlayFile, overlay_archive

ENTRIES = tree.with_parents(
    {
        entry.path: entry
        for entry in (
            tree.file("init", b"#!/bin/sh\n" * 1000, 0o755),
            tree.file("empty", b""),
            tree.link("bin/sh", "busybox"),
            tree.directory("tmp", 0o1777),
            tree.character_device("dev/console", 5, 1),
        )
    }
)


def cpio_program(archive: Path, *arguments: str) -> str:
    done = command.run(
        ["cpio", "--quiet", *arguments],
        Deadline.after(30, "cpio"),
        cwd=archive.parent,
        stdin=archive,
    )
    return done.stdout


def test_the_listing(tmp_path: Path) -> None:
    archive = tmp_path / "a.cpio"
    archive.write_bytes(cpio.archive(ENTRIES.values()))
    listing = cpio_program(archive, "-t", "-v", "--numeric-uid-gid")
    lines = {line.split("1970 ")[1]: line.split() for line in listing.splitlines()}
    assert list(lines) == ["bin", "bin/sh -> busybox", "dev", "dev/console", "empty", "init", "tmp"]
    assert {name: fields[0] for name, fields in lines.items()} == {
        "bin": "drwxr-xr-x",
        "bin/sh -> busybox": "lrwxrwxrwx",
        "dev": "drwxr-xr-x",
        "dev/console": "crw-------",
        "empty": "-rw-r--r--",
        "init": "-rwxr-xr-x",
        "tmp": "drwxrwxrwt",
    }
    assert all(fields[2:4] == ["0", "0"] for fields in lines.values())
    assert lines["dev/console"][4:6] == ["5,", "1"]


def test_the_contents(tmp_path: Path) -> None:
    archive = tmp_path / "a.cpio"
    archive.write_bytes(cpio.archive([ENTRIES["init"], ENTRIES["empty"]]))
    cpio_program(archive, "-i")
    assert (tmp_path / "init").read_bytes() == ENTRIES["init"].data
    assert (tmp_path / "empty").read_bytes() == b""


def test_an_overlay_follows_the_image(tmp_path: Path) -> None:
    base = cpio.archive(ENTRIES.values())
    (tmp_path / "here").write_bytes(b"x")
    second = overlay_archive([OverlayFile("/probes/x", tmp_path / "here", 0o755)])
    archive = tmp_path / "second.cpio"
    archive.write_bytes(b"".join(second))
    assert len(base) % 4 == 0
    assert cpio_program(archive, "-t").split() == ["probes", "probes/x"]
    cpio_program(archive, "-i")
    assert (tmp_path / "probes/x").read_bytes() == b"x"


def test_files_of_the_host_are_read_one_at_a_time(tmp_path: Path) -> None:
    large, count = 4 << 20, 20
    files = []
    for number in range(count):
        (tmp_path / f"{number}").write_bytes(bytes(large))
        files.append(OverlayFile(f"/probes/{number}", tmp_path / f"{number}"))
    tracemalloc.start()
    written = sum(map(len, overlay_archive(files)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written > count * large
    assert peak < 4 * large
