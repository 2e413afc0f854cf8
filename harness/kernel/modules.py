# SPDX-License-Identifier: GPL-2.0-only
"""The modules without which a distribution's kernel does not reach its guest's disk and network.

They are found where packages have them: an image is ``boot/vmlinuz-RELEASE``, and they are below
``lib/modules/RELEASE`` in the same root. Or, as in Debian since 7.3, it is ``vmlinuz`` in that
directory.
"""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterable
from pathlib import Path

from harness.errors import SourceError

#: What `kernel-configs/required.config` has built in: devices, and the disk's file system.
NEEDED = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "squashfs")

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")
_HOMES = ("lib/modules", "usr/lib/modules")


def beside(image: Path, release: str, needed: Iterable[str] = NEEDED) -> dict[str, bytes]:
    """Return the modules of an image that it needs, by name, in the order they are loaded.

    What is built in is not among them. Empty for an image without modules beside it.

    Raises:
        SourceError: if one cannot be read or decompressed, or needs one that is not there.
    """
    own = image.absolute().parent
    homes = (own.parent / home / release for home in _HOMES)
    home = own if own.name == release else next((home for home in homes if home.is_dir()), None)
    if home is None:
        return {}
    files = {path.name.partition(".ko")[0].replace("-", "_"): path for path in home.rglob("*.ko*")}
    loaded: dict[str, bytes] = {}

    def load(name: str) -> None:
        if name in loaded:
            return
        data = _read(files[name])
        depends = _DEPENDS.search(data)
        for other in filter(None, depends[1].decode().split(",") if depends else ()):
            if other not in files:
                raise SourceError(f"{files[name]} needs the module {other}, which is not there")
            load(other)
        loaded[name] = data

    for name in needed:
        if name in files:
            load(name)
    return loaded


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if path.suffix == ".xz":
            return lzma.decompress(data)
        if path.suffix == ".gz":
            return zlib.decompress(data, wbits=31)
    except (OSError, lzma.LZMAError, zlib.error) as error:
        raise SourceError(f"{path}: {error}", hint="install or unpack the kernel again") from None
    if path.suffix != ".ko":
        raise SourceError(f"{path}: its compression is not known; .ko, .ko.xz and .ko.gz are")
    return data
