# SPDX-License-Identifier: GPL-2.0-only
"""Debian packages as file trees, without root and without installing anything.

Maintainer scripts do not run.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from harness import command
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.image import tree
from harness.image.tree import Entry


def contents(deb: Path, scratch: Path, deadline: Deadline) -> dict[str, Entry]:
    """Return the file tree of a package.

    Args:
        deb: the package.
        scratch: a path for a temporary file.
        deadline: when it must be done.

    Raises:
        InfrastructureError: if the package is damaged.
    """
    with (
        scratch.open("w+b") as archive,
        command.start(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=archive) as process,
    ):
        if process.wait(deadline) != 0:
            raise InfrastructureError(f"dpkg-deb cannot read {deb.name}", command=process.argv)
        archive.seek(0)
        try:
            return tree.read_tar(archive)
        except (tarfile.TarError, ValueError) as error:
            raise InfrastructureError(f"{deb.name}: {error}") from None
