# SPDX-License-Identifier: GPL-2.0-only
"""From the mails that b4 0.16 gives to a check command to the kernel that is tested."""

from __future__ import annotations

import base64
import json
import re
from email.message import EmailMessage
from pathlib import Path

import b4
import pytest

from harness.arch import host_arch
from harness.context import Context
from harness.errors import SeriesError, SourceError
from harness.kernel import checked_mail, series
from harness.kernel.checked_mail import Tracking, kernel_of
from harness.kernel.git import Store
from harness.kernel.obtain import KernelRequest
from harness.kernel.source import resolve
from harness.kernel.specs import parse_series, parse_source
from tests.component.kernel.conftest import run

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")


@pytest.fixture
def branch(repository: Path) -> Path:
    """The toy repository with three commits on top of v1, of which two have one subject."""
    for number in (1, 2, 3):
        path = repository / "mm" / "hugetlb.c"
        path.write_text(path.read_text().replace(f"line_{number}0;", f"new_{number}0;"))
        if number == 3:
            run("git", "mv", "mm/other.c", "mm/renamed.c", cwd=repository)
        subject = f"mm: change line {number}0" if number < 3 else "mm: change line 20"
        run(*GIT, "commit", "-qam", subject, cwd=repository)
    return repository


def patches(branch: Path) -> list[tuple[str, EmailMessage]]:
    """Return the commits as b4 makes mails of them, with their threads."""
    found = b4.git_range_to_patches(str(branch), "v1", "HEAD", msgid_tpt="<%s@example.org>")
    return [(commit, message) for commit, message in found]


def as_bytes(message: EmailMessage) -> bytes:
    """Return a mail as b4 writes it to a check command."""
    return b4.LoreMessage.get_msg_as_bytes(message)


def cover(branch: Path) -> bytes:
    base = run("git", "rev-parse", "v1", cwd=branch).strip()
    head = "From: A <a@example.org>\nSubject: [PATCH 0/3] mm: change lines\n"
    return f"{head}Message-Id: <0@example.org>\n\nHello.\n\nbase-commit: {base}\n".encode()


def thread(branch: Path) -> bytes:
    """Return the thread of the series as an mbox."""
    mails = [cover(branch)]
    for number, (_, message) in enumerate(patches(branch), 1):
        head, body = as_bytes(message).split(b"\n\n", 1)
        kept = [line for line in head.split(b"\n") if not line.lower().startswith(b"message-id")]
        kept += [b"Message-Id: <%d@example.org>" % number, b"In-Reply-To: <0@example.org>"]
        mails.append(b"\n".join(kept) + b"\n\n" + body)
    return b"".join(b"From t Thu Jan  1 00:00:00 1970\n%s\n\n" % mail for mail in mails)


def mail(branch: Path, number: int) -> bytes:
    """Return one mail of the thread."""
    return thread(branch).split(b"From t Thu Jan  1 00:00:00 1970\n")[number + 1]


def applied(request: KernelRequest, context: Context) -> str:
    """Return mm/hugetlb.c of the kernel that is requested."""
    source = resolve(parse_source(request.source), context)
    spec = parse_series(request.series, request.mail_from)
    chosen = series.with_extra(series.read(spec, context), request.first, (), context)
    patched = series.apply(chosen, source, context)
    found = Store.of(context).text(patched.identity.tree, "mm/hugetlb.c", context.deadline)
    assert found is not None
    return found


def changed(text: str) -> list[int]:
    return [number for number in (1, 2, 3) if f"new_{number}0;" in text]


def test_a_patch_of_the_branch_is_its_commit(branch: Path, context: Context) -> None:
    """`b4 prep --check`: two commits have one subject, and the change tells them apart."""
    for number, (commit, message) in enumerate(patches(branch), 1):
        found = kernel_of(as_bytes(message), branch, context)
        assert found == KernelRequest(source=f"git:{branch}@{commit}", arch=host_arch().name)
        assert changed(applied(found, context)) == list(range(1, number + 1))


@pytest.fixture
def tracked(branch: Path, tmp_path: Path) -> tuple[Path, Tracking]:
    """The repository without the commits, and b4's tracking file of a review."""
    (tmp_path / "thread").write_bytes(thread(branch))
    blob = run("git", "hash-object", "-w", str(tmp_path / "thread"), cwd=branch).strip()
    base = run("git", "rev-parse", "v1", cwd=branch).strip()
    path = tmp_path / "tracking.json"
    path.write_text(json.dumps({"series": {"thread-blob": blob, "base-commit": base}, "x": 1}))
    return branch, checked_mail.read_tracking(str(path))


@pytest.mark.parametrize(
    ("number", "whole", "expected"),
    [(0, False, [1, 2, 3]), (1, False, [1]), (2, False, [1, 2]), (1, True, [1, 2, 3])],
)
def test_a_mail_in_review_is_applied_with_those_before_it(
    tracked: tuple[Path, Tracking],
    context: Context,
    number: int,
    whole: bool,
    expected: list[int],
) -> None:
    branch, tracking = tracked
    data = mail(branch, number)
    run("git", "reset", "-q", "--hard", "v1", cwd=branch)
    found = kernel_of(data, branch, context, whole=whole, tracking=tracking)
    assert found.source == f"git:{branch}@{run('git', 'rev-parse', 'v1', cwd=branch).strip()}"
    assert changed(applied(found, context)) == expected


def test_the_base_is_that_of_the_cover_letter_or_what_is_checked_out(
    branch: Path, context: Context, tmp_path: Path
) -> None:
    data, box = cover(branch), tmp_path / "box"
    box.write_bytes(thread(branch))
    base = run("git", "rev-parse", "v1", cwd=branch).strip()
    found = kernel_of(data, branch, context, mail_from=str(box))
    assert found.source == f"git:{branch}@{base}"
    assert changed(applied(found, context)) == [1, 2, 3]
    absent = data.replace(base.encode(), b"0" * 40)
    assert kernel_of(absent, branch, context, mail_from=str(box)).source == f"git:{branch}@HEAD"
    given = kernel_of(data, branch, context, mail_from=str(box), source="tree:/src")
    assert given.source == "tree:/src"


def test_a_single_patch_needs_no_archive(branch: Path, context: Context) -> None:
    _, message = patches(branch)[0]
    data = as_bytes(message).replace(b"[PATCH 1/3]", b"[PATCH]")
    assert b"[PATCH]" in data
    run("git", "reset", "-q", "--hard", "v1", cwd=branch)
    found = kernel_of(data, branch, context)
    assert found.series.startswith("mbox:")
    assert changed(applied(found, context)) == [1]


@pytest.mark.parametrize("encoded", [False, True])
def test_a_patch_that_git_did_not_make_or_that_is_encoded(
    branch: Path, context: Context, *, encoded: bool
) -> None:
    _, message = patches(branch)[0]
    data = as_bytes(message).replace(b"[PATCH 1/3]", b"[PATCH]")
    data = re.sub(rb"^(?:diff --git|index) .*\n", b"", data, flags=re.MULTILINE)
    if encoded:
        head, _, body = data.partition(b"\n\n")
        head = re.sub(rb"^Content-Transfer-Encoding: .*\n", b"", head, flags=re.MULTILINE)
        data = head + b"\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(body)
    run("git", "reset", "-q", "--hard", "v1", cwd=branch)
    assert changed(applied(kernel_of(data, branch, context), context)) == [1]


def test_what_is_not_a_patch(branch: Path, context: Context, tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="has no patch"):
        kernel_of(b"Subject: hello\n\nx\n", branch, context)
    with pytest.raises(SeriesError, match="has no patch"):
        kernel_of(b"", branch, context)
    with pytest.raises(SourceError, match="b4-check"):
        kernel_of(cover(branch), tmp_path / "nowhere", context)


@pytest.mark.parametrize("text", ["", "{", '{"series": 3}', '{"series": {"thread-blob": "-x"}}'])
def test_tracking_data_that_says_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tracking"
    path.write_text(text)
    for name in (str(path), str(tmp_path / "nowhere"), ""):
        assert checked_mail.read_tracking(name).object_id("thread-blob") == ""
