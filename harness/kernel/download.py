# SPDX-License-Identifier: GPL-2.0-only
"""One file over HTTP, through requests, within a deadline for all of it."""

from __future__ import annotations

from pathlib import Path

import requests
import urllib3

from harness.deadline import Deadline
from harness.errors import SourceError
from harness.progress import Progress

#: Seconds without a byte after which a fetch fails.
_SILENCE_SECONDS = 60.0

_CHUNK = 1 << 20


class NotServed(SourceError):
    """A URL that the server does not have."""


def fetch(url: str, target: Path, deadline: Deadline, progress: Progress) -> None:
    """Fetch a URL into a file, with progress.

    Raises:
        NotServed: if the server does not have it.
        SourceError: if it is not an http or https URL, cannot be fetched, or ends too early.
        DeadlineExpired: if it takes too long.
    """
    if not url.startswith(("http://", "https://")):
        raise SourceError(f"{url}: only http and https URLs can be fetched")
    timeout = max(1.0, min(_SILENCE_SECONDS, deadline.remaining()))
    try:
        with _get(url, timeout) as answer, target.open("wb") as file:
            answer.raise_for_status()
            total = int(answer.headers.get("Content-Length") or 0) or None
            # read1 returns what has arrived: a slow server cannot outlast the deadline.
            while chunk := answer.raw.read1(_CHUNK):
                deadline.check()
                file.write(chunk)
                progress.step(file.tell(), total, "bytes")
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        deadline.check()
        kind = NotServed if _status(error) in (404, 410) else SourceError
        raise kind(
            f"{url} cannot be fetched: {_reason(error)}", hint="check the URL and the network"
        ) from error


def _get(url: str, timeout: float) -> requests.Response:
    # A server that compressed a tarball once more would change what #sha256= is about.
    return requests.get(url, stream=True, timeout=timeout, headers={"Accept-Encoding": "identity"})


def _status(error: Exception) -> int | None:
    answer = error.response if isinstance(error, requests.RequestException) else None
    return None if answer is None else answer.status_code


def _reason(error: BaseException) -> str:
    """Return the innermost reason, such as ``[Errno 111] Connection refused``."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
