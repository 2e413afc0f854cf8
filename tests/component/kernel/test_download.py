# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, SourceError
from harness.kernel.source import resolve
from harness.kernel.specs import parse_source
from harness.progress import Silent
from tests.component.kernel.conftest import run, unfinished


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves the current table of files; one whose name has ``short`` is cut in the middle."""

    files: dict[str, bytes] = {}  # noqa: RUF012 - one server a test

    def do_GET(self) -> None:
        if self.path == "/drip.tar":
            self.drip()
            return
        data = self.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if "short" in self.path else data)

    def drip(self) -> None:
        """Send a byte at a time for a minute, without an end."""
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for _ in range(600):
                self.wfile.write(b"x")
                time.sleep(0.1)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """A server on a free loopback port; its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        Server.files.clear()


def test_tarball_by_url_is_fetched_once(
    toy: Path, context: Context, tmp_path: Path, server: str
) -> None:
    run("tar", "-czf", str(tmp_path / "linux.tar.gz"), "-C", str(toy.parent), "linux", cwd=tmp_path)
    Server.files["/linux.tar.gz"] = (tmp_path / "linux.tar.gz").read_bytes()
    spec = parse_source(f"tar:{server}/linux.tar.gz")
    first = resolve(spec, context)
    assert first.version == "6.12.7"
    Server.files.clear()
    assert resolve(spec, context) == first


@pytest.mark.parametrize("path", ["/absent.tar", "/short.tar"])
def test_failed_fetch_leaves_nothing(context: Context, server: str, path: str) -> None:
    Server.files["/short.tar"] = bytes(10000)
    with pytest.raises(SourceError, match="cannot be fetched"):
        resolve(parse_source(f"tar:{server}{path}"), context)
    assert unfinished(context.workspace) == []


def test_slow_server_does_not_outlast_the_deadline(context: Context, server: str) -> None:
    short = Context(context.workspace, Deadline.after(2, "the test"), Silent())
    with pytest.raises(DeadlineExpired):
        resolve(parse_source(f"tar:{server}/drip.tar"), short)
    assert unfinished(context.workspace) == []


def test_connection_refused(context: Context) -> None:
    with pytest.raises(SourceError, match=r"cannot be fetched: .*refused"):
        resolve(parse_source("tar:http://127.0.0.1:1/x.tar"), context)


def test_status_of_the_server_is_named(context: Context, server: str) -> None:
    with pytest.raises(SourceError, match="cannot be fetched: 404 Client Error") as refused:
        resolve(parse_source(f"tar:{server}/absent.tar"), context)
    assert refused.value.exit_code == 2


def test_other_schemes_are_refused(context: Context) -> None:
    with pytest.raises(SourceError, match="only http"):
        resolve(parse_source("tar:ftp://127.0.0.1/x.tar"), context)
