# SPDX-License-Identifier: GPL-2.0-only
"""Addresses of schedulers, and whether their connections must be encrypted."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import NamedTuple

from harness.errors import SpecError

DEFAULT_PORT = 8786

_FORM = re.compile(
    r"(?:(?P<scheme>tcp|tls)://)?(?P<host>\[[0-9a-fA-F:.]+\]|[^:/\[\]]+)(?::(?P<port>\d+))?/?"
)


class Endpoint(NamedTuple):
    """Where a scheduler listens.

    Attributes:
        host: its name or address.
        port: its TCP port; 0 for one that is free.
        tls: the directory with the certificates; None for a connection in the clear.
    """

    host: str
    port: int
    tls: Path | None

    @property
    def scheme(self) -> str:
        """Return the protocol as Dask names it."""
        return "tcp" if self.tls is None else "tls"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def endpoint(text: str, tls: Path | None) -> Endpoint:
    """Return the endpoint that an address names.

    Args:
        text: ``HOST``, ``HOST:PORT``, or that after ``tcp://`` or ``tls://``.
        tls: the directory with the certificates; None if none was given.

    Raises:
        SpecError: if it has another form, or would be in the clear and not on loopback.
    """
    found = _FORM.fullmatch(text)
    if found is None or int(found["port"] or 0) > 0xFFFF:
        raise SpecError(f"{text!r} is not the address of a scheduler", hint="give HOST:PORT")
    host = found["host"].strip("[]")
    if tls is None and (found["scheme"] == "tls" or not is_loopback(host)):
        raise SpecError(
            f"{text} needs TLS: anyone who reaches a scheduler can run any program on its workers",
            hint="make certificates with `hgm cluster init DIR` and give --tls DIR",
        )
    if tls is not None and found["scheme"] == "tcp":
        raise SpecError(
            f"{text} is in the clear, and --tls was given", hint="write tls:// instead of tcp://"
        )
    return Endpoint(host, int(found["port"] or DEFAULT_PORT), tls)


def is_loopback(host: str) -> bool:
    """Return whether a host is this one by its loopback device."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
