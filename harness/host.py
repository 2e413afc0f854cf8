# SPDX-License-Identifier: GPL-2.0-only
"""What this host needs: Debian packages and a Python environment, found and installed.

Runs before anything is installed, so it imports the standard library only. `hgm` calls `prepare`;
`hgm doctor` shows what `missing_packages` finds.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import data

ROOT = Path(__file__).resolve().parent.parent

#: The oldest Python that the harness runs on; Debian 12 has it.
MINIMUM_PYTHON = (3, 11)


@dataclass(frozen=True)
class HostPackage:
    """One Debian package that the harness needs.

    Attributes:
        name: the package.
        shown_by: a program in PATH, or an absolute path, that is there when the package is.
        needed_by: ``build`` or ``run``: see ``host-packages.txt``.
        purpose: what it is for.
    """

    name: str
    shown_by: str
    needed_by: str
    purpose: str

    def present(self) -> bool:
        """Return whether it is there, however it came."""
        if self.shown_by.startswith("/"):
            return Path(self.shown_by).exists()
        return shutil.which(self.shown_by) is not None


class HostError(Exception):
    """The host cannot be made ready; the message is one line that says what to do."""


def program() -> str:
    """Return the path of the checkout's ``hgm``, or of ``hgm-harness`` installed from a wheel."""
    if data.CHECKOUT is not None:
        return str(data.CHECKOUT / "hgm")
    script = Path(sys.executable).with_name("hgm-harness")
    return str(script) if script.exists() else script.name  # with `pip --user` it is in PATH


def command_line(words: Sequence[str]) -> tuple[str, ...]:
    """Return an argv that runs `hgm WORDS` from any directory as if it were this one."""
    return ("env", "-C", str(Path.cwd()), program(), *words)


def packages() -> list[HostPackage]:
    """Return what ``host-packages.txt`` names, in its order."""
    text = (ROOT / "harness" / "host-packages.txt").read_text()
    rows = [line.split(None, 3) for line in text.splitlines() if line and not line.startswith("#")]
    return [HostPackage(*row) for row in rows]


def missing_packages() -> list[HostPackage]:
    """Return the packages that are not there; python3-venv among them where it is needed."""
    missing = [package for package in packages() if not package.present()]
    if importlib.util.find_spec("ensurepip") is None:
        missing.append(
            HostPackage("python3-venv", "ensurepip", "run", "makes the Python environment")
        )
    return missing


def install_line(missing: list[HostPackage]) -> list[str]:
    """Return the argv that installs packages, with sudo in front for an ordinary user."""
    names = [package.name for package in missing]
    return [*_sudo(), "apt-get", "install", "-y", "--no-install-recommends", *names]


def update_line() -> list[str]:
    """Return the argv that refreshes apt's package lists."""
    return [*_sudo(), "apt-get", "update", "-q"]


def _sudo() -> list[str]:
    return [] if os.geteuid() == 0 else ["sudo"]


def prepare() -> Path:
    """Make the host ready and return the Python that runs the harness.

    Says on standard error what it installs; quiet and quick when nothing is to be done.

    Raises:
        HostError: if something is missing and cannot be installed.
    """
    if sys.version_info < MINIMUM_PYTHON:
        wanted = ".".join(map(str, MINIMUM_PYTHON))
        raise HostError(f"Python {sys.version.split()[0]} is too old; {wanted} or newer is needed")
    missing = missing_packages()
    if missing:
        _install(missing)
    environment = cache_root() / "venv" / _environment_key()
    python = environment / "bin" / "python"
    if not (environment / "ready").exists():
        with _locked(environment.with_suffix(".lock")):
            if not (environment / "ready").exists():
                _make_environment(environment, python)
    return python


def _install(missing: list[HostPackage]) -> None:
    line = install_line(missing)
    text = shlex.join(line)
    if shutil.which("apt-get") is None or shutil.which(line[0]) is None:
        names = ", ".join(package.name for package in missing)
        raise HostError(f"missing here: {names}; install them (on Debian: {text})")
    _say(f"installing Debian packages: {text}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (update_line(), line):
        done = subprocess.run(argv, env=environment, stdout=sys.stderr, check=False)
        if done.returncode != 0:
            raise HostError(f"`{shlex.join(argv)}` failed; run it by hand, then try again")
    left = missing_packages()
    if left:
        names = ", ".join(package.name for package in left)
        raise HostError(f"still missing after `{text}`: {names}")


def _make_environment(environment: Path, python: Path) -> None:
    _say(f"making the Python environment {environment}")
    import venv  # here, since a warm start does without it

    shutil.rmtree(environment, ignore_errors=True)
    venv.create(environment, with_pip=True)
    argv = [
        *(str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"),
        *("--constraint", str(ROOT / "constraints.txt")),
        *("--editable", f"{ROOT}[tox]"),
    ]
    done = subprocess.run(argv, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise HostError(f"`{shlex.join(argv)}` failed; its output is above")
    (environment / "ready").touch()


def _environment_key() -> str:
    """Return a name that changes with whatever the environment depends on."""
    whole = hashlib.sha256()
    for part in (
        (ROOT / "pyproject.toml").read_bytes(),
        (ROOT / "constraints.txt").read_bytes(),
        sys.version.encode(),
        str(ROOT).encode(),
    ):
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:16]


def cache_root() -> Path:
    """Return the cache as `harness.workspace` finds it, without its libraries."""
    chosen = os.environ.get("HGM_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(base) / "hgm"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(f"hgm: {text}", file=sys.stderr, flush=True)  # noqa: T201 - before any reporter exists
