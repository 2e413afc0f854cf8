# SPDX-License-Identifier: GPL-2.0-only
"""Reads the release and (if it has one) the config of what QEMU boots: a bzImage or an Image.

The header of a bzImage is that of the x86 boot protocol (Documentation/arch/x86/boot.rst); the
search for its payload and for IKCONFIG is that of the kernel's scripts/extract-vmlinux and
extract-ikconfig. An Image, such as arm64's (Documentation/arch/arm64/booting.rst), is the kernel
itself, not compressed.
"""

from __future__ import annotations

import bz2
import lzma
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import command
from harness.arch import Arch, arches
from harness.deadline import Deadline
from harness.errors import CommandFailed, SourceError
from harness.workspace import Workspace

_VERSION_POINTER_AT = 0x20E
_SETUP_SECTORS_AT = 0x1F1
_PAYLOAD_OFFSET_AT = 0x248
_PAYLOAD_LENGTH_AT = 0x24C

_BANNER = re.compile(rb"Linux version (\d[!-~]*) ")
#: Bytes at a file's start that tell what it is.
HEADER = 0x210

_IKCONFIG_BEGINS = b"IKCFG_ST"

#: First bytes of a payload, the program that decompresses it where Python cannot, and what that
#: program wants before the name of its output.
_TOOLS: tuple[tuple[bytes, str, tuple[str, ...]], ...] = (
    (b"\x02\x21\x4c\x18", "lz4", ()),
    (b"\x28\xb5\x2f\xfd", "zstd", ("-o",)),
)


def arch_of(data: bytes, name: str) -> Arch:
    """Return the architecture of a kernel image.

    Args:
        data: the start of the file, `HEADER` bytes or more.
        name: what errors call it.

    Raises:
        SourceError: if it is not one.
    """
    for each in arches().values():
        if data.startswith(each.image_magic.encode(), each.image_magic_at):
            return each
    made = ", ".join(f"{each.image} for {each.kernel}" for each in arches().values())
    raise SourceError(
        f"{name} is not a kernel image", hint=f"give what the kernel's make wrote: {made}"
    )


def release(data: bytes, name: str) -> str:
    """Return the ``uname -r`` of a kernel image.

    Args:
        data: the whole file.
        name: what errors call it.

    Raises:
        SourceError: if it has none.
    """
    if arch_of(data, name).image_packed:
        pointer = int.from_bytes(data[_VERSION_POINTER_AT : _VERSION_POINTER_AT + 2], "little")
        text = data[pointer + 0x200 : pointer + 0x400].split(b"\0")[0] if pointer else b""
        words = text.decode("ascii", errors="replace").split()
    else:
        banner = _BANNER.search(data)
        words = [banner[1].decode()] if banner else []
    if not words:
        raise SourceError(f"{name} has no kernel release", hint="copy or build it again")
    return words[0]


def check_whole(data: bytes, name: str) -> None:
    """Raise SourceError if the file ends before its payload does; an Image does not say."""
    if not arch_of(data, name).image_packed:
        return
    if len(data) < 0x250 or _payload_end(data) > len(data):
        raise SourceError(
            f"{name} is truncated: it has {len(data)} of {_payload_end(data)} bytes",
            hint="copy or build it again",
        )


def payload(data: bytes) -> bytes:
    """Return the compressed kernel inside a bzImage of boot protocol 2.08 or later."""
    length = int.from_bytes(data[_PAYLOAD_LENGTH_AT : _PAYLOAD_LENGTH_AT + 4], "little")
    end = _payload_end(data)
    return data[end - length : end]


def _payload_end(data: bytes) -> int:
    # A setup_sects of 0 means 4 (boot.rst); the boot sector is not counted.
    sectors = (data[_SETUP_SECTORS_AT] if len(data) > _SETUP_SECTORS_AT else 0) or 4
    offset = int.from_bytes(data[_PAYLOAD_OFFSET_AT : _PAYLOAD_OFFSET_AT + 4], "little")
    length = int.from_bytes(data[_PAYLOAD_LENGTH_AT : _PAYLOAD_LENGTH_AT + 4], "little")
    return (sectors + 1) * 512 + offset + length


def ikconfig(vmlinux: bytes) -> str | None:
    """Return the ``.config`` inside a decompressed kernel (CONFIG_IKCONFIG); None without one."""
    at = vmlinux.find(_IKCONFIG_BEGINS)
    while at >= 0:
        stream = vmlinux[at + len(_IKCONFIG_BEGINS) :]
        unpacked = _gunzip(stream)
        if unpacked is not None:
            return unpacked.decode(errors="replace")
        at = vmlinux.find(_IKCONFIG_BEGINS, at + 1)
    return None


def _gunzip(data: bytes) -> bytes | None:
    try:
        return zlib.decompressobj(wbits=31).decompress(data)
    except zlib.error:
        return None


def decompress(data: bytes, workspace: Workspace, deadline: Deadline) -> bytes | None:
    """Return a decompressed payload; None if its format is unknown, or its tool not installed."""
    if data.startswith(b"\x1f\x8b"):
        return _gunzip(data)
    if data.startswith((b"BZh", b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        maker = bz2.BZ2Decompressor if data.startswith(b"BZh") else lzma.LZMADecompressor
        try:
            return maker().decompress(data)
        except (OSError, lzma.LZMAError):
            return None
    if data.startswith(b"\x7fELF"):
        return data
    for magic, tool, output in _TOOLS:
        if data.startswith(magic) and shutil.which(tool):
            return _by_tool((tool, "-dqf"), output, data, workspace, deadline)
    return None


def _by_tool(
    tool: Sequence[str],
    output: Sequence[str],
    data: bytes,
    workspace: Workspace,
    deadline: Deadline,
) -> bytes | None:
    with workspace.unfinished("payload") as room:
        packed, plain = room / "packed", room / "plain"
        # The build appends the payload's size in 4 bytes (scripts/Makefile.lib: size_append), which
        # the tools would report as damage.
        packed.write_bytes(data[:-4])
        try:
            command.run([*tool, str(packed), *output, str(plain)], deadline)
        except CommandFailed:
            return None
        return plain.read_bytes()


def _config_places(image: Path, version: str) -> Iterator[Path]:
    """Yield where the config of an image may be: in its directory, or atop its build tree."""
    yield image.with_name(".config")
    yield image.with_name(f"config-{version}")
    if image.parent.parts[-3:-2] == ("arch",) and image.parent.name == "boot":
        yield image.parents[3] / ".config"


def config_beside(image: Path, version: str) -> str | None:
    """Return the text of the configuration file next to an image; None without one."""
    found = next((path for path in _config_places(image, version) if path.is_file()), None)
    return found.read_text(errors="replace") if found else None


def config_inside(data: bytes, workspace: Workspace, deadline: Deadline) -> str | None:
    """Return the configuration in a kernel image (CONFIG_IKCONFIG); None without one."""
    packed = arch_of(data, "the kernel").image_packed
    plain = decompress(payload(data), workspace, deadline) if packed else data
    return ikconfig(plain) if plain else None
