# SPDX-License-Identifier: GPL-2.0-only
"""`hgm doctor` and `hgm test`: this host, and this project on it."""

from __future__ import annotations

import sys

import click


@click.command()
def doctor() -> int:
    """Show what this host lacks, and the command that installs it."""
    from harness import doctor as host_doctor
    from harness.vm import accel
    from harness.workspace import Workspace

    known = accel.remembered(Workspace.default())
    findings = host_doctor.examine((known.works, known.reason) if known else None)
    host_doctor.write(findings, sys.stdout)
    return host_doctor.exit_code(findings)


@click.command()
@click.argument("environments", nargs=-1)
def test(environments: tuple[str, ...]) -> int:
    """Run the project's own tests.

    ENVIRONMENTS are lint, types, unit, component and kernel, all by default. One more, long, builds
    many kernels and is only run by name.
    """
    from harness.selfcheck import tests

    return tests.run(environments)
