# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.kernel.specs import for_others, is_url, parse_series, parse_source

SHA = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "kind", "where", "revision", "sha256"),
    [
        ("debian:linux-source-6.12", "debian", "linux-source-6.12", "", ""),
        ("tree:/src/linux", "tree", "/src/linux", "", ""),
        ("image:/boot/bzImage", "image", "/boot/bzImage", "", ""),
        ("git:/src/linux@v6.12", "git", "/src/linux", "v6.12", ""),
        ("git:/src/a@b/linux@HEAD~1", "git", "/src/a@b/linux", "HEAD~1", ""),
        ("git:https://example.org/l.git@main", "git", "https://example.org/l.git", "main", ""),
        ("git:me@example.org:l.git@main", "git", "me@example.org:l.git", "main", ""),
        ("tar:/l.tar.xz", "tar", "/l.tar.xz", "", ""),
        (f"tar:/l.tar.xz#sha256={SHA.upper()}", "tar", "/l.tar.xz", "", SHA),
        ("tar:https://example.org/l.tar", "tar", "https://example.org/l.tar", "", ""),
    ],
)
def test_source_spec_is_parsed(
    text: str, kind: str, where: str, revision: str, sha256: str
) -> None:
    spec = parse_source(text)
    assert (spec.kind, spec.where, spec.revision, spec.sha256) == (kind, where, revision, sha256)
    assert spec.text == text


@pytest.mark.parametrize(
    ("rest", "version", "suite"),
    [
        ("", "", ""),
        ("=6.12.117-1~deb12u1", "6.12.117-1~deb12u1", ""),
        ("=1:7.3+x-1", "1:7.3+x-1", ""),
        ("@trixie-backports", "", "trixie-backports"),
        ("@sid=7.3.4-1", "7.3.4-1", "sid"),
    ],
)
def test_version_and_suite_of_a_package(rest: str, version: str, suite: str) -> None:
    spec = parse_source(f"debian:linux-source-7.3{rest}")
    assert (spec.where, spec.version, spec.suite) == ("linux-source-7.3", version, suite)


def test_relative_path_becomes_absolute() -> None:
    assert parse_source("tree:linux").where == str(Path.cwd() / "linux")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "linux",
        "debian:",
        "deb:linux-source-6.12",
        "debian:--option",
        "debian:Linux",
        "debian:a b",
        "debian:linux-source-7.3=",
        "debian:linux-source-7.3=v7",
        "debian:linux-source-7.3=7 -o",
        "debian:linux-source-7.3@",
        "debian:linux-source-7.3@--suite",
        "debian:linux-source-7.3@sid\n",
        "debian:linux-source-7.3=7@sid",
        "git:/src/linux",
        "git:me@example.org:l.git",
        "git:/src/linux@",
        "git:/src/linux@--upload-pack=x",
        "git:--upload-pack=x@v6",
        "tar:#sha256=" + SHA,
        "tar:/l.tar#sha256=abc",
    ],
)
def test_unknown_form_is_refused(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_source(text)
    assert "--kernel" in caught.value.line()


def test_series_forms() -> None:
    assert parse_series("none").kind == parse_series("").kind == "none"
    assert parse_series("dir:/p") == parse_series("dir:/p")
    assert parse_series("mbox:/p").where == "/p"


@pytest.mark.parametrize(
    ("text", "where", "revisions"),
    [
        ("git:/src/linux@v6.12..topic", "/src/linux", ("v6.12", "topic")),
        ("git:/src/linux@v6.12..", "/src/linux", ("v6.12", "HEAD")),
        ("git:/src/a@b/linux@HEAD~3..HEAD", "/src/a@b/linux", ("HEAD~3", "HEAD")),
        ("git:/src/linux@HEAD@{2}..HEAD@{1}", "/src/linux", ("HEAD@{2}", "HEAD@{1}")),
        ("git:/src/linux@@{u}..", "/src/linux", ("@{u}", "HEAD")),
    ],
)
def test_ranges_of_commits(text: str, where: str, revisions: tuple[str, str]) -> None:
    spec = parse_series(text)
    assert (spec.kind, spec.where, spec.revisions) == ("git", where, revisions)


@pytest.mark.parametrize(
    "text",
    [
        "lore:20230218002819.1486479-1-jthoughton@google.com",
        "lore:<20230218002819.1486479-1-jthoughton@google.com>",
        "lore:https://lore.example.org/linux-mm/20230218002819.1486479-1-jthoughton@google.com/",
        "lore:https://lore.example.org/all/20230218002819.1486479-1-jthoughton%40google.com/T/#u",
    ],
)
def test_message_ids(text: str) -> None:
    spec = parse_series(text, "mail/box")
    assert spec.where == "20230218002819.1486479-1-jthoughton@google.com"
    assert spec.mail_from.endswith("/mail/box")
    assert parse_series(text, "https://lore.example.org/all").mail_from.startswith("https:")


def test_mail_from_needs_a_message_id() -> None:
    with pytest.raises(SpecError, match="--mail-from is only for --series lore:"):
        parse_series("mbox:/p", "/mail")


@pytest.mark.parametrize(
    "text",
    [
        *("dir:", ":x", "mbox:", "b4:x", "fault:", "fault:../x", "git:/p", "git:/p@v1"),
        *("git:/p@..b", "git:/p@a...b", "git:/p@-a..b", "git:https://x.org/l.git@a..b"),
        *("git:-p@a..b", "git:/p@a..b:c", "lore:x", "lore:", "lore:-x@y", "lore:a b@c"),
        *("lore:https://x.org/all/", "lore:../x@y"),
    ],
)
def test_unknown_series_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="series"):
        parse_series(text)


def test_urls_and_paths() -> None:
    assert is_url("ssh://host/x")
    assert is_url("git@host:x")
    assert not is_url("/a@b/c:d")
    assert not is_url("./x")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mbox:/home/me/v3.mbox", "mbox:v3.mbox"),
        ("mbox:~/mail/v3.mbox", "mbox:v3.mbox"),
        ("dir:/home/me/patches/", "dir:patches"),
        ("tree:.", "tree:."),
        ("git:/home/me/linux@origin/master", "git:linux@origin/master"),
        ("git:/home/a@b/linux@v6.12..origin/x", "git:linux@v6.12..origin/x"),
        ("git:https://example.org/a/linux.git@v6.12", "git:https://example.org/a/linux.git@v6.12"),
        ("git:https://me:secret@example.org/a.git@v6", "git:https://example.org/a.git@v6"),
        ("https://me:secret@example.org/inbox", "https://example.org/inbox"),
        (f"tar:/srv/linux.tar.xz#sha256={SHA}", f"tar:linux.tar.xz#sha256={SHA}"),
        ("/home/me/a.patch", "a.patch"),
        ("hgm/fork/1G", "hgm/fork/1G"),
        ("lore:cover@example.org", "lore:cover@example.org"),
        ("debian:linux-source-6.12", "debian:linux-source-6.12"),
        ("--fuzz", "--fuzz"),
    ],
)
def test_a_mail_names_no_directory_of_this_machine(text: str, shown: str) -> None:
    assert for_others(text) == shown
