# SPDX-License-Identifier: GPL-2.0-only
"""Debian's linux-source packages, through apt and dpkg."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness import command
from harness.deadline import Deadline
from harness.errors import InfrastructureError, SourceError


def download(name: str, room: Path, deadline: Deadline) -> Path:
    """Return the .deb of a package's newest version, downloaded with apt's own checks."""
    done = command.run(["apt-get", "download", "--quiet", name], deadline, cwd=room, ok=None)
    if done.exit_code != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("E: ")]
        if any("Unable to locate package" in line for line in errors):
            raise _unknown(name)
        why = errors[0] if errors else f"exit code {done.exit_code}"
        raise InfrastructureError(
            f"apt-get cannot download {name}: {why}",
            hint="run `apt-get update` as root if its lists are old, or check the network",
            command=done.argv,
        )
    return next(room.glob("*.deb"))


def check(name: str, deadline: Deadline) -> None:
    """Check that apt's lists, if this host has any, have a package.

    Raises:
        SourceError: if apt does not know it.
    """
    argv = ["apt-cache", "show", "--no-all-versions", name]
    if shutil.which(argv[0]) and command.run(argv, deadline, ok=None).exit_code != 0:
        raise _unknown(name)


def _unknown(name: str) -> SourceError:
    return SourceError(
        f"apt does not know the package {name}",
        hint="run `apt-get update` as root, or see `apt-cache search linux-source`",
    )


def version(package: Path, deadline: Deadline) -> str:
    """Return the version of a .deb."""
    argv = ["dpkg-deb", "--field", str(package), "Version"]
    return command.run(argv, deadline).stdout.strip()


def tarball(package: Path, room: Path, deadline: Deadline) -> Path:
    """Return the source tarball in a linux-source package, unpacked into ``room``."""
    out = room / "package"
    command.run(["dpkg-deb", "--extract", str(package), str(out)], deadline)
    package.unlink()
    tarballs = sorted((out / "usr/src").glob("linux-source-*.tar.*"))
    if not tarballs:
        raise SourceError(
            f"{package.name} has no usr/src/linux-source-*.tar.*",
            hint="use one of the linux-source-VERSION packages",
        )
    return tarballs[0]
