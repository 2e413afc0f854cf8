# SPDX-License-Identifier: GPL-2.0-only
"""A PostgreSQL server for the tests: Debian's, in a directory of its own, on a socket alone."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_SECONDS = 60
_OPTIONS = ("-A", "trust", "-U", "hgm", "-E", "UTF8", "--no-locale", "--no-sync")
_SETTINGS = ("-c", "listen_addresses=", "-c", "fsync=off")


def _programs() -> Path:
    """Return the directory of the newest server's programs, which Debian keeps out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    assert found, "there is no PostgreSQL server: apt-get install postgresql"
    return found[-1].parent


def _version(initdb: Path) -> int:
    return int(initdb.parts[-3])


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Yield the URL of a new server without its database; it ends with the context."""
    # initdb refuses to be root, and the server's user cannot enter pytest's directories.
    user = pwd.getpwnam("postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
    as_user = {} if os.geteuid() == user.pw_uid else {"user": user.pw_uid, "group": user.pw_gid}
    directory = Path(tempfile.mkdtemp(prefix="hgm-postgresql-"))
    os.chown(directory, user.pw_uid, user.pw_gid)
    log = (directory / "log").open("wb")
    data = directory / "data"
    try:
        subprocess.run(
            [_programs() / "initdb", "-D", data, *_OPTIONS],
            check=True,
            stdout=log,
            timeout=_SECONDS,
            cwd=directory,
            extra_groups=[],
            **as_user,  # type: ignore[call-overload]
        )
        started = subprocess.Popen(
            [_programs() / "postgres", "-D", data, "-k", directory, *_SETTINGS],
            stdout=log,
            stderr=log,
            cwd=directory,
            extra_groups=[],
            **as_user,  # type: ignore[call-overload]
        )
        try:
            _wait(started, directory)
            yield f"postgresql://hgm@/{{}}?host={directory}"
        finally:
            started.send_signal(signal.SIGQUIT)  # "immediate": its data are removed anyway
            started.wait(_SECONDS)
    finally:
        log.close()
        shutil.rmtree(directory)


def _wait(started: subprocess.Popen[bytes], directory: Path) -> None:
    limit = time.monotonic() + _SECONDS
    ready = (_programs() / "pg_isready", "-q", "-h", str(directory), "-U", "hgm")
    while subprocess.run(ready, check=False).returncode != 0:
        assert started.poll() is None, (directory / "log").read_text()
        assert time.monotonic() < limit, (directory / "log").read_text()
        time.sleep(0.05)
