# SPDX-License-Identifier: GPL-2.0-only
"""``--kernel image:PATH``: a kernel that was built elsewhere, copied into the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from harness.arch import Arch
from harness.context import Context
from harness.errors import SourceError
from harness.kernel import boot_image, finished, modules
from harness.kernel.specs import SourceSpec
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.workspace import digest


def arch_of(spec: SourceSpec) -> Arch:
    """Return the architecture of an image.

    Raises:
        SourceError: if it cannot be read, or is not a kernel image.
    """
    return boot_image.arch_of(_read(spec, boot_image.HEADER), spec.where)


def obtain_image(spec: SourceSpec, context: Context) -> Kernel:
    """Return an image as a kernel in the cache, where no rebuild changes it.

    Raises:
        SourceError: if it cannot be read, or is not a complete kernel image.
    """
    path = Path(spec.where)
    data = _read(spec)
    guest = boot_image.arch_of(data, str(path))
    release = boot_image.release(data, str(path))
    boot_image.check_whole(data, str(path))
    text = boot_image.config_beside(path, release)
    loaded = modules.beside(path, release)
    key = digest(finished.RECIPE, data, text or "", *loaded.values())
    checksum = hashlib.sha256(data).hexdigest()
    identity = SourceIdentity(spec=spec.text, kind="image", origin=f"{path}, sha256 {checksum}")
    known = finished.recorded(context.workspace.cache / "kernels" / key)
    if known is not None:
        return msgspec.structs.replace(known, source=identity)
    if text is None:
        text = boot_image.config_inside(data, context.workspace, context.deadline)
    with context.workspace.unfinished("kernel") as new:
        (new / guest.image).write_bytes(data)
        if loaded:
            (new / "modules").mkdir()
        for number, (name, module) in enumerate(loaded.items()):
            (new / "modules" / f"{number:02}-{name}.ko").write_bytes(module)
        configuration = ConfigIdentity(known=False)
        if text is not None:
            (new / "config").write_text(text)
            configuration = finished.config_identity((), text, ())
        kernel = Kernel(
            key=key,
            arch=guest.name,
            release=release,
            image="",
            source=identity,
            series=SeriesIdentity(spec="none"),
            configuration=configuration,
        )
        return finished.publish(kernel, new, context.workspace)


def _read(spec: SourceSpec, size: int = -1) -> bytes:
    try:
        with Path(spec.where).open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise SourceError(
            f"--kernel {spec.text}: {spec.where}: {error.strerror}", hint="check the path"
        ) from error
