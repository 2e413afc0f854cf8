# SPDX-License-Identifier: GPL-2.0-only
"""`hgm bundle`: an archive with which another developer can reproduce a verdict.

::

    NAME/replay.sh            does the run again with what is here: hgm replay
    NAME/result.json          the record, and all else of the run directory beside it
    NAME/ingredients.json     what the run was made of, with paths relative to NAME
    NAME/kernel/              bzImage or Image, config, vmlinux, modules
    NAME/series.patch         what the series changed in the source, as one patch
    NAME/image/manifest.json  each package of the guest image with version and SHA-256
    NAME/programs/            the probes as they lay in the guest
    NAME/source/              the sources of the probes
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from harness.deadline import Deadline
from harness.errors import CommandFailed, RecordError
from harness.kernel.git import Store
from harness.probes import catalog
from harness.records.base import to_json
from harness.records.run import Ingredients, RunRecord
from harness.store import rundir
from harness.store.rundir import INGREDIENTS
from harness.workspace import Workspace, file_digest

_REPLAY = Path(__file__).with_name("replay.sh")

#: How hard xz tries: a kernel and its symbols in some seconds.
_PRESET: Literal[2] = 2


def write(
    run_dir: Path, target: Path, workspace: Workspace, deadline: Deadline, *, vmcores: bool
) -> tuple[str, ...]:
    """Write the archive of a run, whole or not at all, and return what is missing in it.

    Args:
        run_dir: the run.
        target: the archive, a ``.tar.xz``.
        workspace: the cache that the run's parts lie in.
        deadline: when it must be written.
        vmcores: whether memory dumps go in.

    Raises:
        RecordError: if the run, its kernel or a probe's program is not there any more.
    """
    record, made_of = rundir.load(run_dir), rundir.load_ingredients(run_dir)
    _check(made_of)
    missing: list[str] = []
    name = target.name.removesuffix(".xz").removesuffix(".tar")
    part = target.with_name(f".{target.name}.part")
    try:
        with tarfile.open(part, "w:xz", preset=_PRESET) as archive:
            _add(archive, f"{name}/replay.sh", _REPLAY.read_bytes(), 0o755)
            _add(archive, f"{name}/{INGREDIENTS}", to_json(_relative(made_of)))
            for path, inside in _files(run_dir, made_of, vmcores=vmcores):
                deadline.check()
                archive.add(path, f"{name}/{inside}", recursive=False, filter=_anonymous)
            patch = _series(record, workspace, deadline, missing)
            if patch:
                _add(archive, f"{name}/series.patch", patch)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return tuple(missing)


def _check(made_of: Ingredients) -> None:
    """Refuse if a file is gone or has changed since: the bundle would not be that run's."""
    for name, path in made_of.programs.items():
        if not Path(path).is_file():
            raise RecordError(f"{path}, which ran as {name}, is gone", hint="do the run again")
        if file_digest(Path(path)) != made_of.digests[name]:
            raise RecordError(
                f"{path}, which ran as {name}, has changed since", hint="do the run again"
            )
    for path in (made_of.kernel.image, made_of.image.manifest):
        if not Path(path).is_file():
            raise RecordError(f"{path} is not in the cache any more", hint="do the run again")


def _relative(made_of: Ingredients) -> Ingredients:
    """Return the ingredients with the paths that they have in the bundle."""
    kernel = msgspec.structs.replace(
        made_of.kernel,
        image=f"kernel/{Path(made_of.kernel.image).name}",
        modules="kernel/modules" if made_of.kernel.modules else "",
        config="kernel/config" if made_of.kernel.config else "",
        vmlinux="kernel/vmlinux" if made_of.kernel.vmlinux else "",
        headers="",
        coverage="",
    )
    image = msgspec.structs.replace(
        made_of.image, initramfs="", disk="", manifest="image/manifest.json"
    )
    programs = {name: f"programs/{name}" for name in made_of.programs}
    return msgspec.structs.replace(made_of, kernel=kernel, image=image, programs=programs)


def _files(run_dir: Path, made_of: Ingredients, *, vmcores: bool) -> Iterator[tuple[Path, str]]:
    """Yield each file of the bundle with its path inside."""
    for path in sorted(run_dir.rglob("*")):
        inside = path.relative_to(run_dir)
        wanted = vmcores or path.name != "vmcore"
        if path.is_file() and wanted and not path.name.startswith(".") and path.name != INGREDIENTS:
            yield path, str(inside)
    kernel = made_of.kernel
    modules = sorted(Path(kernel.modules).iterdir()) if kernel.modules else ()
    for made in filter(None, (kernel.image, kernel.config)):
        yield Path(made), f"kernel/{Path(made).name}"
    for module in modules:
        yield module, f"kernel/modules/{module.name}"
    if kernel.vmlinux and Path(kernel.vmlinux).is_file():
        yield Path(kernel.vmlinux), "kernel/vmlinux"
    yield Path(made_of.image.manifest), "image/manifest.json"
    for name, program in made_of.programs.items():
        yield Path(program), f"programs/{name}"
    for source in sorted({spec.source for spec in made_of.specs}):
        yield from ((file, _inside(file)) for file in catalog.files(source) if file.is_file())
    for library in (catalog.PROBES / "c/hgm_probe.h", *sorted(catalog.PROBES.glob("c/lib/*.c"))):
        yield library, _inside(library)


def _inside(file: Path) -> str:
    return f"source/{file.relative_to(catalog.PROBES)}"


def _series(
    record: RunRecord, workspace: Workspace, deadline: Deadline, missing: list[str]
) -> bytes:
    """Return the changes of the series as one patch; empty without a series, or if unknown."""
    kernel = record.kernel
    if kernel is None or not kernel.series.patches:
        return b""
    try:
        trees = [kernel.source.tree, kernel.series.tree]
        diff = Store(workspace.cache / "sources.git").git(["diff", *trees], deadline)
    except CommandFailed as error:
        missing.append(f"series.patch: {error.message}")
        return b""
    return diff.stdout.encode(errors="surrogateescape")


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return an entry without the user's name."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
