# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import io

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.image import keys
from harness.image.overlay import OverlayFile, overlay_archive


def test_the_same_files_make_the_same_bytes_in_any_order() -> None:
    files = [OverlayFile("/probes/a", b"1", 0o755), OverlayFile("root/.ssh/b", b"2", 0o600)]
    assert [*overlay_archive(files)] == [*overlay_archive(files[::-1])]


def test_directories_come_before_what_is_in_them() -> None:
    data = b"".join(overlay_archive([OverlayFile("/probes/c/a", b"1")]))
    places = [data.index(name + b"\0") for name in (b"probes", b"probes/c", b"probes/c/a")]
    assert places == sorted(places)


@pytest.mark.parametrize("path", ["", "/", "/probes/../../x"])
def test_an_invalid_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"is the root|leaves the tree"):
        overlay_archive([OverlayFile(path, b"")])


def test_a_path_given_twice() -> None:
    with pytest.raises(ValueError, match="given twice"):
        overlay_archive([OverlayFile("/a", b"1"), OverlayFile("a", b"2")])


def test_dropbears_key_format() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public = key.public_key().public_bytes_raw()
    wanted = b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x40" + bytes(range(32)) + public
    assert keys.dropbear_key(key) == wanted


def test_paramiko_takes_the_client_key_and_its_public_half_fits() -> None:
    made = keys.make_keys()
    key = paramiko.ECDSAKey.from_private_key(io.StringIO(made.client_private))
    assert made.client_public == f"ecdsa-sha2-nistp256 {key.get_base64()}"


def test_every_run_has_keys_of_its_own_and_the_guest_gets_only_its_half() -> None:
    one, two = keys.make_keys(), keys.make_keys()
    assert one.host_public != two.host_public
    assert one.client_private != two.client_private
    assert one.host_public != one.client_public
    files = one.guest_files()
    assert [file.mode for file in files] == [0o600, 0o600]
    assert one.client_private.encode() not in b"".join(overlay_archive(files))
