# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import bz2
import gzip
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import SourceError
from harness.kernel import boot_image
from tests.component.kernel.conftest import Obtain

CONFIG = "CONFIG_A=y\nCONFIG_HUGETLB_HIGH_GRANULARITY_MAPPING=y\n"
VMLINUX = b"\x7fELF" + b"code" * 50 + b"IKCFG_ST" + gzip.compress(CONFIG.encode()) + b"IKCFG_ED"


def by_tool(*argv: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        return subprocess.run(argv, input=data, check=True, capture_output=True).stdout

    return pack


def bzimage(packed: bytes, release: bytes = b"6.12.7-test (a@b) #1 SMP\0") -> bytes:
    """Return a bzImage as the boot protocol has it, with one setup sector."""
    payload = packed + len(VMLINUX).to_bytes(4, "little")
    head = bytearray(0x400)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x100).to_bytes(2, "little")
    head[0x248:0x24C] = (0x40).to_bytes(4, "little")
    head[0x24C:0x250] = len(payload).to_bytes(4, "little")
    head[0x300 : 0x300 + len(release)] = release
    return bytes(head) + bytes(0x40) + payload + b"signature"


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        bz2.compress,
        lambda data: lzma.compress(data, lzma.FORMAT_XZ),
        lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
        by_tool("lz4", "-l", "-c"),
        by_tool("zstd", "-c", "-q"),
    ],
    ids=["gzip", "bzip2", "xz", "lzma", "lz4", "zstd"],
)
def test_config_inside_an_image_is_found(
    get: Obtain, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "image" / "bzImage"
    path.parent.mkdir()
    path.write_bytes(bzimage(pack(VMLINUX)))
    kernel = get(f"image:{path}")
    assert kernel.release == "6.12.7-test"
    assert kernel.configuration.known
    assert kernel.configuration.hgm is True
    assert Path(kernel.config).read_text() == CONFIG
    assert Path(kernel.image).read_bytes() == path.read_bytes()
    assert get(f"image:{path}").cached


@pytest.mark.parametrize("name", [".config", "config-6.12.7-test"])
def test_config_beside_an_image_comes_first(get: Obtain, tmp_path: Path, name: str) -> None:
    path = tmp_path / "bzImage"
    path.write_bytes(bzimage(gzip.compress(VMLINUX)))
    path.with_name(name).write_text("CONFIG_B=y\n")
    kernel = get(f"image:{path}")
    assert Path(kernel.config).read_text() == "CONFIG_B=y\n"
    assert kernel.configuration.hgm is False


def test_an_image_just_below_the_root_has_no_build_tree() -> None:
    assert boot_image.config_beside(Path("/boot/no-such-image"), "6.12.7") is None


def test_image_without_a_config_says_so(get: Obtain, tmp_path: Path) -> None:
    path = tmp_path / "bzImage"
    path.write_bytes(bzimage(gzip.compress(b"\x7fELF nothing")))
    kernel = get(f"image:{path}")
    assert not kernel.configuration.known
    assert kernel.configuration.hgm is None
    assert (kernel.config, kernel.headers, kernel.vmlinux) == ("", "", "")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is not a kernel image"),
        (b"#!/bin/sh\n" * 100, "is not a kernel image"),
        (bzimage(gzip.compress(VMLINUX))[:0x420], "truncated"),
        (bzimage(b"", release=b"\0"), "has no kernel release"),
    ],
)
def test_invalid_image_is_refused(get: Obtain, tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "bzImage"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=expected):
        get(f"image:{path}")


def test_absent_image(get: Obtain, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        get(f"image:{tmp_path}/absent")


def arm64_image(release: str = "6.12.7-arm64") -> bytes:
    head = bytearray(0x1000)
    head[0x38:0x3C] = b"ARM\x64"
    return bytes(head) + f"Linux version {release} (a@b) #1\n\0".encode() + VMLINUX


def test_an_arm64_image_is_read_without_being_unpacked(get: Obtain, tmp_path: Path) -> None:
    path = tmp_path / "Image"
    path.write_bytes(arm64_image())
    with pytest.raises(SourceError, match="is for aarch64"):
        get(f"image:{path}")
    kernel = get(f"image:{path}", arch="aarch64")
    assert (kernel.arch, kernel.release) == ("aarch64", "6.12.7-arm64")
    assert Path(kernel.image).name == "Image"
    assert Path(kernel.config).read_text() == CONFIG
