# SPDX-License-Identifier: GPL-2.0-only
"""The real apt on small archives of our own, signed with keys of our own."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pysequoia import Tsk

from harness import apt, cache, command
from harness.apt import Apt, Archives
from harness.arch import host_arch
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import HarnessError, UserError
from harness.workspace import Workspace
from tests.component.debian_archive import DebianArchive, Notes

SUITES = ("trixie", "trixie-updates", "trixie-security")


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def context(tmp_path: Path, notes: Notes) -> Context:
    return Context(Workspace(tmp_path / "cache"), Deadline.after(60, "the test"), notes)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DebianArchive:
    made = DebianArchive(tmp_path / "archive")
    made.use(monkeypatch)
    made.add("trixie", "hello", "1.0-1")
    made.add("trixie", "hello-doc", "1.0-1")
    made.add("trixie-security", "hello", "1.0-2")
    made.publish(*SUITES)
    return made


def versions(found: Apt) -> list[tuple[str, str, str]]:
    return [(offer.package, offer.version, offer.suite) for offer in found.offers("hello")]


def refused(action: Callable[[], object], exit_code: int) -> str:
    """Return the line of the error that an action ends with."""
    with pytest.raises(HarnessError) as caught:
        action()
    assert caught.value.exit_code == exit_code
    line = caught.value.line()
    assert "\n" not in line
    return line


def test_release_is_its_suite_updates_and_security() -> None:
    assert apt.release("trixie") == SUITES
    for alone in ("sid", "unstable", "experimental", "trixie-backports", "trixie-security"):
        assert apt.release(alone) == (alone,)


def test_versions_of_all_suites_newest_first(archive: DebianArchive, context: Context) -> None:
    found = Apt(SUITES, context)
    assert versions(found) == [
        ("hello", "1.0-2", "trixie-security"),
        ("hello", "1.0-1", "trixie"),
        ("hello-doc", "1.0-1", "trixie"),
    ]
    assert found.offers("goodbye") == ()


def test_the_newest_is_resolved_and_an_older_one_can_be_downloaded(
    archive: DebianArchive, context: Context, tmp_path: Path
) -> None:
    found = Apt(SUITES, context)
    assert [(one.name, one.version) for one in found.resolve(["hello"])] == [("hello", "1.0-2")]
    old = found.package("hello", "1.0-1")
    (tmp_path / "debs").mkdir()
    debs = found.download([old], tmp_path / "debs")
    assert (
        debs["hello"].read_bytes()
        == (archive.root / "debian/pool/hello_1.0-1_all.deb").read_bytes()
    )


def test_lists_are_fetched_again_only_when_old(
    archive: DebianArchive, context: Context, notes: Notes
) -> None:
    before = versions(Apt(SUITES, context))
    archive.add("trixie-security", "hello", "1.0-3")
    archive.publish("trixie-security")
    assert versions(Apt(SUITES, context)) == before
    assert len(notes.stages) == 1
    (stamp,) = context.workspace.room("apt").glob("*/fetched")
    yesterday = time.time() - apt.FRESH - 60
    os.utime(stamp, (yesterday, yesterday))
    assert versions(Apt(SUITES, context))[0] == ("hello", "1.0-3", "trixie-security")


def test_lists_can_be_fetched_again_at_once(archive: DebianArchive, context: Context) -> None:
    found = Apt(SUITES, context)
    found.refresh()
    archive.add("trixie-security", "hello", "1.0-3")
    archive.publish("trixie-security")
    found.refresh(older_than=0)
    assert versions(found)[0][1] == "1.0-3"


def test_old_lists_are_used_without_a_network(
    archive: DebianArchive, context: Context, notes: Notes
) -> None:
    before = versions(Apt(SUITES, context))
    (archive.root / "debian").rename(archive.root / "away")
    found = Apt(SUITES, context)
    found.refresh(older_than=0)
    assert versions(found) == before
    (note,) = notes.notes
    assert "using the lists of 0 h ago" in note


def test_without_lists_and_network_it_ends(
    context: Context, archive: DebianArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(apt.MAIN_VARIABLE, "http://127.0.0.1:1/debian")
    line = refused(Apt(SUITES, context).refresh, 3)
    assert "127.0.0.1" in line
    assert "check the network" in line


def test_unknown_names_are_the_callers_mistake(archive: DebianArchive, context: Context) -> None:
    found = Apt(SUITES, context)
    assert "goodbye" in refused(lambda: found.resolve(["goodbye"]), 2)
    assert "Version '7'" in refused(lambda: found.package("hello", "7"), 2)
    assert "no suite potato" in refused(Apt(["potato"], context).refresh, 2)
    assert "'--suite'" in refused(lambda: Apt(["--suite"], context), 2)


def test_a_suite_signed_by_another_key(archive: DebianArchive, context: Context) -> None:
    archive.publish("trixie-security", key=Tsk.generate("Mallory <mallory@example.org>"))
    line = refused(Apt(SUITES, context).refresh, 3)
    assert "trixie-security" in line
    assert apt.KEYRING_VARIABLE in line
    refused(lambda: Apt(SUITES, context).offers("hello"), 3)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"Codename: trixie", b"Codename: potato"), (b"-----BEGIN PGP SIGNATURE-----", b"")],
)
def test_a_changed_suite_is_refused(
    archive: DebianArchive, context: Context, old: bytes, new: bytes
) -> None:
    release = archive.lists("trixie") / "InRelease"
    release.write_bytes(release.read_bytes().replace(old, new))
    assert "does not trust" in refused(Apt(SUITES, context).refresh, 3)


def test_a_bad_signature_is_not_papered_over_with_old_lists(
    archive: DebianArchive, context: Context
) -> None:
    found = Apt(SUITES, context)
    found.refresh()
    archive.publish("trixie", key=Tsk.generate("Mallory <mallory@example.org>"))
    assert "does not trust" in refused(lambda: found.refresh(older_than=0), 3)


def test_the_newest_is_resolved_on_a_host_that_prefers_a_release(
    archive: DebianArchive, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = tmp_path / "apt.conf"
    host.write_text('APT::Default-Release "trixie";\n')
    monkeypatch.setenv("APT_CONFIG", str(host))
    (found,) = Apt(SUITES, context).resolve(["hello"])
    assert found.version == "1.0-2"


def test_an_unsigned_suite_is_refused_even_if_the_host_allows_it(
    archive: DebianArchive, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = tmp_path / "hook ran"
    host = tmp_path / "apt.conf"
    host.write_text(
        'Acquire::AllowInsecureRepositories "true";\nAPT::Get::AllowUnauthenticated "true";\n'
        f"APT::Update::Post-Invoke {{ \"touch '{hook}'\"; }};\n"
    )
    monkeypatch.setenv("APT_CONFIG", str(host))
    assert len(versions(Apt(SUITES, context))) == 3
    archive.publish("sid")
    release = archive.lists("sid")
    text = (release / "InRelease").read_text()
    (release / "InRelease").unlink()
    (release / "Release").write_text(text.partition("\n\n")[2].partition("-----BEGIN")[0])
    assert "does not trust" in refused(Apt(["sid"], context).refresh, 3)
    assert not hook.exists()


def test_a_changed_list_or_package_is_refused(
    archive: DebianArchive, context: Context, tmp_path: Path
) -> None:
    found = Apt(SUITES, context)
    package = found.package("hello", "1.0-1")
    deb = archive.root / "debian/pool/hello_1.0-1_all.deb"
    deb.write_bytes(deb.read_bytes().replace(b"Description: toy", b"Description: Toy"))
    (tmp_path / "debs").mkdir()
    refused(lambda: found.download([package], tmp_path / "debs"), 3)
    archive.publish("trixie")
    packages = archive.lists("trixie") / f"main/binary-{host_arch().debian}/Packages"
    packages.write_text(packages.read_text().replace("1.0-1", "1.0-9"))
    refused(Apt(["trixie"], context).refresh, 3)


def test_missing_keys_say_what_to_install(
    archive: DebianArchive, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(apt.KEYRING_VARIABLE, "/nowhere.gpg")
    assert "debian-archive-keyring" in refused(lambda: Apt(SUITES, context), 3)


def host_sources(directory: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    """Let apt see these sources and no lists, as on a host that was just made."""
    for variable in (apt.MAIN_VARIABLE, apt.SECURITY_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    parts = directory / "parts"
    parts.mkdir()
    for name, text in files.items():
        (parts / name.replace("_", ".")).write_text(text)
    (directory / "lists").mkdir()
    host = directory / "host.conf"
    host.write_text(
        f'Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "{parts}";\n'
        f'Dir::State::Lists "{directory / "lists"}";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(host))
    system = {"ID": "debian", "VERSION_CODENAME": "bookworm"}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: system)


STATUS = """\
Package: hello
Status: install ok installed
Version: 5.0-1
Architecture: all
Maintainer: t <t@example.org>
Description: newer than any
"""


@pytest.fixture
def fake_host(archive: DebianArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of a host whose apt would choose otherwise in all that it can.

    Its own sources have a mirror and a repository with a newer package, its preferences forbid the
    newest version, a version that no suite has is installed, and its lists and caches are there.
    """
    monkeypatch.delenv(apt.MAIN_VARIABLE)
    other = DebianArchive(tmp_path / "other")
    other.add("bookworm", "hello", "7.0-1")
    other.publish("bookworm")
    root = tmp_path / "host"
    texts = {
        "etc/apt/sources.list": (
            f"deb [signed-by={archive.keyring}] file:{archive.root}/debian trixie main\n"
        ),
        "etc/apt/sources.list.d/other.list": (
            f"deb [signed-by={other.keyring}] file:{other.root}/debian bookworm main\n"
        ),
        "etc/apt/apt.conf.d/80host": 'Acquire::http::User-Agent "the host";\n',
        "etc/apt/preferences": "Package: hello\nPin: version 1.0-2\nPin-Priority: -1\n",
        "etc/apt/preferences.d/host": "Package: *\nPin: release n=trixie\nPin-Priority: 1001\n",
        "etc/apt/trusted.gpg.d/README": "no keys\n",
        "var/lib/apt/extended_states": "Package: hello\nArchitecture: all\nAuto-Installed: 1\n\n",
        "var/lib/apt/lists/lock": "",
        "var/lib/dpkg/status": STATUS,
        "var/cache/apt/archives/lock": "",
        "var/log/apt/history.log": "nothing\n",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "apt.conf").write_text(f'Dir "{root}/";\n')
    monkeypatch.setenv("APT_CONFIG", str(root / "apt.conf"))
    system = {"ID": "debian", "VERSION_CODENAME": "trixie"}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: system)
    # This is the host that apt sees.
    known = subprocess.run(["apt-cache", "policy", "hello"], capture_output=True, text=True)
    assert "Installed: 5.0-1" in known.stdout
    subprocess.run(["apt-get", "update", "-qq", "-oAPT::Sandbox::User=root"], check=True)
    return root


def state(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what can be seen of each file and directory: mode, time of its last change, contents.

    A file that was made and removed again changes its directory.
    """
    found = {}
    for path in (directory, *directory.rglob("*")):
        seen = path.stat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (seen.st_mode, seen.st_mtime_ns, data)
    return found


def test_the_hosts_apt_is_neither_changed_nor_followed(
    archive: DebianArchive, fake_host: Path, context: Context, tmp_path: Path
) -> None:
    before = state(fake_host)
    found = Apt(SUITES, context)
    found.refresh()
    found.refresh(older_than=0)
    assert versions(found) == [
        ("hello", "1.0-2", "trixie-security"),
        ("hello", "1.0-1", "trixie"),
        ("hello-doc", "1.0-1", "trixie"),
    ]
    assert found.codenames() == {suite: suite for suite in SUITES}
    resolved = found.resolve(["hello", "hello-doc"])
    assert [(one.name, one.version) for one in resolved] == [
        ("hello", "1.0-2"),
        ("hello-doc", "1.0-1"),
    ]
    (tmp_path / "debs").mkdir()
    debs = found.download([*resolved[1:], found.package("hello", "1.0-1")], tmp_path / "debs")
    assert sorted(debs) == ["hello", "hello-doc"]
    assert state(fake_host) == before
    (home,) = context.workspace.room("apt").iterdir()
    assert f"URIs: file:{archive.root}/debian\n" in (home / "debian.sources").read_text()
    assert list((home / "lists").glob("*Packages*"))


ONE_LINE = """\
deb https://elsewhere.invalid/apt cloud-bookworm main
deb http://mirror.invalid/debian/ bookworm main contrib
deb http://mirror.invalid/sec bookworm-security main
"""
DEB822 = """\
Types: deb
URIs: http://mirror.invalid/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.invalid/sec/
Suites: bookworm-security
Components: main
"""


@pytest.mark.parametrize("files", [{"a_list": ONE_LINE}, {"a_sources": DEB822}])
def test_the_mirror_is_the_hosts(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    host_sources(tmp_path, monkeypatch, **files)
    assert apt.archives(context.deadline) == Archives(
        "http://mirror.invalid/debian", "http://mirror.invalid/sec"
    )


def test_the_labels_of_the_hosts_lists_decide_where_it_has_lists(
    archive: DebianArchive, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add("bookworm", "hello", "0.9-1")
    archive.publish("bookworm", extra=["Label: Debian"])
    sources = (
        "deb http://127.0.0.1:1/party bookworm main\n"
        f"deb [signed-by={archive.keyring}] file:{archive.root}/debian bookworm main\n"
    )
    host_sources(tmp_path, monkeypatch, a_list=sources)
    assert apt.archives(context.deadline).main == "http://127.0.0.1:1/party"
    options = ["APT::Sandbox::User=root", "Debug::NoLocking=1", "Acquire::Retries=0"]
    update = ["apt-get", "update", "-qq", *(f"-o{option}" for option in options)]
    command.run(update, context.deadline, ok=None)
    assert apt.archives(context.deadline) == Archives(
        f"file:{archive.root}/debian", f"file:{archive.root}/debian-security"
    )


def test_a_host_without_a_mirror_says_what_to_set(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_sources(tmp_path, monkeypatch, a_list="deb http://mirror.invalid/ubuntu noble main\n")
    assert apt.MAIN_VARIABLE in refused(lambda: apt.archives(context.deadline), 3)
    system = {"ID": "ubuntu", "VERSION_CODENAME": "noble"}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: system)
    assert apt.MAIN_VARIABLE in refused(lambda: apt.archives(context.deadline), 3)


def test_a_host_without_apt_says_what_else_there_is(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "tar:" in refused(lambda: apt.archives(context.deadline), 3)


def test_a_mirror_that_is_not_a_url(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(apt.MAIN_VARIABLE, "not a url")
    with pytest.raises(UserError, match="not a URL"):
        apt.archives(context.deadline)


def test_lists_are_an_entry_of_the_cache_that_can_be_pruned(
    archive: DebianArchive, context: Context
) -> None:
    found = Apt(SUITES, context)
    found.refresh()
    (entry,) = cache.entries(context.workspace)
    assert (entry.kind, entry.pinned) == ("apt lists", False)
    assert cache.prune(context.workspace, 0, context.progress) == (entry,)
    assert len(versions(found)) == 3
