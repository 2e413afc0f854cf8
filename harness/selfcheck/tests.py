# SPDX-License-Identifier: GPL-2.0-only
"""`hgm test`: tox with this project's environments, and a check that real kernels were booted.

After tox has passed, the JUnit report of its `kernel` environment must have tests, none skipped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from junitparser import JUnitXml, TestSuite

from harness import command, data
from harness.deadline import Deadline
from harness.errors import UserError

ENVIRONMENTS = ("lint", "types", "unit", "component", "kernel")

#: Too long for every change; run only by name.
BY_NAME = ("long",)

# These run no tests of pytest.
_WITHOUT_TESTS = ("lint", "types")

#: What the `kernel` environment writes, in the checkout.
_KERNEL_REPORT = ".tox/kernel-junit.xml"

#: Says how many processes run tests; `tox.ini` has a default for plain tox.
_WORKERS = "HGM_TEST_WORKERS"

#: Bytes of memory below which two guests with the default pools are too much at a time.
_MEMORY_FOR_TWO = 12 << 30

_SECONDS = 85 * 60.0
_DAY = 86400.0


def run(environments: Sequence[str], expression: str = "") -> int:
    """Run tox environments, all by default, and return the exit code.

    Args:
        environments: their names.
        expression: limits their tests, as pytest's ``-k``; empty for all.

    Raises:
        click.UsageError: if an environment is unknown, or has no tests of which some could be left
            out.
        UserError: if this is not a checkout; a wheel holds no tests.
    """
    for name in environments:
        if name not in (*ENVIRONMENTS, *BY_NAME):
            known = ", ".join((*ENVIRONMENTS, *BY_NAME))
            raise click.UsageError(f"unknown test environment {name!r}: use {known}")
    if expression and (not environments or set(environments) & set(_WITHOUT_TESTS)):
        raise click.UsageError(
            "-k needs an environment with tests: unit, component, kernel or long"
        )
    if data.CHECKOUT is None:
        raise UserError("an installed wheel holds no tests", hint="type ./hgm test in a checkout")
    chosen = tuple(environments) or ENVIRONMENTS
    report = data.CHECKOUT / _KERNEL_REPORT
    report.unlink(missing_ok=True)
    seconds = _SECONDS if chosen == ENVIRONMENTS else _DAY
    argv = [sys.executable, "-P", "-m", "tox", "run", "-e", ",".join(chosen)]
    argv += ["--", "-k", expression] if expression else []
    env = {_WORKERS: os.environ.get(_WORKERS, _workers())}
    with command.start(argv, cwd=data.CHECKOUT, env=env, stdout=1, stderr=2) as tox:
        code = tox.wait(Deadline.after(seconds, "tox"))
    if code != 0:
        return 1
    if "kernel" not in chosen:
        return 0
    fault = kernel_fault(report)
    if fault:
        click.echo(f"hgm: the real-kernel tests do not count: {fault}", err=True)
        return 1
    return 0


def _workers() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return "1" if memory < _MEMORY_FOR_TWO or os.cpu_count() == 1 else "2"


def kernel_fault(report: Path) -> str:
    """Return why a JUnit report does not show that the real-kernel tests ran; empty if it does."""
    if not report.exists():
        return f"{report} was not written"
    document = JUnitXml.fromfile(str(report))
    suites = [document] if isinstance(document, TestSuite) else list(document)
    tests = sum(suite.tests for suite in suites)
    skipped = sum(suite.skipped for suite in suites)
    if tests == 0:
        return "none ran"
    if skipped:
        return f"{skipped} of {tests} were skipped"
    return ""
