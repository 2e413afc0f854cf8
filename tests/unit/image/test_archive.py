# SPDX-License-Identifier: GPL-2.0-only
"""Archives that are not images, or not the image that their manifest describes."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.apt import Package
from harness.arch import Arch
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import UserError
from harness.image import archive, image
from harness.image.image import DISK_FILE, INITRAMFS_FILE, MANIFEST_FILE, Manifest, Recipes
from harness.image.recipe import Recipe
from harness.progress import Silent
from harness.records.base import to_json
from harness.workspace import Workspace

CONTENTS = {INITRAMFS_FILE: b"initramfs", DISK_FILE: b"disk"}
PACKAGES = (Package(name="a", version="1", size=1, sha256="0"),)
RECIPE = Recipe(suite="trixie", packages=(), keep=())
MANIFEST = Manifest(
    key=image.image_key("ours", PACKAGES),
    suite="trixie",
    recipes="ours",
    packages=PACKAGES,
    sha256={name: hashlib.sha256(data).hexdigest() for name, data in CONTENTS.items()},
)

Change = Callable[[tarfile.TarInfo], object]


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    def ours(guest: Arch) -> Recipes:
        return Recipes(guest, RECIPE, RECIPE, {}, "ours")

    monkeypatch.setattr(image, "read_recipes", ours)
    return Context(Workspace(tmp_path / "cache"), Deadline.after(60, "the test"), Silent())


def written(home: Path, others: dict[str, bytes], manifest: Manifest = MANIFEST) -> Path:
    """Return an image whose files are as they should be but for some."""
    files = {**CONTENTS, MANIFEST_FILE: to_json(manifest), **others}
    with tarfile.open(home / "image.tar", "w") as tar:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return home / "image.tar"


def refused(source: Path, context: Context) -> str:
    """Return why a file was refused; nothing may be left of it."""
    with pytest.raises(UserError) as caught:
        archive.read(source, context)
    left = [path for path in context.workspace.cache.rglob("*") if path.is_file()]
    assert left == []
    return caught.value.line()


def test_an_image_is_what_its_manifest_says(tmp_path: Path, context: Context) -> None:
    assert archive.read(written(tmp_path, {}), context) == MANIFEST
    home = context.workspace.cache / "images" / MANIFEST.key
    assert {path.name: path.read_bytes() for path in home.iterdir()} == {
        **CONTENTS,
        MANIFEST_FILE: to_json(MANIFEST),
    }


@pytest.mark.parametrize("name", [DISK_FILE, INITRAMFS_FILE])
def test_a_changed_file_is_damage(tmp_path: Path, context: Context, name: str) -> None:
    assert "damaged" in refused(written(tmp_path, {name: b"other"}), context)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"key": "../../../etc/cron.d"}, "is damaged"),
        ({"sha256": {}}, "is damaged"),
        ({"packages": ()}, "is damaged"),
        ({"suite": "\33[2J"}, "another version of hgm"),
        ({"recipes": "theirs", "key": image.image_key("theirs", PACKAGES)}, "another version"),
    ],
)
def test_a_manifest_of_something_else(
    tmp_path: Path, context: Context, fields: dict[str, object], said: str
) -> None:
    manifest = msgspec.structs.replace(MANIFEST, **fields)
    line = refused(written(tmp_path, {}, manifest), context)
    assert said in line
    assert "\33" not in line


def test_a_manifest_that_is_not_one(tmp_path: Path, context: Context) -> None:
    assert MANIFEST_FILE in refused(written(tmp_path, {MANIFEST_FILE: b"{}"}), context)


@pytest.mark.parametrize("name", ["../../outside", "/outside", "also"])
def test_a_file_too_many(tmp_path: Path, context: Context, name: str) -> None:
    assert "is not an image" in refused(written(tmp_path, {name: b""}), context)
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["image.tar"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, b"S"])
def test_a_file_that_is_not_plain(tmp_path: Path, context: Context, kind: bytes) -> None:
    source = written(tmp_path, {})
    with tarfile.open(source) as tar:
        place = tar.getmember(DISK_FILE).offset
    data = bytearray(source.read_bytes())
    header = tarfile.TarInfo(DISK_FILE)
    header.type, header.size, header.linkname = kind, len(CONTENTS[DISK_FILE]), MANIFEST_FILE
    data[place : place + 512] = header.tobuf(tarfile.GNU_FORMAT)
    source.write_bytes(data)
    assert "is not an image" in refused(source, context)


@pytest.mark.parametrize("data", [b"", b"\0" * 10240, b"\x1f\x8b\x08\0" * 300, os.urandom(2000)])
def test_what_is_not_a_tar(tmp_path: Path, context: Context, data: bytes) -> None:
    (tmp_path / "image.tar").write_bytes(data)
    assert "is not an image" in refused(tmp_path / "image.tar", context)


def test_half_a_download(tmp_path: Path, context: Context) -> None:
    source = written(tmp_path, {INITRAMFS_FILE: b"x" * 4096})
    source.write_bytes(source.read_bytes()[:2000])
    assert "is not an image" in refused(source, context)


def test_a_file_that_is_not_there(tmp_path: Path, context: Context) -> None:
    assert refused(tmp_path / "image.tar", context) == (
        f"cannot read {tmp_path / 'image.tar'}: No such file or directory"
    )
