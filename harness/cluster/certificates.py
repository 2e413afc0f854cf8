# SPDX-License-Identifier: GPL-2.0-only
"""The certificates of a cluster: an authority of its own, and one for each of three roles.

::

    ca.pem           the authority's certificate: every host needs it
    ca-key.pem       its key: stays where it was made
    ROLE.pem         certificate of the ``scheduler``, a ``worker`` or the ``client``
    ROLE-key.pem     its key
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.errors import SpecError

if TYPE_CHECKING:
    from distributed.security import Security

Role = Literal["scheduler", "worker", "client"]
_ROLES: tuple[Role, ...] = ("scheduler", "worker", "client")

_CA = "ca"
_YEARS = 2


def make(directory: Path) -> tuple[Path, ...]:
    """Make an authority and certificates in a new directory, and return their paths.

    Raises:
        SpecError: if the directory has certificates, or cannot be made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.glob("*.pem")):
            raise SpecError(f"{directory} has certificates already", hint="name a new directory")
        return tuple(_written(directory))
    except OSError as error:
        raise SpecError(f"cannot write to {directory}: {error.strerror}") from None


def security(directory: Path | None, role: Role) -> Security | None:
    """Return what Dask needs to connect in a role; None for connections in the clear.

    Raises:
        SpecError: if a file is not there.
    """
    if directory is None:
        return None
    from distributed.security import Security

    files = {name: directory.absolute() / f"{name}.pem" for name in (_CA, role, f"{role}-key")}
    for path in files.values():
        if not path.is_file():
            raise SpecError(
                f"--tls: there is no {path}", hint="`hgm cluster init DIR` makes certificates"
            )
    names = {
        "tls_ca_file": str(files[_CA]),
        f"tls_{role}_cert": str(files[role]),
        f"tls_{role}_key": str(files[f"{role}-key"]),
    }
    return Security(require_encryption=True, **names)


def _written(directory: Path) -> list[Path]:
    authority = ec.generate_private_key(ec.SECP256R1())
    name = _name("HGM cluster")
    paths = _write(directory, _CA, authority, _signed(name, authority, name, authority, ca=True))
    for role in _ROLES:
        key = ec.generate_private_key(ec.SECP256R1())
        made = _signed(_name(f"HGM {role}"), key, name, authority, ca=False)
        paths += _write(directory, role, key, made)
    return paths


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _signed(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    authority: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    public, signer = key.public_key(), x509.SubjectKeyIdentifier
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(_usage(ca=ca), critical=True)
        .add_extension(signer.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
            critical=False,
        )
        .sign(authority, hashes.SHA256())
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    """Return what a key may be used for: to sign certificates, or connections."""
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _write(
    directory: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
) -> list[Path]:
    private, public = directory / f"{name}-key.pem", directory / f"{name}.pem"
    private.touch(mode=0o600, exist_ok=False)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return [public, private]
