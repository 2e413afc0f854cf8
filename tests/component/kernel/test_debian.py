# SPDX-License-Identifier: GPL-2.0-only
"""``debian:`` sources: the real apt on an archive with every suite that Debian has."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import HarnessError, SourceError
from harness.kernel.available import available
from harness.kernel.obtain import KernelRequest, check_request
from harness.kernel.source import Source, resolve
from harness.kernel.specs import parse_source
from harness.report import kernels
from tests.component.debian_archive import DebianArchive
from tests.component.kernel.conftest import unfinished

NAME = "linux-source-6.12"

Add = Callable[..., None]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DebianArchive:
    made = DebianArchive(tmp_path / "archive")
    made.use(monkeypatch)
    return made


@pytest.fixture
def add(archive: DebianArchive, toy: Path, tmp_path: Path) -> Add:
    """Put a source with the toy tree, and its package's version in a file, into a suite."""

    def call(suite: str, version: str, name: str = NAME) -> None:
        (toy / "version").write_text(version)
        files = tmp_path / "files"
        (files / "usr/src").mkdir(parents=True, exist_ok=True)
        for old in (files / "usr/src").iterdir():
            old.unlink()
        with tarfile.open(files / f"usr/src/{name}.tar.xz", "w:xz") as tar:
            tar.add(toy, "linux")
        archive.add(suite, name, version, files)

    return call


def named(source: Source) -> str:
    """Return package, version and suite."""
    return source.identity.origin.rpartition(", sha256 ")[0]


def taken(spec: str, context: Context, *, refresh: bool = False) -> str:
    return named(resolve(parse_source(spec), context, refresh=refresh))


def test_a_released_source_is_preferred_and_a_version_or_suite_can_be_chosen(
    archive: DebianArchive, add: Add, context: Context
) -> None:
    add("trixie", "6.12.107-1")
    add("trixie-security", "6.12.117-1")
    add("trixie-security", "6.12.115-2")
    add("bookworm-security", "6.12.117-1~deb12u1")
    add("sid", "6.12.130-1")
    archive.publish_all()
    for spec, origin in {
        f"debian:{NAME}": "6.12.117-1, trixie-security",
        f"debian:{NAME}=6.12.107-1": "6.12.107-1, trixie",
        f"debian:{NAME}=6.12.130-1": "6.12.130-1, sid",
        f"debian:{NAME}@bookworm": "6.12.117-1~deb12u1, bookworm-security",
        f"debian:{NAME}@oldstable": "6.12.117-1~deb12u1, bookworm-security",
        f"debian:{NAME}@unstable": "6.12.130-1, sid",
        f"debian:{NAME}@stable-security": "6.12.117-1, trixie-security",
        f"debian:{NAME}@trixie=6.12.115-2": "6.12.115-2, trixie-security",
    }.items():
        assert taken(spec, context) == f"{NAME} {origin}"
    assert unfinished(context.workspace) == []


def test_a_release_candidate_is_taken_only_if_there_is_nothing_else(
    archive: DebianArchive, add: Add, context: Context
) -> None:
    add("experimental", "7.3~rc7-1~exp1", "linux-source-7.3")
    archive.publish_all()
    spec = "debian:linux-source-7.3"
    assert taken(spec, context).endswith("7.3~rc7-1~exp1, experimental")
    add("sid", "7.3.3-1", "linux-source-7.3")
    add("trixie-backports", "7.3.1-1~bpo13+1", "linux-source-7.3")
    archive.publish_all()
    assert taken(spec, context, refresh=True).endswith("7.3.1-1~bpo13+1, trixie-backports")


def test_a_source_is_remembered_until_it_is_fetched_again(
    archive: DebianArchive, add: Add, context: Context
) -> None:
    spec = parse_source(f"debian:{NAME}")
    add("trixie", "6.12.7-1")
    archive.publish_all()
    first = resolve(spec, context)
    add("trixie", "6.12.8-1")
    archive.publish_all()
    assert resolve(spec, context) == first
    second = resolve(spec, context, refresh=True)
    assert named(second) == f"{NAME} 6.12.8-1, trixie"
    assert second.lineage == first.lineage
    assert second.identity.tree != first.identity.tree


def test_a_version_in_the_cache_needs_no_archive(
    archive: DebianArchive, add: Add, context: Context
) -> None:
    add("trixie", "6.12.7-1")
    archive.publish_all()
    first = resolve(parse_source(f"debian:{NAME}"), context)
    archive.root.rename(archive.root.with_name("away"))
    pinned = resolve(parse_source(f"debian:{NAME}=6.12.7-1"), context)
    assert pinned.identity.tree == first.identity.tree
    assert pinned.identity.spec == f"debian:{NAME}=6.12.7-1"


def refused(spec: str, context: Context) -> tuple[int, str]:
    """Return the exit code and the line that a check of a request ends with."""
    with pytest.raises(HarnessError) as caught:
        check_request(KernelRequest(source=spec), context)
    assert "\n" not in caught.value.line()
    return caught.value.exit_code, caught.value.line()


def test_what_is_not_there_is_the_callers_mistake_before_anything_is_fetched(
    archive: DebianArchive, add: Add, context: Context
) -> None:
    add("trixie", "6.12.7-1")
    archive.publish_all()
    assert refused("debian:linux-source-9", context) == (
        2,
        "--kernel debian:linux-source-9: no suite of Debian has the package linux-source-9; "
        "`hgm kernel list` shows what there is",
    )
    code, line = refused(f"debian:{NAME}=6.12.8-1", context)
    assert code == 2
    assert f"has version 6.12.8-1 of {NAME}; there are 6.12.7-1 (trixie); `hgm" in line
    assert refused(f"debian:{NAME}@sid", context) == (
        2,
        f"--kernel debian:{NAME}@sid: Debian's suite sid does not have the package {NAME}; "
        "`hgm kernel list` shows what there is",
    )
    code, line = refused(f"debian:{NAME}@potato", context)
    assert code == 2
    assert "no suite potato" in line
    assert not (context.workspace.cache / "sources.git").exists()


def test_without_a_network_it_is_not_the_callers_mistake(
    archive: DebianArchive, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HGM_DEBIAN_MIRROR", "http://127.0.0.1:1/debian")
    code, line = refused(f"debian:{NAME}", context)
    assert code == 3
    assert "check the network" in line


def test_a_package_without_a_kernel_source(
    archive: DebianArchive, add: Add, context: Context
) -> None:
    archive.add("trixie", NAME, "6.12.7-1")
    archive.publish_all()
    with pytest.raises(SourceError, match=r"has no usr/src/linux-source-\*\.tar"):
        resolve(parse_source(f"debian:{NAME}"), context)
    assert unfinished(context.workspace) == []


def listing(context: Context) -> list[str]:
    stream = io.StringIO()
    kernels.write(available(context), stream)
    return [" ".join(line.split()) for line in stream.getvalue().splitlines()]


def test_listing_says_what_there_is_what_is_taken_and_what_is_in_the_cache(
    archive: DebianArchive, add: Add, context: Context
) -> None:
    add("trixie", "6.12.7-1")
    add("trixie-security", "6.12.7-1")
    add("sid", "6.12.9-1")
    add("experimental", "7.3~rc1-1", "linux-source-7.3")
    archive.add("trixie", "linux-source-tools", "1")
    archive.publish_all()
    assert listing(context) == [
        "linux-source-7.3 7.3~rc1-1 experimental taken",
        f"{NAME} 6.12.7-1 trixie, trixie-security taken",
        f"{NAME} 6.12.9-1 sid",
    ]
    resolve(parse_source(f"debian:{NAME}"), context)
    add("trixie-security", "6.12.8-1")
    archive.publish_all()
    resolve(parse_source(f"debian:{NAME}@trixie"), context, refresh=True)
    assert listing(context)[1:] == [
        f"{NAME} 6.12.8-1 trixie-security taken after `hgm kernel fetch`, in the cache",
        f"{NAME} 6.12.7-1 trixie, trixie-security taken, in the cache",
        f"{NAME} 6.12.9-1 sid",
    ]
