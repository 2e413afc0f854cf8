# SPDX-License-Identifier: GPL-2.0-only
"""``debian:`` sources: the real apt on an archive with every suite that Debian has."""

from __future__ import annotations

import dataclasses
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pysequoia import Tsk

from harness.context import Context
from harness.errors import HarnessError, InfrastructureError, SeriesError, SourceError
from harness.kernel import debian, registry
from harness.kernel.available import available
from harness.kernel.obtain import KernelRequest, check_request, obtain, resolve_request, source_used
from harness.kernel.source import Source, resolve
from harness.kernel.specs import parse_source
from harness.report import kernels
from tests.component.debian_archive import DebianArchive, Notes
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


def test_a_suite_that_cannot_be_had_is_missed_only_by_what_needs_it(
    archive: DebianArchive, add: Add, context: Context
) -> None:
    add("trixie", "6.12.107-1")
    add("sid", "7.3.1-1", "linux-source-7.3")
    archive.publish_all()
    stranger = Tsk.generate("Somebody <somebody@example.org>")
    archive.publish("testing", codename="forky", key=stranger)
    progress = Notes()
    watched = dataclasses.replace(context, progress=progress)
    assert taken(f"debian:{NAME}", watched) == f"{NAME} 6.12.107-1, trixie"
    offers = [(offer.version, offer.suite) for offer in debian.everything(watched)]
    assert offers == [("6.12.107-1", "trixie"), ("7.3.1-1", "sid")]
    assert [note for note in progress.notes if note.startswith("without Debian's testing: ")]
    with pytest.raises(InfrastructureError, match="does not trust"):
        taken("debian:linux-source-7.3", watched)


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
        check_request(KernelRequest(source=spec, arch="x86_64"), context)
    assert "\n" not in caught.value.line()
    return caught.value.exit_code, caught.value.line()


def test_what_is_not_there_is_the_callers_mistake_before_anything_is_fetched(
    archive: DebianArchive, add: Add, context: Context
) -> None:
    add("trixie", "6.12.7-1")
    add("trixie-security", "6.12.7-1")
    archive.publish_all()
    assert refused("debian:linux-source-9", context) == (
        2,
        "--kernel debian:linux-source-9: no suite of Debian has the package linux-source-9; "
        "`hgm kernel list` shows what there is",
    )
    code, line = refused(f"debian:{NAME}=6.12.8-1", context)
    assert code == 2
    assert f"has version 6.12.8-1 of {NAME}; there are 6.12.7-1; `hgm" in line
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
    return [" ".join(line.split()) for line in kernels.lines(available(context))]


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


PATCH = """\
--- a/mm/hugetlb.c
+++ b/mm/hugetlb.c
@@ -1,3 +1,4 @@
 int line_1;
+int added;
 int line_2;
 int line_3;
"""


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `ours` be the only registered series: made for 6.12 and tested with 6.12.8-1."""
    home = tmp_path / "kernel-patches"
    (home / "ours").mkdir(parents=True)
    (home / "ours/0001-add.patch").write_text(PATCH)
    (home / "series.toml").write_text(
        f'[ours]\nshows = "a test"\nmade_for = "6.12."\ndefault_for = ["debian:{NAME}"]\n'
        'tested = "6.12.8-1"\n'
    )
    monkeypatch.setattr(registry, "_registered", lambda: registry.load(home))


@pytest.fixture
def conflicting(toy: Path, add: Add) -> Add:
    """Put a source to which `ours` does not apply into a suite."""

    def call(suite: str, version: str) -> None:
        file = toy / "mm/hugetlb.c"
        before = file.read_text()
        file.write_text(before.replace("int line_2;", "long line_2;"))
        add(suite, version)
        file.write_text(before)

    return call


def request(spec: str = f"debian:{NAME}", series: str = "ours", **more: Any) -> KernelRequest:
    return KernelRequest(source=spec, series=series, **more, arch="x86_64")


@pytest.mark.usefixtures("ours", "make_log")
def test_the_tested_version_is_used_where_the_newest_does_not_take_the_series(
    archive: DebianArchive,
    add: Add,
    conflicting: Add,
    context: Context,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes = Notes()
    context = dataclasses.replace(context, progress=notes)
    add("trixie", "6.12.7-1")
    add("trixie-security", "6.12.8-1")
    conflicting("trixie-security", "6.12.9-1")
    conflicting("trixie-security", "6.12.10-1")
    archive.publish_all()
    kernel = obtain(request(), context, build_log=tmp_path / "build.log")
    assert "int added" in Path(kernel.image).read_text()
    assert kernel.source.spec == f"debian:{NAME}"
    assert kernel.source.origin.startswith(f"{NAME} 6.12.8-1, trixie-security, sha256 ")
    refused = kernel.source.refused
    assert refused is not None
    assert refused.origin.startswith(f"{NAME} 6.12.10-1, trixie-security, sha256 ")
    assert "0001-add.patch" in refused.reason
    assert "mm/hugetlb.c" in refused.reason
    (note,) = notes.notes
    assert note == (
        f"ours does not apply to {NAME} 6.12.10-1: {refused.reason}; using {NAME} 6.12.8-1; "
        "it was tested with 6.12.8-1"
    )
    archive.root.rename(archive.root.with_name("away"))
    again = obtain(request(), context, build_log=tmp_path / "build.log")
    assert (again.cached, again.source) == (True, kernel.source)
    # So do commands that look at the patches, and a kernel with some of them.
    assert resolve_request(request(), context).source == kernel.source
    assert source_used(request(), context) == f"debian:{NAME}=6.12.8-1"
    assert source_used(request(series="none"), context) == f"debian:{NAME}"
    none = obtain(request(first=0), context, build_log=tmp_path / "build.log")
    assert none.source == kernel.source


@pytest.mark.usefixtures("ours")
def test_the_newest_older_version_is_used_where_debian_has_the_tested_one_no_more(
    archive: DebianArchive, add: Add, conflicting: Add, context: Context
) -> None:
    conflicting("trixie-security", "6.12.9-1")
    conflicting("trixie", "6.12.7-10")
    conflicting("trixie", "6.12.7-2")
    add("bookworm", "6.12.7-2~deb12u1")
    add("trixie", "6.12.7-1")
    archive.publish_all()
    found = resolve_request(request(), context).source
    assert found.origin.startswith(f"{NAME} 6.12.7-2~deb12u1, bookworm, sha256 ")


@pytest.mark.usefixtures("ours")
def test_the_newest_is_used_if_it_takes_the_series_tested_or_not(
    archive: DebianArchive, add: Add, context: Context
) -> None:
    add("trixie", "6.12.8-1")
    add("trixie-security", "6.12.9-1")
    archive.publish_all()
    found = resolve_request(request(), context).source
    assert found.origin.startswith(f"{NAME} 6.12.9-1, ")
    assert found.refused is None


@pytest.mark.usefixtures("ours")
def test_what_was_asked_for_by_name_is_never_exchanged(
    archive: DebianArchive, add: Add, conflicting: Add, context: Context, tmp_path: Path
) -> None:
    add("trixie", "6.12.8-1")
    conflicting("trixie-security", "6.12.9-1")
    archive.publish_all()
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/0001-add.patch").write_text(PATCH)
    bad = PATCH.replace("line_3", "line_4")
    (tmp_path / "extra.patch").write_text(bad.replace("hugetlb", "other"))
    for wanted in (
        request(f"debian:{NAME}=6.12.9-1"),
        request(f"debian:{NAME}@trixie"),
        request(series=f"dir:{tmp_path / 'dir'}"),
    ):
        with pytest.raises(SeriesError, match=r"0001-add\.patch"):
            resolve_request(wanted, context)
    with pytest.raises(SeriesError, match=r"extra\.patch"):
        resolve_request(request(extra=(str(tmp_path / "extra.patch"),)), context)
    assert resolve_request(request(series="none"), context).source.refused is None


@pytest.mark.usefixtures("ours")
def test_without_a_version_that_fits_the_newest_is_refused_and_few_are_tried(
    archive: DebianArchive, add: Add, conflicting: Add, context: Context
) -> None:
    for version in ("6.12.9-1", "6.12.8-1", "6.12.7-1", "6.12.6-1", "6.12.5-1"):
        conflicting("trixie", version)
    add("trixie", "6.12.4-1")
    archive.publish_all()
    with pytest.raises(SeriesError, match=r"0001-add\.patch"):
        resolve_request(request(), context)
    fetched = {path.stem for path in context.workspace.room("sources").glob("debian-*=*.json")}
    assert fetched == {f"debian-{NAME}=6.12.{number}-1" for number in (9, 8, 7, 6, 5)}
