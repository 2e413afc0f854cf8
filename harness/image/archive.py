# SPDX-License-Identifier: GPL-2.0-only
"""A guest image as one file, for hosts that cannot make one: an uncompressed tar of its files.

Two exports of the same image have the same bytes. An imported file is not trusted: it holds the
three files of an image and nothing else, and they must have the digests in its manifest.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import msgspec

from harness.arch import arch
from harness.context import Context
from harness.errors import UserError
from harness.image import image, tree
from harness.image.image import DISK_FILE, INITRAMFS_FILE, MANIFEST_FILE, Manifest
from harness.records.base import from_json
from harness.records.machine import GuestImage
from harness.workspace import atomic_write

_FILES = (DISK_FILE, INITRAMFS_FILE, MANIFEST_FILE)


def write(guest_image: GuestImage, target: Path) -> Manifest:
    """Write an image to a file, which appears whole or not at all, and return its manifest.

    Raises:
        UserError: if it cannot be written.
    """
    home = Path(guest_image.manifest).parent
    files = {name: (home / name).read_bytes() for name in _FILES}
    archive = io.BytesIO()
    tree.write_tar({name: tree.file(name, data) for name, data in files.items()}, archive)
    try:
        atomic_write(target, archive.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}") from None
    return from_json(files[MANIFEST_FILE], Manifest)


def read(source: Path, context: Context) -> Manifest:
    """Put the image in a file into the cache as the one to use, and return its manifest.

    Raises:
        UserError: if the file cannot be read, is not an image or is damaged, or if its image was
            made of other recipes than this checkout's.
    """
    files = _files(source)
    try:
        manifest = from_json(files[MANIFEST_FILE], Manifest)
    except msgspec.MsgspecError as error:
        raise UserError(f"{source}: {MANIFEST_FILE}: {error}") from None
    digests = {name: _sha256(files[name]) for name in (INITRAMFS_FILE, DISK_FILE)}
    if digests != manifest.sha256 or manifest.key != image.image_key(
        manifest.recipes, manifest.packages
    ):
        raise UserError(
            f"{source} is damaged: its files do not have the digests of its {MANIFEST_FILE}",
            hint="copy it again",
        )
    recipes = image.read_recipes(arch(manifest.arch))
    if (manifest.recipes, manifest.suite) != (recipes.digest, recipes.initramfs.suite):
        raise UserError(
            f"{source} was made by another version of hgm, whose guest image is not the same",
            hint="export it with this version",
        )
    with context.workspace.unfinished("image") as scratch:
        for name, data in files.items():
            (scratch / name).write_bytes(data)
        image.publish(scratch, manifest, context.workspace)
    return manifest


def _files(source: Path) -> dict[str, bytes]:
    """Return the contents of the three files in an archive."""
    try:
        with source.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            members = tar.getmembers()
            # A link or a sparse file can stand for more bytes than the archive has.
            plain = all(one.type == tarfile.REGTYPE and not one.issparse() for one in members)
            if not plain or sorted(one.name for one in members) != sorted(_FILES):
                raise UserError(f"{source} is not an image: it must hold {', '.join(_FILES)} only")
            contents = ((one.name, tar.extractfile(one)) for one in members)
            return {name: data.read() for name, data in contents if data is not None}
    except (tarfile.TarError, ValueError) as error:
        raise UserError(
            f"{source} is not an image: {error}", hint="`hgm image export FILE` writes one"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror}") from None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
