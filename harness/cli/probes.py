# SPDX-License-Identifier: GPL-2.0-only
"""`hgm probes`: the catalogue, the promises that probes rest on, and known issues of kernels."""

from __future__ import annotations

import sys

import click


@click.group()
def probes() -> None:
    """List probes, promises of HGM, and known issues of kernels."""


@probes.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the catalogue as JSON.")
@click.argument("globs", nargs=-1, metavar="[GLOB]...")
def probes_list(globs: tuple[str, ...], as_json: bool) -> int:
    """List the probes that match GLOB and what each shows."""
    import msgspec

    from harness.probes import catalog
    from harness.report import catalog as listing

    chosen = catalog.select(catalog.load(), globs or ("*",))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(chosen), indent=2))
    else:
        listing.write(chosen, sys.stdout)
    return 0


@probes.command("promises")
def probes_promises() -> int:
    """List the promises of HGM, and the profiles of --expect."""
    from harness.probes import promises
    from harness.report import promises as listing

    listing.write(promises.load(), promises.profiles(), sys.stdout)
    return 0


@probes.command("issues")
@click.argument("release", required=False, metavar="[RELEASE]")
def probes_issues(release: str | None) -> int:
    """List the known issues of all kernels, or of RELEASE.

    RELEASE is what `uname -r` prints, such as 6.1.192.
    """
    from harness.errors import SpecError
    from harness.judge import known_issues as judge
    from harness.probes import known_issues
    from harness.report import known_issues as listing

    issues = known_issues.load()
    if release is not None:
        if judge.version(release) is None:
            raise SpecError(f"{release!r} is not a kernel's version", hint="such as 6.1.192")
        issues = judge.of_release(issues, release)
    listing.write(issues, sys.stdout)
    return 0
