# SPDX-License-Identifier: GPL-2.0-only
"""Debian's packages through apt, with lists of our own in the cache.

The host's lists and configuration are not touched, root is not needed, and what is found does not
depend on the host's release: it comes from the suites that the caller names. Debian's keys verify
every list, and the lists every package. From the host come the mirror, proxies and credentials.

``apt/`` in the cache has a directory for each set of suites, with its lists; they are fetched again
when they are older than `FRESH`. If that fails for want of a network, the old ones are used.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from harness import cache, command
from harness.arch import host_arch
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import HarnessError, InfrastructureError, NoSpace, ToolMissing, UserError
from harness.records.base import Record
from harness.workspace import atomic_write, digest, file_digest

#: Lists that are younger are not fetched again, seconds. Debian publishes four times a day.
FRESH = 24 * 3600.0

#: Where Debian's package debian-archive-keyring has the keys.
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

MAIN_VARIABLE = "HGM_DEBIAN_MIRROR"
SECURITY_VARIABLE = "HGM_DEBIAN_SECURITY_MIRROR"
KEYRING_VARIABLE = "HGM_DEBIAN_KEYRING"

_CONF = Path(__file__).with_name("apt.conf")
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*\Z")
_URL = re.compile(r"[a-z][a-z0-9+.-]*:\S+\Z")
_URI_LINE = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>\S+)\Z")
_BAD_SIGNATURE = re.compile(r"GPG error|BADSIG|is not signed|no longer signed|NOSPLIT|sqv")
_RELEASE_FIELD = re.compile(r"^(Suite|Codename): (\S+)$", re.MULTILINE)
_NO_SUCH_PACKAGE = re.compile(r"Unable to locate package|Version '\S+' for '\S+' was not found")
_NO_SUCH_SUITE = re.compile(r"repository '(\S+) (\S+) Release' does not have a Release file")
_NOT_THERE = re.compile(r"404 +Not Found|File not found")


class Package(Record, frozen=True, kw_only=True):
    """One version of a Debian package.

    Attributes:
        name: such as ``libc6``.
        version: with the epoch.
        size: bytes of the .deb file.
        sha256: of the .deb file.
    """

    name: str
    version: str
    size: int
    sha256: str


class Offer(Record, frozen=True, kw_only=True):
    """A version of a package that a suite has.

    Attributes:
        package: its name.
        version: with the epoch.
        suite: the suite, as it was asked for.
    """

    package: str
    version: str
    suite: str


class Archives(NamedTuple):
    """Where Debian's packages come from.

    Attributes:
        main: URL of the archive that has ``dists/stable``.
        security: URL of the archive that has ``dists/stable-security``.
    """

    main: str
    security: str


def release(name: str) -> tuple[str, ...]:
    """Return the suites of a release: itself, its updates and its security updates.

    The suites that have neither are returned alone: unstable, experimental, and parts of a release
    such as ``trixie-backports``.
    """
    if "-" in name or name in ("sid", "unstable", "experimental"):
        return (name,)
    return (name, f"{name}-updates", f"{name}-security")


class Apt:
    """apt, reading suites of Debian.

    Args:
        suites: such as ``trixie`` or ``trixie-security``; see `release`.
        context: cache, deadline, progress.
        architecture: Debian's name of it; by default this host's. Packages for all architectures,
            such as the kernel's sources, are in the lists of each.
        targets: which lists to fetch; ``none`` for the suites' signed ``Release`` files alone.

    Raises:
        UserError: if a suite's name is malformed, or a variable of the environment is.
        InfrastructureError: if no mirror is known, or Debian's keys are not there.
    """

    def __init__(
        self,
        suites: Sequence[str],
        context: Context,
        architecture: str = "",
        *,
        targets: str = "Packages",
    ) -> None:
        for name in suites:
            if not _NAME.match(name):
                raise UserError(f"{name!r} is not the name of a suite", hint="such as trixie")
        architecture = architecture or host_arch().debian
        self._context = context
        self._suites = tuple(suites)
        fields = f"Components: main\nArchitectures: {architecture}\nTargets: {targets}\n"
        fields += f"Signed-By: {_keyring()}\n"
        self._sources = _sources(archives(context.deadline), suites, fields)
        name = f"{self._suites[0]}-{digest(self._sources)[:16]}"
        self._home = context.workspace.room("apt") / name
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "Dir::Cache": str(self._home),
            "Dir::Etc::SourceList": str(self._home / "debian.sources"),
            "Dir::State": str(self._home),
            "Dir::State::lists": str(self._home / "lists"),
        }
        options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
        self._options = ("-c", str(_CONF), *options)

    def refresh(self, older_than: float = FRESH) -> None:
        """Fetch the lists if they are older than that, seconds; other methods do so by default.

        Raises:
            UserError: if the archive does not have one of the suites.
            InfrastructureError: if a list's signature is not by one of Debian's keys, or if there
                are no lists yet and they cannot be fetched.
        """
        lock = f"{self._home.parent.name}/{self._home.name}"
        context, fetched = self._context, self._home / "fetched"
        with context.workspace.lock(lock, context.deadline, context.progress):
            age = time.time() - fetched.stat().st_mtime if fetched.exists() else None
            if age is not None and age < older_than:
                return
            context.progress.stage("apt", f"package lists of {', '.join(self._suites)}")
            self._home.mkdir(exist_ok=True)
            atomic_write(self._home / "debian.sources", self._sources)
            try:
                self._update()
            except HarnessError as error:
                if age is None:
                    cache.forget([self._home])
                if age is None or not isinstance(error, _Unreachable):
                    raise
                context.progress.note(f"{error.line()}; using the lists of {age / 3600:.0f} h ago")
            else:
                fetched.touch()

    def codenames(self) -> dict[str, str]:
        """Return the codename of each suite, such as ``trixie`` of ``stable``."""
        self.refresh()
        texts = [path.read_text() for path in (self._home / "lists").glob("*Release")]
        pairs = (dict(_RELEASE_FIELD.findall(text)) for text in texts)
        return {fields["Suite"]: fields["Codename"] for fields in pairs}

    def offers(self, prefix: str) -> tuple[Offer, ...]:
        """Return all versions of the packages whose names begin so: by name, newest first."""
        self.refresh()
        names = sorted(self._run("apt-cache", "pkgnames", prefix).stdout.split())
        if not names:
            return ()
        rows = self._run("apt-cache", "madison", *names).stdout.splitlines()
        return tuple(_offer(row) for row in rows)

    def package(self, name: str, version: str) -> Package:
        """Return one version of a package.

        Raises:
            UserError: if the suites do not have it.
        """
        self.refresh()
        done = self._run("apt-get", "-qq", "--print-uris", "download", f"{name}={version}")
        return parse_uris(done.stdout)[0]

    def resolve(self, names: Sequence[str]) -> tuple[Package, ...]:
        """Return the named packages and all that they depend on, sorted by name.

        Raises:
            UserError: if the suites do not have one of them.
        """
        self.refresh()
        return parse_uris(self._run("apt-get", "-qq", "--print-uris", "install", *names).stdout)

    def download(self, packages: Sequence[Package], into: Path) -> dict[str, Path]:
        """Fetch packages into an empty directory; return each one's .deb by its name.

        Raises:
            InfrastructureError: if one cannot be fetched, or is not the file that was resolved.
        """
        exact = [f"{package.name}={package.version}" for package in packages]

        def arrived(line: str) -> None:
            if line.startswith("Get:"):
                number = int(line[4:].partition(" ")[0])
                self._context.progress.step(number, len(packages), "packages")

        self._run("apt-get", "-q", "download", *exact, cwd=into, on_line=arrived)
        debs = {deb.name.partition("_")[0]: deb for deb in into.iterdir()}
        for package in packages:
            verify(debs[package.name], package)
        return debs

    def _update(self) -> None:
        argv = ["apt-get", *self._options, "-q", "update"]
        done = command.run(argv, self._context.deadline, ok=None)
        if done.exit_code != 0:
            raise self._error(done)

    def _run(
        self,
        program: str,
        *words: str,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> command.Completed:
        argv = [program, *self._options, *words]
        with cache.pin(self._home):
            cache.touch(self._home)
            done = command.run(argv, self._context.deadline, cwd=cwd, on_line=on_line, ok=None)
        if done.exit_code != 0:
            raise self._error(done)
        return done

    def _error(self, done: command.Completed) -> HarnessError:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("E: ", "W: "))]
        said = next((line[3:] for line in lines if line.startswith("E: ")), "")
        if _NO_SUCH_PACKAGE.search(said):
            return UserError(f"Debian's {', '.join(self._suites)}: {said}")
        suite = _NO_SUCH_SUITE.search(said)
        if suite and _NOT_THERE.search(done.stdout):
            return UserError(
                f"{suite[1]} has no suite {suite[2]}", hint="such as trixie or trixie-backports"
            )
        refused = next((line[3:] for line in lines if _BAD_SIGNATURE.search(line)), "")
        if refused:
            return InfrastructureError(
                f"apt-get does not trust what it fetched: {refused}",
                hint="if a key is missing, the package debian-archive-keyring is too old: upgrade "
                f"it, or set {KEYRING_VARIABLE}",
                command=done.argv,
            )
        error = command.failure(done)
        if isinstance(error, NoSpace):
            return error
        return _Unreachable(
            f"apt-get: {said or error.message}",
            hint=f"check the network, or set {MAIN_VARIABLE} to another mirror",
            command=done.argv,
        )


class _Unreachable(InfrastructureError):
    """apt could not fetch something, for a reason other than its signature."""


def archives(deadline: Deadline) -> Archives:
    """Return where to fetch from: what the environment says, else the host's mirror of Debian.

    Raises:
        UserError: if a variable of the environment is not a URL.
        InfrastructureError: if neither names one, as on a host that is not Debian.
        ToolMissing: if there is no apt.
    """
    if shutil.which("apt-get") is None:
        raise ToolMissing(
            "Debian's packages come through apt-get, and it is not installed",
            hint="without it use a kernel of another kind: tree:, git:, tar: or image:",
        )
    main, security = _variable(MAIN_VARIABLE), _variable(SECURITY_VARIABLE)
    if not main:
        entries = _host_entries(deadline)
        main = next((url for url, suite in entries if not suite.endswith("-security")), "")
        security = security or next(
            (url for url, suite in entries if suite.endswith("-security")), ""
        )
    if not main:
        raise InfrastructureError(
            "apt's sources on this host have no mirror of Debian",
            hint=f"set {MAIN_VARIABLE} to the URL of one, which has dists/stable below it",
        )
    main = main.rstrip("/")
    # Where Debian's mirrors have it by convention.
    return Archives(main, security.rstrip("/") or f"{main}-security")


def _variable(name: str) -> str:
    value = os.environ.get(name, "")
    if value and not _URL.match(value):
        raise UserError(f"{name} is {value!r}, not a URL", hint="such as file:/srv/mirror/debian")
    return value


def _host_entries(deadline: Deadline) -> list[tuple[str, str]]:
    """Return the URL and suite of each entry of the host's sources that is Debian's."""
    listing = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(LABEL)"]
    known = command.run([*listing, "Created-By: Packages"], deadline).stdout
    rows = [line.split(" ", 2) for line in known.splitlines()]
    found = [(url, suite) for url, suite, label in rows if label in ("Debian", "Debian-Security")]
    if found:
        return found
    # Without lists, as in a new container, apt knows no labels; the name of the release decides.
    system = platform.freedesktop_os_release()
    if system["ID"] != "debian":
        return []
    suites = {"stable", "testing", "unstable", "sid", system.get("VERSION_CODENAME", "")}
    suites |= {f"{suite}-security" for suite in suites}
    argv = [*listing, "--no-release-info", "Created-By: Packages"]
    rows = [line.split(" ", 2) for line in command.run(argv, deadline).stdout.splitlines()]
    return [(url, suite) for url, suite, _ in rows if suite in suites]


def _keyring() -> str:
    path = os.environ.get(KEYRING_VARIABLE) or KEYRING
    if not Path(path).is_file():
        raise InfrastructureError(
            f"Debian's keys are not there: {path}",
            hint=f"install the package debian-archive-keyring, or set {KEYRING_VARIABLE}",
        )
    return path


def _sources(archives: Archives, suites: Sequence[str], fields: str) -> str:
    """Return the text of the sources file: a stanza for each of the two archives."""
    security = [suite for suite in suites if suite.endswith("-security")]
    main = [suite for suite in suites if suite not in security]
    return "\n".join(
        f"Types: deb\nURIs: {url}\nSuites: {' '.join(names)}\n{fields}"
        for url, names in ((archives.main, main), (archives.security, security))
        if names
    )


def _offer(row: str) -> Offer:
    """Return a row of `apt-cache madison`."""
    package, version, place = (part.strip() for part in row.split("|"))
    return Offer(package=package, version=version, suite=place.split()[1].partition("/")[0])


def parse_uris(text: str) -> tuple[Package, ...]:
    """Return the packages in the output of ``apt-get --print-uris``, sorted by name.

    Raises:
        InfrastructureError: if a line is not of the known form.
    """
    return tuple(sorted(map(_package, text.splitlines()), key=lambda one: one.name))


def _package(line: str) -> Package:
    match = _URI_LINE.match(line)
    if match is None:
        raise InfrastructureError(f"apt-get --print-uris printed an unknown line: {line[:120]!r}")
    name, version, _ = urllib.parse.unquote(match["file"]).split("_")
    return Package(name=name, version=version, size=int(match["size"]), sha256=match["sha256"])


def verify(deb: Path, package: Package) -> None:
    """Raise InfrastructureError unless the file is exactly that package."""
    if file_digest(deb) != package.sha256:
        raise InfrastructureError(
            f"the package {package.name} {package.version} arrived damaged: the SHA-256 of "
            f"{deb.name} is not the one in apt's lists",
            hint="try again",
        )
