# SPDX-License-Identifier: GPL-2.0-only
"""``--kernel image:PATH``: a bzImage that was built elsewhere, copied into the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import SourceError
from harness.kernel import bzimage, finished
from harness.kernel.specs import SourceSpec
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.workspace import digest


def obtain_image(spec: SourceSpec, context: Context) -> Kernel:
    """Return a bzImage as a kernel in the cache, where no rebuild changes it.

    Raises:
        SourceError: if it cannot be read, or is not a complete bzImage.
    """
    path = Path(spec.where)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"--kernel {spec.text}: {path}: {error.strerror}", hint="check the path"
        ) from error
    release = bzimage.release(data, str(path))
    bzimage.check_whole(data, str(path))
    text = bzimage.config_beside(path, release)
    key = digest(finished.RECIPE, data, text or "")
    checksum = hashlib.sha256(data).hexdigest()
    identity = SourceIdentity(spec=spec.text, kind="image", origin=f"{path}, sha256 {checksum}")
    known = finished.recorded(context.workspace.cache / "kernels" / key)
    if known is not None:
        return msgspec.structs.replace(known, source=identity)
    if text is None:
        text = bzimage.config_inside(data, context.workspace, context.deadline)
    with context.workspace.unfinished("kernel") as new:
        (new / "bzImage").write_bytes(data)
        configuration = ConfigIdentity(known=False)
        if text is not None:
            (new / "config").write_text(text)
            configuration = finished.config_identity((), text, ())
        kernel = Kernel(
            key=key,
            release=release,
            image="",
            source=identity,
            series=SeriesIdentity(spec="none"),
            configuration=configuration,
        )
        return finished.publish(kernel, new, context.workspace)
