# SPDX-License-Identifier: GPL-2.0-only
"""`hgm image`: guest images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import arch_option, guest_arch, open_context, timeout_option

if TYPE_CHECKING:
    from harness.image.image import Manifest

_FILE = click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def image() -> None:
    """Build the guest image, or bring it to a host without apt."""


@image.command("build")
@timeout_option
@arch_option
@click.option(
    "--refresh", is_flag=True, help="Use the newest packages, not those of the last build."
)
def image_build(timeout: float, refresh: bool, arch: str) -> int:
    """Build the guest image, unless cached, and print its paths.

    These are the initramfs and the read-only disk. The same packages make the same bytes on every
    host.
    """
    from harness.image import image as guest_image

    with open_context(timeout) as context:
        built = guest_image.obtain(guest_arch(arch), context, refresh=refresh)
    click.echo(f"{built.initramfs}\n{built.disk}")
    return 0


@image.command("export")
@timeout_option
@arch_option
@_FILE
def image_export(timeout: float, arch: str, file: Path) -> int:
    """Write the guest image to a file, built first unless cached.

    Prints what it is, and the file's SHA-256.
    """
    from harness.image import archive
    from harness.image import image as guest_image

    with open_context(timeout) as context:
        manifest = archive.write(guest_image.obtain(guest_arch(arch), context), file)
    _describe(file, manifest)
    return 0


@image.command("import")
@timeout_option
@_FILE
def image_import(timeout: float, file: Path) -> int:
    """Use the guest image in a file from `hgm image export`.

    Checks its files against their digests first. Prints what it is, and the file's SHA-256.
    """
    from harness.image import archive

    with open_context(timeout) as context:
        manifest = archive.read(file, context)
    _describe(file, manifest)
    return 0


def _describe(file: Path, manifest: Manifest) -> None:
    from harness.workspace import file_digest

    click.echo(f"image    {manifest.key}")
    click.echo(f"made of  {len(manifest.packages)} packages of Debian {manifest.suite}")
    click.echo(f"sha256   {file_digest(file)}  {file}")
