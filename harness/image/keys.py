# SPDX-License-Identifier: GPL-2.0-only
"""The SSH keys of one run: the guest's host key, which is pinned, and the only key that may log in.

The guest signs with Ed25519 and checks a signature of ECDSA: a login then costs its SSH server,
dropbear, a third less than where it has to check one of Ed25519. They are made for one run and kept
in this process and in the guest only.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.image.overlay import OverlayFile

_ED25519 = b"ssh-ed25519"
_ECDSA, _CURVE, _COORDINATE_BYTES = b"ecdsa-sha2-nistp256", b"nistp256", 32

#: Where the guest's init and SSH server look.
HOST_KEY_PATH = "/etc/dropbear/dropbear_ed25519_host_key"
AUTHORIZED_KEYS_PATH = "/root/.ssh/authorized_keys"


@dataclass(frozen=True)
class RunKeys:
    """The keys of one run.

    Attributes:
        host: the guest's.
        client: the only one that may log in.
    """

    host: Ed25519PrivateKey
    client: ec.EllipticCurvePrivateKey

    @property
    def host_public(self) -> str:
        """Return the public half of the guest's key as in ``known_hosts``, without a host name."""
        return _public_line(_ED25519, self.host.public_key().public_bytes_raw())

    @property
    def client_public(self) -> str:
        """Return the public half of the client's key as in ``authorized_keys``."""
        point = self.client.public_key().public_numbers()
        both = (each.to_bytes(_COORDINATE_BYTES, "big") for each in (point.x, point.y))
        return _public_line(_ECDSA, _CURVE, b"\4" + b"".join(both))  # RFC 5656, not compressed

    @property
    def client_private(self) -> str:
        """Return the client's key as an OpenSSH private key in PEM."""
        # paramiko imports it too; a guest's start does not wait for it
        from cryptography.hazmat.primitives import serialization

        return self.client.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        ).decode()

    def guest_files(self) -> tuple[OverlayFile, ...]:
        """Return the guest's files with them, readable by its root only."""
        return (
            OverlayFile(HOST_KEY_PATH, dropbear_key(self.host), 0o600),
            OverlayFile(AUTHORIZED_KEYS_PATH, f"{self.client_public}\n".encode(), 0o600),
        )


def make_keys() -> RunKeys:
    """Return two new keys from the host's random number generator."""
    return RunKeys(Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1()))


def dropbear_key(key: Ed25519PrivateKey) -> bytes:
    """Return a private key as dropbear stores it.

    That is the SSH string ``ssh-ed25519``, then the string seed plus public key, 32 bytes each
    (``buf_put_ed25519_priv_key`` in dropbear's ed25519.c).
    """
    public = key.public_key().public_bytes_raw()
    return _string(_ED25519) + _string(key.private_bytes_raw() + public)


def _string(data: bytes) -> bytes:
    """Return an SSH string: four bytes of length, most significant first, and the data."""
    return struct.pack(">I", len(data)) + data


def _public_line(algorithm: bytes, *parts: bytes) -> str:
    blob = b"".join(map(_string, (algorithm, *parts)))
    return f"{algorithm.decode()} {base64.b64encode(blob).decode()}"
