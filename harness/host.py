# SPDX-License-Identifier: GPL-2.0-only
"""What this host needs: Debian packages and a Python environment, found and installed.

Used before anything is installed, so it imports the standard library only; and little of that,
since every start of `hgm` comes through here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness import data

_KVM = Path("/dev/kvm")

#: What pip writes last when it makes the Python environment: if it is there, all is.
_WRITTEN_LAST = Path("bin") / "hgm-harness"

_NO_IMAGE = "no guest image can be made here either: `hgm image import FILE` takes another host's"


class HostPackage(NamedTuple):
    """One Debian package that the harness needs.

    Attributes:
        name: the package.
        shown_by: a program in PATH, or an absolute path with wildcards, that is there when the
            package is.
        needed_by: ``build``, ``run`` or ``test``: see ``host-packages.txt``.
        arch: the architecture whose guests alone need it, as ``uname -m`` prints it; empty for all.
        purpose: what it is for.
    """

    name: str
    shown_by: str
    needed_by: str
    arch: str
    purpose: str

    def present(self) -> bool:
        """Return whether it is there, as a package or otherwise."""
        if self.shown_by.startswith("/"):
            return any(Path("/").glob(self.shown_by[1:]))
        return shutil.which(self.shown_by) is not None

    def line(self) -> str:
        """Return what is missing without it, in a line for a host that has other packages."""
        return f"{self.shown_by}: {self.purpose} (Debian's package {self.name})"


class HostError(Exception):
    """The host cannot be made ready.

    Args:
        message: what is wrong, in one line.
        to_type: commands that put it right, an argv each.
        missing: what must be installed by other means than a command.
        more: other lines.
        exit_code: 2 for the caller's mistake, 3 for the host's state.
    """

    def __init__(
        self,
        message: str,
        *,
        to_type: Sequence[Sequence[str]] = (),
        missing: Sequence[HostPackage] = (),
        more: Sequence[str] = (),
        exit_code: int = 3,
    ) -> None:
        super().__init__(f"{message}; type:" if to_type else message)
        self.exit_code = exit_code
        lines = (package.line() for package in missing)
        self.lines = [*lines, *more, *map(shlex.join, to_type)]


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
    text = Path(__file__).with_name("host-packages.txt").read_text()
    rows = [line.split(None, 3) for line in text.splitlines() if line and not line.startswith("#")]
    return [_package(*row) for row in rows]


def _package(name: str, shown_by: str, needed_by: str, purpose: str) -> HostPackage:
    who, _, arch = needed_by.partition("@")
    return HostPackage(name, shown_by, who, arch, purpose)


def wanted_packages(arch: str = "", *, tests_too: bool = False) -> list[HostPackage]:
    """Return the packages that runs need; those for tests and for all architectures if asked.

    Args:
        arch: that of the guests, by a name that `guest_arch` takes; this host's if empty.
        tests_too: whether the project's own tests are to be run.
    """
    name = guest_arch(arch)
    return [
        package
        for package in packages()
        if tests_too or (package.needed_by != "test" and package.arch in ("", name))
    ]


def missing_packages(arch: str = "", *, tests_too: bool = False) -> list[HostPackage]:
    """Return those of `wanted_packages` that are not there."""
    wanted = wanted_packages(arch, tests_too=tests_too)
    return [package for package in wanted if not package.present()]


def guest_arch(name: str) -> str:
    """Return what ``uname -m`` prints in guests of that architecture; this host's if it is empty.

    The libraries of `harness.arch`, which refuses an unknown name, may not be installed yet.
    """
    if name in ("", platform.machine()):
        return platform.machine()
    import tomllib  # here, since most starts do without it

    tables = tomllib.loads(Path(__file__).with_name("arches.toml").read_text())
    known = (each for each, table in tables.items() if name in (table["kernel"], table["debian"]))
    return next(known, name)


def missing_for_python() -> list[HostPackage]:
    """Return the package that Debian's Python needs to make the environment, if it is missing."""
    if data.CHECKOUT is None or environment_is_ready():
        return []
    shown_by = str(Path(os.__file__).with_name("ensurepip"))
    venv = HostPackage("python3-venv", shown_by, "run", "", "makes the Python environment")
    return [] if venv.present() else [venv]


def install_line(missing: Sequence[HostPackage]) -> list[str]:
    """Return the argv that installs packages; with sudo for an ordinary user, where it is there."""
    names = [package.name for package in missing]
    return [*_sudo(), "apt-get", "install", "-y", "--no-install-recommends", *names]


def update_line() -> list[str]:
    """Return the argv that refreshes apt's package lists."""
    return [*_sudo(), "apt-get", "update", "-q"]


def _sudo() -> list[str]:
    return [] if os.geteuid() == 0 or shutil.which("sudo") is None else ["sudo"]


def has_apt() -> bool:
    """Return whether this host installs, and reads, Debian's packages."""
    return shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None


def kvm_unusable() -> str:
    """Return why KVM cannot even be tried; empty if it can."""
    if not _KVM.exists():
        return f"{_KVM} does not exist"
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return f"{_KVM} cannot be opened by this user"
    return ""


def cache_root() -> Path:
    """Return the cache as `harness.workspace` finds it, without its libraries."""
    chosen = os.environ.get("HGM_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(base) / "hgm"


def environment() -> Path:
    """Return the directory of this checkout's Python environment, which may not exist yet.

    Its name depends on everything that it is made from: the dependencies, the Python, and the
    checkout itself, which is installed into it as editable.
    """
    whole = hashlib.sha256()
    for part in (
        (_checkout() / "pyproject.toml").read_bytes(),
        (_checkout() / "constraints.txt").read_bytes(),
        sys.version.encode(),
        str(_checkout()).encode(),
    ):
        whole.update(hashlib.sha256(part).digest())
    return cache_root() / "venv" / whole.hexdigest()[:16]


def environment_is_ready() -> bool:
    """Return whether this checkout's Python environment is there, whole."""
    return (environment() / _WRITTEN_LAST).exists()


def hold_environment() -> None:
    """Protect the environment from `hgm cache prune` until this process, or what it execs, ends.

    Raises:
        FileNotFoundError: if it is not there.
    """
    os.utime(environment())  # used now
    handle = os.open(environment(), os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    os.set_inheritable(handle, True)


def prepare(*, packages_too: bool, arch: str = "", tests_too: bool = False) -> None:
    """Make the host ready for a command of this checkout; quick if it is ready already.

    Says on standard error what it will install before it installs anything.

    Args:
        packages_too: whether the command needs the packages of ``host-packages.txt``.
        arch: that of the guests; see `wanted_packages`.
        tests_too: whether it needs those of them as well that only our own tests use.

    Raises:
        HostError: if something is missing and cannot, or must not, be installed.
    """
    allowed = may_install()
    packages_missing = missing_packages(arch, tests_too=tests_too) if packages_too else []
    missing = [*packages_missing, *missing_for_python()]
    ready = environment_is_ready()
    if ready and not missing:
        return
    if missing and not has_apt():
        raise HostError(
            "missing, and there is no apt-get to install it:", missing=missing, more=[_NO_IMAGE]
        )
    if not allowed:
        raise HostError("HGM_INSTALL=no, and something is missing", to_type=_lines(missing, ready))
    if missing:
        _require_installer(missing)
        names = ", ".join(package.name for package in missing)
        with_sudo = " with sudo" if _sudo() else ""
        _say(f"will install these Debian packages{with_sudo}: {names}")
    if not ready:
        _say(f"will install Python packages into {environment()}, nowhere else")
    if missing:
        _install(missing)
    if not ready:
        with _locked(cache_root() / "locks" / "venv.lock"):
            if not environment_is_ready():
                _make_environment()


def may_install() -> bool:
    """Return whether the user lets the harness install what is missing.

    Raises:
        HostError: if HGM_INSTALL is neither ``yes`` nor ``no``.
    """
    value = os.environ.get("HGM_INSTALL", "yes")
    if value not in ("yes", "no"):
        raise HostError(f"HGM_INSTALL is {value!r}; it can be yes or no", exit_code=2)
    return value == "yes"


def _lines(missing: Sequence[HostPackage], ready: bool) -> list[list[str]]:
    """Return the argvs that install what is missing."""
    return [
        *([install_line(missing)] if missing else []),
        *([] if ready else _environment_lines()),
    ]


def _require_installer(missing: Sequence[HostPackage]) -> None:
    if os.geteuid() != 0 and not _sudo():
        line = install_line(missing)
        raise HostError("root must install Debian packages: sudo is not installed", to_type=[line])


def _install(missing: Sequence[HostPackage]) -> None:
    line = install_line(missing)
    variables = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if (
        _exit_code(update_line(), variables) != 0
    ):  # one bad list of another repository need not matter
        _say(f"`{shlex.join(update_line())}` failed; trying with the package lists that are here")
    if _exit_code(line, variables) != 0:
        raise HostError("installing the Debian packages failed, see above", to_type=[line])
    left = ", ".join(package.name for package in missing if not package.present())
    if left:
        raise HostError(f"still missing after `{shlex.join(line)}`: {left}")


def _make_environment() -> None:
    for argv in _environment_lines():
        if _exit_code(argv, os.environ) != 0:
            raise HostError("making the Python environment failed, see above", to_type=[argv])


def _exit_code(argv: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run a program, its output on standard error."""
    import subprocess  # here, since a warm start does without it

    return subprocess.run(argv, env=variables, stdout=sys.stderr, check=False).returncode


def _environment_lines() -> list[list[str]]:
    """Return the argvs that make this checkout's Python environment."""
    home = str(environment())
    pip = [str(environment() / "bin" / "python"), "-m", "pip", "install", "-qq"]
    pinned = ["--constraint", str(_checkout() / "constraints.txt")]
    # Byte code goes where `harness.door` says, not where pip would put it.
    options = ["--disable-pip-version-check", "--no-compile", *pinned]
    return [
        [sys.executable, "-m", "venv", "--clear", home],
        [*pip, *options, "--editable", f"{_checkout()}[kcidb,report,tox]"],
    ]


def _checkout() -> Path:
    if data.CHECKOUT is None:
        raise HostError("an installed wheel has no environment of its own")
    return data.CHECKOUT


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(f"hgm: {text}", file=sys.stderr, flush=True)  # noqa: T201 - before any reporter exists
