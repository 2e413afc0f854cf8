# SPDX-License-Identifier: GPL-2.0-only
"""Posts against a server of our own: what is repeated, what is refused, where a token goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import InfrastructureError, RecordError, SpecError
from harness.report import post
from tests.component.kcidb_server import Kcidb, serve

server = pytest.fixture(serve)

DEADLINE = Deadline.after(60, "the test")


def test_a_busy_server_is_tried_again(server: str) -> None:
    Kcidb.answers = [503, 200]
    assert post.post(server, b"{}", "s3cret", DEADLINE) == "stored [2J"
    assert Kcidb.posted == [("/submit", "Bearer s3cret", b"{}")] * 2


@pytest.mark.parametrize("status", [401, 400, 307])
def test_a_refusal_is_a_mistake_and_is_not_repeated(server: str, status: int) -> None:
    Kcidb.answers = [status]
    with pytest.raises(SpecError, match=f"refused it: {status}: no such token"):
        post.post(server, b"{}", "s3cret", DEADLINE)
    assert len(Kcidb.posted) == 1


def test_a_broken_server_is_an_infrastructure_error(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post, "_RETRIES", 1)
    Kcidb.answers = [500, 500]
    with pytest.raises(InfrastructureError, match="answered 500 2 times"):
        post.post(server, b"{}", "s3cret", DEADLINE)


def test_an_absent_server_is_an_infrastructure_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "_RETRIES", 0)
    with pytest.raises(InfrastructureError, match=r"cannot be reached: .*refused"):
        post.post("http://127.0.0.1:1/submit", b"{}", "s3cret", DEADLINE)


@pytest.mark.parametrize(
    "url",
    [
        "http://kernelci.example/submit",
        "ftp://x",
        "x",
        "https://",
        "http://[/",
        "https://a:99999/x",
    ],
)
def test_the_token_is_not_sent_in_the_clear(url: str) -> None:
    with pytest.raises(SpecError, match="--url"):
        post.post(url, b"{}", "s3cret", DEADLINE)


@pytest.mark.parametrize("token", [b"", b"two words", b"a\nb", b"a\x00b", b"\xff"])
def test_a_token_is_one_word(tmp_path: Path, token: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(token)
    with pytest.raises(RecordError, match="--token-file"):
        post.read_token(path)
    path.write_bytes(b"s3cret\n")
    assert post.read_token(path) == "s3cret"


def test_a_token_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No such file"):
        post.read_token(tmp_path / "token")
