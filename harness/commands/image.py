# SPDX-License-Identifier: GPL-2.0-only
"""`hgm image`: guest images."""

from __future__ import annotations

import click

from harness.commands.options import new_display, new_tools, timeout_option


@click.group()
def image() -> None:
    """Guest images."""


@image.command("build")
@timeout_option
@click.option("--refresh", is_flag=True, help="Take the newest packages instead of the last ones.")
def image_build(timeout: float, refresh: bool) -> int:
    """Build the guest image, or find it finished, and print where its parts lie."""
    from harness.guest import image as guest_image

    with new_display() as display:
        tools = new_tools(timeout, display)
        built = guest_image.obtain(refresh=refresh, **tools.arguments())
    click.echo(f"{built.initramfs}\n{built.disk}")
    return 0
