# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import SourceError
from harness.kernel import modules
from harness.kernel.modules import beside
from tests.component.kernel.conftest import Obtain
from tests.component.kernel.test_image import VMLINUX, bzimage

RELEASE = "6.12.7-test"


def module(depends: str = "") -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "boot" / f"vmlinuz-{RELEASE}"
    path.parent.mkdir()
    path.write_bytes(bzimage(gzip.compress(VMLINUX)))
    return path


def install(image: Path, name: str, data: bytes, home: str = "lib/modules") -> Path:
    path = image.parent.parent / home / RELEASE / "kernel" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("home", ["lib/modules", "usr/lib/modules"])
def test_what_a_module_depends_on_is_loaded_before_it(image: Path, home: str) -> None:
    packed: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
        "virtio_net": (".ko.xz", lzma.compress),
        "net_failover": (".ko.gz", gzip.compress),
        "failover": (".ko", bytes),
        "virtio-rng": (".ko", bytes),
        "unrelated": (".ko", bytes),
    }
    needs = {"virtio_net": "net_failover", "net_failover": "failover"}
    for name, (suffix, pack) in packed.items():
        install(image, name + suffix, pack(module(needs.get(name, ""))), home)
    found = beside(image, RELEASE)
    assert list(found) == ["failover", "net_failover", "virtio_net", "virtio_rng"]
    assert found["virtio_net"] == module("net_failover")


def test_the_modules_of_an_image_that_is_among_them(tmp_path: Path) -> None:
    image = tmp_path / "usr/lib/modules" / RELEASE / "vmlinuz"
    (image.parent / "kernel").mkdir(parents=True)
    (image.parent / "kernel" / "squashfs.ko").write_bytes(module())
    assert list(beside(image, RELEASE)) == ["squashfs"]


def test_an_image_without_modules_has_them_built_in(image: Path) -> None:
    assert beside(image, RELEASE) == {}


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("virtio_blk.ko", module("absent"), "needs the module absent, which is not there"),
        ("virtio_blk.ko.xz", b"damaged", "install or unpack the kernel again"),
        ("virtio_blk.ko.zst", b"", "its compression is not known"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_an_error(
    image: Path, name: str, data: bytes, said: str
) -> None:
    install(image, name, data)
    with pytest.raises(SourceError) as caught:
        beside(image, RELEASE)
    assert said in caught.value.line()


def test_an_image_is_kept_with_its_modules(get: Obtain, image: Path) -> None:
    install(image, "squashfs.ko", module())
    kept = get(f"image:{image}")
    assert [path.name for path in Path(kept.modules).iterdir()] == ["00-squashfs.ko"]
    install(image, "squashfs.ko", module() + b"newer")
    assert get(f"image:{image}").key != kept.key


def test_the_guest_needs_no_module_of_a_kernel_that_is_built_here() -> None:
    directory = Path(modules.__file__).parents[2] / "kernel-configs"
    required = (directory / "required.config").read_text()
    symbols = ("VIRTIO_PCI", "VIRTIO_BLK", "VIRTIO_NET", "HW_RANDOM_VIRTIO", "SQUASHFS")
    assert len(symbols) == len(modules.NEEDED)
    assert all(f"CONFIG_{symbol}=y\n" in required for symbol in symbols)
