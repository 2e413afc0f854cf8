# SPDX-License-Identifier: GPL-2.0-only
"""Files and directories as archives: the same content has the same bytes, and so the same hash."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Container, Mapping
from pathlib import Path, PurePosixPath

from harness.errors import InfrastructureError


def packed(root: Path, skip: Container[str] = ()) -> bytes:
    """Return an uncompressed tar of a file, or of the files in a directory.

    Args:
        root: the file or directory.
        skip: names of files and directories in it that are left out, with all below them.
    """
    files: dict[str, tuple[bytes, int]] = {}
    for path in [root] if root.is_file() else sorted(root.rglob("*")):
        name = path.relative_to(root) if root.is_dir() else Path(path.name)
        if path.is_file() and not path.is_symlink() and not any(p in skip for p in name.parts):
            files[str(name)] = path.read_bytes(), path.stat().st_mode & 0o755
    return packed_files(files)


def packed_files(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """Return an uncompressed tar of files: contents and permissions by name."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return whole.getvalue()


def unpack(data: bytes, target: Path, skip: Container[str] = ()) -> None:
    """Write the files of an archive below a directory.

    Args:
        data: what `packed` returned.
        target: an existing directory.
        skip: paths of files that are not written.

    Raises:
        InfrastructureError: if it is not such an archive.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for entry in tar:
                name = PurePosixPath(entry.name)
                contents = tar.extractfile(entry) if entry.type == tarfile.REGTYPE else None
                if contents is None or name.is_absolute() or ".." in name.parts:
                    raise InfrastructureError(f"{entry.name!r} does not belong in an archive")
                if str(name) not in skip:
                    _write(target / name, contents.read(), entry.mode & 0o755)
    except (tarfile.TarError, ValueError) as error:
        raise InfrastructureError(f"what another host sent is damaged: {error}") from None


def member(data: bytes, name: str) -> bytes:
    """Return one file of an archive.

    Raises:
        InfrastructureError: if it has no such file.
    """
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        try:
            contents = tar.extractfile(name)
        except KeyError:
            contents = None
        if contents is None:
            raise InfrastructureError(f"another host sent no {name}")
        return contents.read()


def _write(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
