# SPDX-License-Identifier: GPL-2.0-only
"""`hgm image`: guest images."""

from __future__ import annotations

import click

from harness.cli.options import new_context, new_display, timeout_option


@click.group()
def image() -> None:
    """Build the guest image."""


@image.command("build")
@timeout_option
@click.option(
    "--refresh", is_flag=True, help="Use the newest packages, not those of the last build."
)
def image_build(timeout: float, refresh: bool) -> int:
    """Build the guest image, unless cached, and print its paths.

    These are the initramfs and the read-only disk.
    """
    from harness.image import image as guest_image

    with new_display() as display:
        context = new_context(timeout, display)
        built = guest_image.obtain(context, refresh=refresh)
    click.echo(f"{built.initramfs}\n{built.disk}")
    return 0
