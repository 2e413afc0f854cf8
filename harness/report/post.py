# SPDX-License-Identifier: GPL-2.0-only
"""One JSON document posted over HTTPS with a bearer token; requests and urllib3 do the work."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from harness.deadline import Deadline
from harness.errors import InfrastructureError, RecordError, SpecError
from harness.kernel.series.patch import printable

#: Seconds for one attempt.
_ATTEMPT_SECONDS = 60.0

#: Answers after which the same post may be accepted: IDs make it harmless to repeat.
_AGAIN = (429, 500, 502, 503, 504)

_RETRIES = 4

#: Characters of a server's answer that are shown.
_SHOWN = 200


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        RecordError: if it cannot be read, or is not one word of printable ASCII.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise RecordError(
            f"--token-file {path} cannot be read: {error.strerror}", hint="check the path"
        ) from None
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable() or " " in token:
        raise RecordError(
            f"--token-file {path} does not hold a token, which is one word",
            hint="write the token that your CI system got from KCIDB into it, and nothing else",
        )
    return token


def post(url: str, data: bytes, token: str, deadline: Deadline) -> str:
    """Post a document, again if the server is busy, and return the server's answer in one line.

    A redirection is not followed, since the token is meant for this URL.

    Raises:
        SpecError: if the token would be sent in the clear, or the server refuses it.
        InfrastructureError: if the server cannot be reached, or fails.
    """
    _require_private(url)
    retry = Retry(
        total=_RETRIES,
        backoff_factor=1,
        status_forcelist=_AGAIN,
        allowed_methods={"POST"},
        raise_on_status=False,
        redirect=False,
    )
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with requests.Session() as session:
        session.trust_env = False  # a .netrc must not replace the token
        session.mount(url, HTTPAdapter(max_retries=retry))
        try:
            answer = session.post(
                url,
                data=data,
                headers=headers,
                timeout=max(1.0, min(_ATTEMPT_SECONDS, deadline.remaining())),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise InfrastructureError(
                f"{url} cannot be reached: {_reason(error)}", hint="check the URL and the network"
            ) from error
    answer.encoding = "utf-8"
    said = printable(answer.text)[:_SHOWN]
    if answer.status_code in _AGAIN:
        raise InfrastructureError(
            f"{url} answered {answer.status_code} {_RETRIES + 1} times: {said}",
            hint="try again later",
        )
    if not answer.ok or answer.is_redirect:
        raise SpecError(
            f"{url} refused it: {answer.status_code}: {said or printable(answer.reason or '')}",
            hint="check the URL and the token",
        )
    return said or str(answer.status_code)


def _require_private(url: str) -> None:
    """Refuse a URL to which the token would go unencrypted."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # which raises if it cannot be one
    except ValueError as error:
        raise SpecError(f"--url {url!r}: {error}") from None
    if parts.scheme == "https" and host:
        return
    if parts.scheme == "http" and _is_local(host):
        return
    raise SpecError(
        f"--url {url!r} is not https://...",
        hint="the token could be read on the way",
    )


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
