# SPDX-License-Identifier: GPL-2.0-only
"""`hgm image`: guest images."""

from __future__ import annotations

import click

from harness.cli.options import new_context, new_display, timeout_option


@click.group()
def image() -> None:
    """Guest images."""


@image.command("build")
@timeout_option
@click.option("--refresh", is_flag=True, help="Take the newest packages instead of the last ones.")
def image_build(timeout: float, refresh: bool) -> int:
    """Build the guest image, or find it finished, and print where its parts lie."""
    from harness.image import image as guest_image

    with new_display() as display:
        context = new_context(timeout, display)
        built = guest_image.obtain(context, refresh=refresh)
    click.echo(f"{built.initramfs}\n{built.disk}")
    return 0
