# SPDX-License-Identifier: GPL-2.0-only
"""From a configured build directory to a finished kernel, whatever ended the build before."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError
from harness.kernel.make import Make
from harness.progress import Progress
from harness.workspace import boot_id

#: In a build directory: there while make may be writing.
MARKER = ".hgm-building"


@contextlib.contextmanager
def guarded(build: Path) -> Iterator[None]:
    """Hold a build directory so that whatever ends the work in it leaves no trap for the next.

    A marker file stands while make may be writing. One that is found on the way in means that a
    run was cut; what it had not finished is removed.
    """
    marker = build / MARKER
    if marker.exists():
        mend(build, marker)
    marker.write_text(boot_id())
    try:
        yield
    except UserError:
        marker.unlink()  # make ended by itself, and had removed what it had not finished
        raise
    marker.unlink()


def compile_kernel(make: Make, headers: Path, progress: Progress) -> None:
    """Build bzImage and install the UAPI headers.

    Args:
        make: for the source and build directory.
        headers: receives ``include``.
        progress: is told of the objects.
    """
    full = not (make.build / "vmlinux").exists()
    install = f"INSTALL_HDR_PATH={headers}"
    objects = make.run([install, "bzImage", "headers_install"], progress)
    if full:
        make.remember(objects)


def mend(build: Path, marker: Path) -> None:
    """Remove from a build directory what an interrupted make may have left half-written.

    If the host has been started anew since, nothing in the directory can be trusted to have
    reached the disk, and all of it goes.
    """
    if marker.read_text() != boot_id():
        shutil.rmtree(build)
        build.mkdir()
        return
    for path in list(half_written(build, marker.stat().st_mtime_ns)):
        path.unlink(missing_ok=True)


def half_written(build: Path, since: int) -> Iterator[Path]:
    """Yield the files that make began after ``since`` and did not provably finish.

    Kbuild writes ``.NAME.cmd`` after it has made NAME, and removes ``.NAME.d`` after that
    (scripts/Kbuild.include: cmd_and_fixdep). Without a ``.cmd`` of its own a file was finished
    only if Kbuild moved it into place, as it does with headers.

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


def collect(directory: Path, new: Path) -> None:
    """Copy what a finished build made into a new cache entry."""
    parts = {"arch/x86/boot/bzImage": "bzImage", "vmlinux": "vmlinux"}
    parts |= {"System.map": "System.map", ".config": "config"}
    for made, name in parts.items():
        shutil.copyfile(directory / made, new / name)
