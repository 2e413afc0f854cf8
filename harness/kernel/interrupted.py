# SPDX-License-Identifier: GPL-2.0-only
"""A build directory after make was interrupted: what cannot be trusted is removed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError
from harness.workspace import boot_id

#: In a build directory: exists while make may be writing.
MARKER = ".hgm-building"


@contextlib.contextmanager
def guarded(build: Path) -> Iterator[None]:
    """Mark a build directory as being written to, and clean up what an interrupted run left.

    The marker file remains if the process is killed. Finding one means that the last run was
    interrupted.
    """
    marker = build / MARKER
    if marker.exists():
        _remove_unfinished(build, marker)
    marker.write_text(boot_id())
    try:
        yield
    except UserError:
        marker.unlink()  # make exited by itself and had removed its unfinished targets
        raise
    marker.unlink()


def _remove_unfinished(build: Path, marker: Path) -> None:
    """Remove the files that an interrupted make may have left half-written.

    After a reboot of the host no file in the directory is known to have reached the disk, so all of
    it is removed.
    """
    if marker.read_text() != boot_id():
        shutil.rmtree(build)
        build.mkdir()
        return
    for path in list(half_written(build, marker.stat().st_mtime_ns)):
        path.unlink(missing_ok=True)


def half_written(build: Path, since: int) -> Iterator[Path]:
    """Yield the files that make wrote after ``since`` and did not provably finish.

    Kbuild writes ``.NAME.cmd`` after it has made NAME and removes ``.NAME.d`` after that
    (scripts/Kbuild.include: cmd_and_fixdep). A file without a ``.cmd`` is finished only if Kbuild
    moved it into place, as it does with headers.

    Args:
        build: the output directory.
        since: nanoseconds since the epoch, on the file system's clock.
    """
    for directory, _, files in os.walk(build):
        names = set(files)
        for name in files:
            path = Path(directory, name)
            if name.endswith((".cmd", ".d")) or path.is_symlink():
                continue
            made = path.stat().st_mtime_ns
            if made < since:
                continue
            record = Path(directory, f".{name}.cmd")
            if record.name not in names:
                if _is_object(path):
                    yield path
            elif record.stat().st_mtime_ns < made or f".{name}.d" in names:
                yield path


def _is_object(path: Path) -> bool:
    return path.suffix in (".o", ".a", ".so", ".bin") or os.access(path, os.X_OK)
