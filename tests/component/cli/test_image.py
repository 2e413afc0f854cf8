# SPDX-License-Identifier: GPL-2.0-only
"""`hgm image export` and `import`: from the cache of one host into that of another, without apt.

The image is a few bytes that claim to be made of this checkout's recipes.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.apt import Package
from harness.arch import arch, host_arch
from harness.context import Context
from harness.deadline import Deadline
from harness.image import archive, image
from harness.image.image import DISK_FILE, INITRAMFS_FILE, MANIFEST_FILE, Manifest
from harness.progress import Silent
from harness.records.base import from_json, to_json
from harness.records.machine import GuestImage
from harness.workspace import Workspace, file_digest
from tests.component.cli import test_cli

CONTENTS = {INITRAMFS_FILE: b"initramfs" * 999, DISK_FILE: b"disk" * 999}
PACKAGES = (Package(name="a", version="1", size=1, sha256="0"),)

Change = Callable[[bytes], bytes]


def put_image(cache: Path, guest: str, packages: tuple[Package, ...] = PACKAGES) -> GuestImage:
    """Put an image into a cache as if it had been made there."""
    recipes = image.read_recipes(arch(guest))
    workspace = Workspace(cache)
    with workspace.unfinished("image") as scratch:
        for name, data in CONTENTS.items():
            (scratch / name).write_bytes(data)
        manifest = Manifest(
            key=image.image_key(recipes.digest, packages),
            arch=guest,
            suite=recipes.initramfs.suite,
            recipes=recipes.digest,
            packages=packages,
            sha256=image.digests(scratch),
        )
        (scratch / MANIFEST_FILE).write_bytes(to_json(manifest))
        return image.publish(scratch, manifest, workspace)


@pytest.fixture
def hgm(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `hgm` on a host whose apt leaves a file when it is called."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("apt-get", "apt-cache", "dpkg-deb"):
        (programs / name).write_text(f"#!/bin/sh\n: >{tmp_path}/called\nexit 100\n")
        (programs / name).chmod(0o755)

    def run(cache: str, *words: str) -> subprocess.CompletedProcess[str]:
        env = {"HGM_CACHE": str(tmp_path / cache), "PATH": str(programs)}
        return test_cli.hgm(tmp_path, *words, env=env)

    return run


Hgm = Callable[..., subprocess.CompletedProcess[str]]


def files(cache: Path) -> list[Path]:
    """Return the files in a cache."""
    return [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("guest", ["x86_64", "aarch64"])
def test_an_image_of_one_cache_is_the_one_that_another_uses(
    hgm: Hgm, tmp_path: Path, guest: str
) -> None:
    made = put_image(tmp_path / "one", guest)
    exported = hgm("one", "image", "export", "--arch", guest, "guest.tar")
    assert exported.returncode == 0, exported.stderr
    imported = hgm("two", "image", "import", "guest.tar")
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout == exported.stdout
    assert exported.stdout.splitlines() == [
        f"image    {made.key}",
        f"made of  1 packages of Debian {image.read_recipes(arch(guest)).initramfs.suite}",
        f"sha256   {file_digest(tmp_path / 'guest.tar')}  guest.tar",
    ]
    context = Context(Workspace(tmp_path / "two"), Deadline.after(60, "the test"), Silent())
    used = image.obtain(arch(guest), context)
    assert used.key == made.key
    for name in (INITRAMFS_FILE, DISK_FILE, MANIFEST_FILE):
        theirs = Path(used.manifest).with_name(name)
        assert theirs.read_bytes() == Path(made.manifest).with_name(name).read_bytes()
    built = hgm("two", "image", "build", "--arch", guest)
    assert built.stdout.splitlines() == [used.initramfs, used.disk], built.stderr
    assert not (tmp_path / "called").exists()


def test_an_imported_image_takes_the_place_of_the_one_before(hgm: Hgm, tmp_path: Path) -> None:
    newer = msgspec.structs.replace(PACKAGES[0], version="2", sha256="1")
    guest = host_arch().name
    made = put_image(tmp_path / "one", guest, (newer,))
    before = put_image(tmp_path / "two", guest)
    archive.write(made, tmp_path / "guest.tar")
    assert hgm("two", "image", "import", "guest.tar").returncode == 0
    built = hgm("two", "image", "build")
    assert built.stdout.splitlines()[0] == str(
        Path(before.initramfs).parent.with_name(made.key) / INITRAMFS_FILE
    )


def damaged(data: bytes) -> bytes:
    """Return an archive with a byte of its disk changed."""
    place = data.index(CONTENTS[DISK_FILE])
    return data[:place] + b"D" + data[place + 1 :]


def of_other_recipes(data: bytes) -> bytes:
    """Return an archive with an image that is whole, and was made of other recipes."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {one.name: tar.extractfile(one) for one in tar.getmembers()}
        contents = {name: one.read() for name, one in members.items() if one is not None}
    manifest = from_json(contents[MANIFEST_FILE], Manifest)
    other = msgspec.structs.replace(
        manifest, recipes="other", key=image.image_key("other", manifest.packages)
    )
    contents[MANIFEST_FILE] = to_json(other)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in contents.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (damaged, "guest.tar is damaged: its files do not have the digests of its manifest.json"),
        (lambda data: data[: len(data) // 2], "guest.tar is not an image: "),
        (lambda data: data[:512], "guest.tar is not an image: "),
        (of_other_recipes, "guest.tar was made by another version of hgm"),
        (lambda _data: b"<html>404 Not Found</html>\n" * 99, "guest.tar is not an image: "),
        (lambda _data: b"", "guest.tar is not an image: "),
    ],
    ids=["damaged", "truncated", "its header alone", "other recipes", "a web page", "empty"],
)
def test_what_is_not_the_image_is_refused_in_a_line_and_leaves_nothing(
    hgm: Hgm, tmp_path: Path, change: Change, said: str
) -> None:
    archive.write(put_image(tmp_path / "one", host_arch().name), tmp_path / "guest.tar")
    whole = (tmp_path / "guest.tar").read_bytes()
    (tmp_path / "guest.tar").write_bytes(change(whole))
    done = hgm("two", "image", "import", "guest.tar")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert said in line
    assert files(tmp_path / "two") == []


def test_a_file_that_cannot_be_written_is_said_in_a_line(hgm: Hgm, tmp_path: Path) -> None:
    put_image(tmp_path / "one", host_arch().name)
    done = hgm("one", "image", "export", "/proc/nope/guest.tar")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "cannot write /proc/nope/guest.tar" in line
