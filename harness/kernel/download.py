# SPDX-License-Identifier: GPL-2.0-only
"""One file over HTTP, within a deadline."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from harness.deadline import Deadline
from harness.errors import SourceError
from harness.progress import Progress

#: Seconds without a byte after which a server is taken for dead.
_SILENCE_SECONDS = 60.0


def fetch(url: str, target: Path, deadline: Deadline, progress: Progress) -> None:
    """Fetch a URL into a file, saying how far it is.

    Raises:
        SourceError: if it is no http or https URL, cannot be fetched, or ends too early.
        DeadlineExpired: if it takes too long.
    """
    if not url.startswith(("http://", "https://")):
        raise SourceError(f"{url}: only http and https URLs can be fetched")
    timeout = max(1.0, min(_SILENCE_SECONDS, deadline.remaining()))
    try:
        with (
            urllib.request.urlopen(url, timeout=timeout) as answer,  # noqa: S310 - checked above
            target.open("wb") as file,
        ):
            _copy(answer, file, deadline, progress)
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        ConnectionError,
        TimeoutError,
    ) as error:
        deadline.check()
        reason = getattr(error, "reason", None) or error
        raise SourceError(
            f"{url} cannot be fetched: {reason}", hint="check the URL and the network"
        ) from error


def _copy(
    answer: http.client.HTTPResponse, file: IO[bytes], deadline: Deadline, progress: Progress
) -> None:
    total = int(answer.headers.get("Content-Length") or 0)
    while chunk := answer.read(1 << 20):
        deadline.check()
        file.write(chunk)
        progress.step(file.tell(), total or None, "bytes")
    if total and file.tell() != total:
        raise http.client.IncompleteRead(b"", total - file.tell())
