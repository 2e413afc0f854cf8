# SPDX-License-Identifier: GPL-2.0-only
"""`hgm kernel`: kernel sources and builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.options import (
    DEFAULT_KERNEL,
    json_option,
    kernel_options,
    kernel_request,
    open_context,
    show,
    timeout_option,
)


@click.group()
def kernel() -> None:
    """List and fetch sources, configure and build kernels."""


_log_option = click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("build.log"),
    show_default=True,
    help="File for the output of make.",
)


@kernel.command("build")
@kernel_options
@timeout_option
@_log_option
def kernel_build(log: Path, timeout: float, **options: Any) -> int:
    """Build a kernel, unless cached, and print its image's path."""
    from harness.kernel.obtain import obtain

    with open_context(timeout) as context:
        built = obtain(kernel_request(**options), context, build_log=log)
    click.echo(built.image)
    return 0


@kernel.command("config")
@kernel_options
@timeout_option
@_log_option
@click.option(
    "--check", is_flag=True, help="Print only the requested symbols that the kernel lacks, and why."
)
@click.option(
    "--explain",
    "names",
    multiple=True,
    metavar="SYMBOL",
    help="Print only why a symbol has its value, who asks for it and what it depends on; "
    "repeatable.",
)
def kernel_config(
    log: Path, timeout: float, *, check: bool, names: tuple[str, ...], **options: Any
) -> int:
    """Print the .config of a kernel; nothing is built.

    Exit code 2 if the kernel cannot have a symbol that is required.
    """
    from harness.kernel.obtain import configuration, explained
    from harness.report import symbols

    if names and check:
        raise click.UsageError("give --check or --explain, not both")
    if names:
        bare = [name.removeprefix("CONFIG_") for name in names]
        with open_context(timeout) as context:
            facts = explained(kernel_request(**options), bare, context, log=log)
        for line in symbols.lines(facts):
            click.echo(line)
        return 0
    with open_context(timeout) as context:
        final = configuration(kernel_request(**options), context, log=log)
    if check:
        asked = final.asked.count("\n")
        click.echo(f"{asked - len(final.notes)} of {asked} requested symbols")
        for note in final.notes:
            click.echo(f"  {note}")
    else:
        click.echo(final.text, nl=False)
    return 0


@kernel.command("fetch")
@click.option(
    "--kernel",
    "source",
    default=DEFAULT_KERNEL,
    show_default=True,
    metavar="SPEC",
    help="The kernel source, as in `hgm run`.",
)
@timeout_option
def kernel_fetch(source: str, timeout: float) -> int:
    """Fetch the newest version of a source for later runs."""
    from harness.kernel.obtain import fetch

    with open_context(timeout) as context:
        found = fetch(source, context)
    click.echo(f"{found.origin}, tree {found.tree}")
    return 0


@kernel.command("list")
@timeout_option
@json_option
def kernel_list(as_json: bool, timeout: float) -> int:
    """List Debian's kernel sources.

    Each line has package, version, and the suites that have it. "taken" is the version that
    `--kernel debian:PACKAGE` means; choose another one with `debian:PACKAGE=VERSION` or
    `debian:PACKAGE@SUITE`.
    """
    from harness.kernel.available import available
    from harness.report import kernels

    with open_context(timeout) as context:
        found = available(context)
    show(found, kernels.lines(found), as_json=as_json)
    return 0
