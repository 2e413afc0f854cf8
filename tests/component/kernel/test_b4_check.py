# SPDX-License-Identifier: GPL-2.0-only
"""`hgm b4-check` as the check command of b4 0.16 itself: kernels are built by the fake make."""

from __future__ import annotations

import email.parser
import json
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import b4
import pytest
from b4.review import checks

from tests.component.kernel.conftest import run
from tests.component.kernel.test_checked_mail import branch, mail, thread

__all__ = ["branch"]


@pytest.fixture
def command(branch: Path, make_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the command as a user configures it; b4 runs in the repository."""
    monkeypatch.setenv("HGM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b4-cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.chdir(branch)
    return f"{sys.executable} -m harness.cli b4-check --build-only"


def message(data: bytes) -> EmailMessage:
    """Return a mail as b4 reads it."""
    return email.parser.BytesParser(policy=b4.emlpolicy, _class=EmailMessage).parsebytes(data)


def test_a_review_shows_that_each_patch_builds_or_not(
    branch: Path, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thread").write_bytes(thread(branch))
    mails = [mail(branch, number) for number in (0, 1, 2)]
    broken = mails[2].replace(b"line_20", b"lane_20").replace(b"Message-Id: <2", b"Message-Id: <9")
    blob = run("git", "hash-object", "-w", str(tmp_path / "thread"), cwd=branch).strip()
    (tmp_path / "tracking").write_text(json.dumps({"series": {"thread-blob": blob}}))
    run("git", "reset", "-q", "--hard", "v1", cwd=branch)
    more = {"B4_TRACKING_FILE": str(tmp_path / "tracking")}
    found = checks.run_perpatch_checks(
        [("1@example.org", message(mails[1]))], [command], str(branch), extra_env=more
    )
    (built,) = found["1@example.org"]
    assert (built["tool"], built["status"]) == ("hgm-build", "pass")
    assert built["summary"].startswith("6.12.7 built")
    assert built["url"].startswith(f"file://{tmp_path}/cache/b4/")
    (whole,) = checks.run_series_checks(
        ("0@example.org", message(mails[0])), [command], str(branch), extra_env=more
    )
    assert whole["status"] == "pass"
    single = broken.replace(b"[PATCH 2/3]", b"[PATCH]")
    found = checks.run_perpatch_checks(
        [("9@example.org", message(single))], [command], str(branch), extra_env=more
    )
    (refused,) = found["9@example.org"]
    assert refused["status"] == "fail"
    assert "does not apply: mm/hugetlb.c" in refused["summary"]
    monkeypatch.setenv("FAKE_MAKE", "compile-error")
    found = checks.run_perpatch_checks(
        [("2@example.org", message(mails[2]))], [command], str(branch), extra_env=more
    )
    (refused,) = found["2@example.org"]
    assert refused["status"] == "fail"
    assert "error: 'foo' undeclared" in refused["summary"]
    assert not (branch / "runs").exists()


def test_prep_shows_that_each_commit_builds_or_not(
    branch: Path, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of ``b4 prep --check``, on a branch that ``b4 prep`` made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in (("user.name", "t"), ("user.email", "t@example.org")):
        run("git", "config", name, value, cwd=branch)
    run("git", "config", "b4.prep-perpatch-check-cmd", f"{command} --lines", cwd=branch)
    commits = run("git", "rev-list", "--reverse", "v1..HEAD", cwd=branch).split()
    program = (sys.executable, "-c", "import sys, b4.command; b4.command.cmd()", "prep")
    run(*program, "-n", "change", "-f", "v1", cwd=branch)
    run("git", "reset", "-q", "--hard", "HEAD", cwd=branch)
    run("git", "cherry-pick", commits[0], cwd=branch)

    def checked() -> list[str]:
        """Return the lines about commits, and the last one."""
        done = subprocess.run(
            (*program, "--check", "--no-cache"),
            cwd=branch,
            check=True,
            capture_output=True,
            text=True,
        )
        return [line for line in done.stderr.splitlines() if "\x1b" in line or "Success" in line]

    *_, last = checked()
    assert last == "Success: 1, Warning: 0, Error: 0"
    monkeypatch.setenv("FAKE_MAKE", "compile-error")
    monkeypatch.setenv("HGM_CACHE", str(tmp_path / "other-cache"))
    *found, last = checked()
    assert last == "Success: 0, Warning: 0, Error: 1"
    assert "ERROR: hgm-build: mm/hugetlb.c:812:9: error: 'foo' undeclared" in found[1]


def test_a_mistake_is_one_failure(branch: Path, command: str) -> None:
    found = checks.run_perpatch_checks(
        [("x@example.org", message(b"Subject: hello\n\nx\n"))], [command], str(branch)
    )
    (failed,) = found["x@example.org"]
    assert failed["status"] == "fail"
    assert failed["summary"] == "exited with error code 2"
    assert failed["details"].startswith("hgm: the mail has no patch")
