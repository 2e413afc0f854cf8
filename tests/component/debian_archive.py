# SPDX-License-Identifier: GPL-2.0-only
"""A small archive laid out as Debian's, signed with a key of its own, for the real apt."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pysequoia import SignatureMode, Tsk, sign

from harness import apt
from harness.apt import KEYRING_VARIABLE, MAIN_VARIABLE, SECURITY_VARIABLE
from harness.arch import host_arch

RELEASES = {"stable": "trixie", "oldstable": "bookworm", "testing": "forky"}


class DebianArchive:
    """Packages in suites below a directory; ``debian-security`` has those called ``*-security``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = Tsk.generate("Archive <archive@example.org>")
        self.keyring = root / "keyring.gpg"
        self.keyring.parent.mkdir(parents=True, exist_ok=True)
        self.keyring.write_bytes(bytes(self.key.extract_certificate()))
        self._packages: dict[str, list[Path]] = {}
        self._published = 0

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the harness fetch from here."""
        monkeypatch.setenv(MAIN_VARIABLE, f"file:{self.root}/debian")
        monkeypatch.delenv(SECURITY_VARIABLE, raising=False)
        monkeypatch.setenv(KEYRING_VARIABLE, str(self.keyring))

    def add(self, suite: str, name: str, version: str, files: Path | None = None) -> Path:
        """Put a package into a suite and return its .deb; ``files`` is what it installs."""
        tree = self.root / "building" / name / version
        (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (tree / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
            "Maintainer: t <t@example.org>\nDescription: toy\n"
        )
        if files is not None:
            subprocess.run(["cp", "-a", f"{files}/.", str(tree)], check=True)
        deb = self._home(suite) / "pool" / f"{name}_{version}_all.deb"
        deb.parent.mkdir(parents=True, exist_ok=True)
        build = ["dpkg-deb", "-Znone", "--build", "--root-owner-group", str(tree), str(deb)]
        subprocess.run(build, check=True, capture_output=True)
        self._packages.setdefault(suite, []).append(deb)
        return deb

    def publish(
        self, *suites: str, codename: str = "", key: Tsk | None = None, extra: Sequence[str] = ()
    ) -> None:
        """Write the lists of suites, signed."""
        self._published += 1
        for suite in suites:
            lists = self._home(suite) / "dists" / suite
            packages = f"main/binary-{host_arch().debian}/Packages"
            (lists / packages).parent.mkdir(parents=True, exist_ok=True)
            text = "\n".join(map(self._stanza, self._packages.get(suite, []))).encode()
            (lists / packages).write_bytes(text)
            release = [
                f"Suite: {suite}",
                f"Codename: {codename or suite}",
                f"Date: Fri, 01 Jan 2021 00:{self._published:02}:00 UTC",
                f"Architectures: {host_arch().debian}",
                "Components: main",
                *extra,
                f"SHA256:\n {hashlib.sha256(text).hexdigest()} {len(text)} {packages}\n",
            ]
            signed = sign(
                (key or self.key).signer(), "\n".join(release).encode(), mode=SignatureMode.CLEAR
            )
            (lists / "InRelease").write_bytes(signed)

    def publish_all(self) -> None:
        """Write the lists of every suite that Debian has."""
        for name, codename in RELEASES.items():
            self.publish(name, codename=codename)
        for release in RELEASES.values():
            self.publish(*apt.release(release))
        self.publish("trixie-backports", "bookworm-backports", "sid", "experimental")

    def lists(self, suite: str) -> Path:
        """Return the directory of a suite's lists."""
        return self._home(suite) / "dists" / suite

    def _home(self, suite: str) -> Path:
        security = suite.endswith("-security")
        return self.root / ("debian-security" if security else "debian")

    def _stanza(self, deb: Path) -> str:
        control = subprocess.run(
            ["dpkg-deb", "--field", str(deb)], check=True, capture_output=True, text=True
        )
        data = deb.read_bytes()
        return (
            f"{control.stdout}Filename: pool/{deb.name}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
        )


class Notes:
    """A progress that keeps stages and notes."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []

    def stage(self, name: str, detail: str = "") -> None:
        self.stages.append(f"{name} {detail}")

    def step(self, done: int, total: int | None, unit: str) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


@contextlib.contextmanager
def empty_debian(directory: Path) -> Iterator[None]:
    """Have Debian be an archive with one empty package, made in a directory."""
    archive = DebianArchive(directory)
    archive.add("trixie", "linux-source-6.12", "6.12.7-1")
    archive.publish_all()
    with pytest.MonkeyPatch.context() as monkeypatch:
        archive.use(monkeypatch)
        yield
