# SPDX-License-Identifier: GPL-2.0-only
"""`hgm probes`: the catalogue, and the promises that probes rest on."""

from __future__ import annotations

import sys

import click


@click.group()
def probes() -> None:
    """List the probes."""


@probes.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the catalogue as JSON.")
@click.argument("globs", nargs=-1, metavar="[GLOB]...")
def probes_list(globs: tuple[str, ...], as_json: bool) -> int:
    """List the probes that match GLOB, or all, and what each shows."""
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
