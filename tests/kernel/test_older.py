# SPDX-License-Identifier: GPL-2.0-only
"""The baseline on an older kernel, which has bugs that were fixed since."""

from collections.abc import Callable

from tests.kernel.conftest import OLDER, Run, is_stock

Hgm = Callable[..., Run]

#: Bugs of the older kernel that the baseline finds; probes/known-issues.toml has them.
_KNOWN_IN_OLDER = {
    "eagain-leaves-result-unwritten",
    "uffd-wp-inherited-by-fork",
    "collapse-swallows-missing-faults",
    "close-and-gup-wait-for-ever",
}


def test_an_older_kernel_passes_the_baseline_but_for_its_known_bugs(hgm: Hgm) -> None:
    run = hgm("run", "--kernel", OLDER, "--json")
    is_stock(run, OLDER)
    assert {each["issue"]["name"] for each in run.record["known_issues"]} >= _KNOWN_IN_OLDER


def test_a_strict_run_fails_by_a_known_issue(hgm: Hgm) -> None:
    words = ("--kernel", OLDER, "--probe", "baseline/uffd-eagain", "--strict", "--json")
    run = hgm("run", *words)
    assert run.code == 1, run.err
    assert run.record["reason"].startswith(
        "baseline/uffd-eagain/2M KNOWN: eagain-leaves-result-unwritten (fixed by 95567729173e)"
    )
