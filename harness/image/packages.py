# SPDX-License-Identifier: GPL-2.0-only
"""Debian packages as file trees, without root and without installing anything.

apt reads the host's package lists, resolves against an empty list of installed packages, so that
the result does not depend on the host's packages, and writes to a directory of its own. Maintainer
scripts do not run.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

from harness import command
from harness.apt import Package, parse_uris, verify
from harness.deadline import Deadline
from harness.errors import CommandFailed, InfrastructureError
from harness.host import APT_LISTS
from harness.image import tree
from harness.image.tree import Entry
from harness.progress import Progress


class HostApt:
    """apt with its own state directory.

    Args:
        directory: for its caches; it must exist and stay while the object is used.
        architecture: Debian's name of the guest's architecture, such as ``amd64``.
        lists: the package lists to read.
    """

    def __init__(self, directory: Path, architecture: str, lists: Path = APT_LISTS) -> None:
        self._directory = directory
        (directory / "lists").mkdir()
        status = directory / "status"
        status.touch()
        settings = {
            "APT::Architecture": architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",  # otherwise apt, run by root, becomes another user
            "Acquire::ForceHash": "SHA256",
            "Debug::NoLocking": "true",
            "Dir::Cache": str(directory),
            "Dir::State": str(directory),
            "Dir::State::lists": str(lists),
            "Dir::State::status": str(status),
        }
        options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
        self._argv = ("apt-get", "-qq", *options)

    def resolve(self, names: Sequence[str], deadline: Deadline) -> tuple[Package, ...]:
        """Return the named packages and all that they depend on, sorted by name.

        Raises:
            InfrastructureError: if apt does not know one of them.
        """
        try:
            done = command.run([*self._argv, "--print-uris", "install", *names], deadline)
        except CommandFailed as error:
            raise _apt_error(error) from None
        return parse_uris(done.stdout)

    def download(
        self, packages: Sequence[Package], deadline: Deadline, progress: Progress
    ) -> dict[str, Path]:
        """Fetch packages and return each one's .deb file by its name, the hashes checked.

        Raises:
            InfrastructureError: if one cannot be fetched, or is not the file that was resolved.
        """
        home = self._directory / "debs"
        home.mkdir()
        exact = [f"{package.name}={package.version}" for package in packages]
        total = len(packages)

        def arrived(line: str) -> None:
            if line.startswith("Get:"):
                progress.step(int(line[4:].partition(" ")[0]), total, "packages")

        try:
            command.run(
                [*self._argv, "-q=1", "download", *exact], deadline, cwd=home, on_line=arrived
            )
        except CommandFailed as error:
            raise _apt_error(error) from None
        debs = {deb.name.partition("_")[0]: deb for deb in home.iterdir()}
        for package in packages:
            verify(debs[package.name], package)
        return debs


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


def fetch(
    apt: HostApt, wanted: Sequence[Package], scratch: Path, deadline: Deadline, progress: Progress
) -> dict[str, dict[str, Entry]]:
    """Return the file tree of each package, by the package's name."""
    debs = apt.download(wanted, deadline, progress)
    return {name: contents(deb, scratch, deadline) for name, deb in sorted(debs.items())}


def _apt_error(error: CommandFailed) -> InfrastructureError:
    said = error.message.partition(": E: ")[2] or error.message
    return InfrastructureError(
        f"apt-get: {said}",
        hint="refresh its package lists with `sudo apt-get update`",
        command=error.command,
    )
