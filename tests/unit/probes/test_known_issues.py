# SPDX-License-Identifier: GPL-2.0-only
"""The file of known issues, and what is wrong in one."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from harness import pipeline
from harness.context import Context
from harness.data import directory
from harness.deadline import Deadline
from harness.errors import SpecError
from harness.kernel.obtain import KernelRequest
from harness.probes import known_issues
from harness.progress import Silent
from harness.records.known_issue import KnownIssue
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.vm import spec
from harness.workspace import Workspace

GOOD = """
[[issue]]
name = "one"
shows = "what is seen"
probes = ["baseline/pool"]
test = "a test"
reason = "a reason"
since = ["6.6"]
fixed_in = ["6.12.29", "6.15-rc6"]
fix = '95567729173e ("mm: fix it")'
"""


def load(tmp_path: Path, text: str) -> tuple[KnownIssue, ...]:
    path = tmp_path / "known-issues.toml"
    path.write_text(text)
    return known_issues.load(path)


def test_globs_become_the_names_of_probes_of_every_size(tmp_path: Path) -> None:
    (issue,) = load(tmp_path, GOOD)
    assert issue.probes == tuple(
        f"baseline/pool/{size}" for size in ("1G", "2M", "512M", "32M", "64K")
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("baseline/pool", "baseline/pol", "one: 'baseline/pol' matches no probe"),
        ('reason = "a reason"', "", "one: `test` and `reason` belong together"),
        ('test = "a test"\nreason = "a reason"', "", "one: it names neither a test nor"),
        ("a reason", "(", "one: '(' is not a regular expression"),
        ("fix =", "report = 'docs'\nfix =", "one: it has neither `fix` nor `report`, or both"),
        ("95567729173e", "955677", "fix"),
        ("6.15-rc6", "6.15.0", "fixed_in"),
        ("6.15-rc6", '6.16", "6.15', "one: 6.12.29, 6.16, 6.15 has two versions of one line"),
        ("6.15-rc6", "6.12.30", "one: 6.12.29, 6.12.30 has two versions of one line"),
        ("shows", "says", "`says`"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        load(tmp_path, GOOD.replace(old, new))


def test_a_name_is_unique(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="one: another issue has this name"):
        load(tmp_path, GOOD * 2)


def test_the_tests_that_ours_name_are_in_the_sources_of_their_probes() -> None:
    """A renamed test would turn a known issue into a failure of every kernel that has it."""
    sources = "".join(path.read_text() for path in (directory("probes") / "c").glob("*.c"))
    names = re.findall(r'{ "([^"]+)",', sources)
    for issue in known_issues.load():
        assert not issue.test or any(re.fullmatch(issue.test, name) for name in names), issue.name


def test_a_wrong_file_is_an_error_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "known-issues.toml"
    path.write_text(GOOD * 2)
    monkeypatch.setattr(known_issues, "load", functools.partial(known_issues.load, path))
    subject = Subject(
        kernel=KernelRequest(source="tree:/none", arch="x86_64"),
        machine=spec.machine((), arch_name="x86_64"),
    )
    context = Context(Workspace(tmp_path), Deadline.after(60, "the test"), Silent())
    with pytest.raises(SpecError, match="another issue has this name"):
        pipeline.check(RunRequest(subject=subject), context)


def test_files_that_were_right_are_not_read_again_before_they_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "known-issues.toml"
    path.write_text(GOOD)
    loads: list[Path] = []
    monkeypatch.setattr(known_issues, "_FILE", path)
    monkeypatch.setattr(known_issues, "load", lambda: loads.append(path))
    for _ in range(2):
        known_issues.check(Workspace(tmp_path))
    assert len(loads) == 1
    path.write_text(GOOD * 2)
    known_issues.check(Workspace(tmp_path))
    assert len(loads) == 2
