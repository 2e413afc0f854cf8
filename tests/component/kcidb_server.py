# SPDX-License-Identifier: GPL-2.0-only
"""A server that takes posts as KCIDB's does."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator


class Kcidb(http.server.BaseHTTPRequestHandler):
    """Answers with the next status of a list, and remembers what was posted."""

    answers: list[int] = []  # noqa: RUF012 - one server a test
    posted: list[tuple[str, str, bytes]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append((self.path, self.headers["Authorization"], data))
        status = self.answers.pop(0)
        self.send_response(status)
        if status == 307:
            self.send_header("Location", "/elsewhere")
        body = b"stored\x1b[2J" if status == 200 else b"no such token"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve() -> Iterator[str]:
    """Yield the address of a server on a free loopback port."""
    Kcidb.answers, Kcidb.posted = [], []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Kcidb) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}/submit"
        served.shutdown()
