# SPDX-License-Identifier: GPL-2.0-only
"""The whole image room on a recipe that is small enough to build in seconds, and on our own."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import apt, command
from harness.apt import Package
from harness.arch import arch
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HarnessError, InfrastructureError, UserError
from harness.image import archive, image, tree
from harness.image.programs import Programs
from harness.progress import Silent
from harness.records.base import from_json
from harness.records.machine import GuestImage
from harness.workspace import Workspace

INITRAMFS = """\
suite = "trixie"
packages = ["busybox-static"]
keep = ["bin/busybox"]
[moves]
"usr/bin/busybox" = "bin/busybox"
[links]
"usr/bin/x" = "../../bin/busybox"
[devices]
"dev/console" = [5, 1]
"""

DISK = """\
suite = "trixie"
packages = ["busybox-static"]
tools = ["squashfs-tools"]
keep = ["usr/bin/*"]
root = "usr"
"""


def write_recipes(home: Path) -> Path:
    (home / "rootfs").mkdir(parents=True)
    (home / "initramfs.toml").write_text(INITRAMFS)
    (home / "disk.toml").write_text(DISK)
    (home / "rootfs/init").write_text("#!/bin/busybox sh\n")
    return home


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    return write_recipes(tmp_path / "guest-images")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GuestImage]:
    """Return a cache with the image of the recipes in it, built once."""
    home = tmp_path_factory.mktemp("built")
    return home / "cache", obtain(home / "cache", write_recipes(home / "guest-images"))


@pytest.fixture
def cache(built: tuple[Path, GuestImage], tmp_path: Path) -> Path:
    """Return a copy of it that a test may do what it likes with."""
    return Path(shutil.copytree(built[0], tmp_path / "cache"))


@pytest.fixture
def lists(built: tuple[Path, GuestImage], tmp_path: Path) -> Path:
    """Return a cache that has apt's lists and no image."""
    shutil.copytree(built[0] / "apt", tmp_path / "cache/apt")
    return tmp_path / "cache"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[None]:
    """Run with another umask, in another time zone and directory."""
    umask, here = os.umask(0o077), Path.cwd()
    zone = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Kolkata"
    os.chdir(tmp_path)
    yield
    os.chdir(here)
    os.umask(umask)
    if zone is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = zone


def obtain(cache: Path, recipes: Path, refresh: bool = False, seconds: float = 300) -> GuestImage:
    return image.obtain(
        arch("x86_64"),
        context=Context(Workspace(cache), Deadline.after(seconds, "the image"), Silent()),
        refresh=refresh,
        directory=recipes,
    )


def leftovers(cache: Path) -> list[Path]:
    return [*(cache / "tmp").glob("*"), *(cache / "images").glob("[0-9a-f]*")]


def parts(made: GuestImage) -> list[bytes]:
    return [Path(path).read_bytes() for path in (made.initramfs, made.disk, made.manifest)]


def test_an_image_and_its_manifest(built: tuple[Path, GuestImage]) -> None:
    cache, made = built
    manifest = from_json(Path(made.manifest).read_bytes(), image.Manifest)
    assert manifest.key == made.key
    assert manifest.suite == "trixie"
    assert {"busybox-static", "squashfs-tools"} <= {one.name for one in manifest.packages}
    assert manifest.sha256 == image.digests(Path(made.disk).parent)
    listing = command.run(["unsquashfs", "-ls", made.disk], Deadline.after(30, "ls")).stdout
    assert listing.split() == [
        f"squashfs-root{path}" for path in ("", "/bin", "/bin/busybox", "/bin/x")
    ]
    assert list((cache / "tmp").iterdir()) == []


def test_the_second_time_neither_apt_nor_a_lock_is_needed(
    cache: Path, recipes: Path, built: tuple[Path, GuestImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with Workspace(cache).lock("guest image", Deadline.after(1, "lock"), Silent()):
        assert obtain(cache, recipes).key == built[1].key


def test_a_refresh_asks_apt_again(
    cache: Path, recipes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HarnessError, match="cannot be made here: there is no apt-get"):
        obtain(cache, recipes, refresh=True)


def test_an_image_that_was_pruned_is_made_again_to_the_byte(
    cache: Path, recipes: Path, built: tuple[Path, GuestImage]
) -> None:
    shutil.rmtree(cache / "images" / built[1].key)
    assert parts(obtain(cache, recipes)) == parts(built[1])


def test_an_edited_recipe_is_another_image(
    cache: Path, recipes: Path, built: tuple[Path, GuestImage]
) -> None:
    (recipes / "rootfs/init").write_text("#!/bin/busybox sh\n# changed\n")
    made = obtain(cache, recipes)
    assert made.key != built[1].key
    assert b"# changed" in Path(made.initramfs).read_bytes()


@pytest.mark.usefixtures("elsewhere")
def test_an_image_made_elsewhere_has_the_same_bytes(
    lists: Path, recipes: Path, built: tuple[Path, GuestImage]
) -> None:
    assert parts(obtain(lists, recipes)) == parts(built[1])


def test_programs_that_decide_on_the_bytes_are_not_the_hosts(
    lists: Path, recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With apt, dpkg-deb and what starts programs in PATH, and no compressor or Python."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("apt-get", "dpkg-deb", "setpriv", "sh"):
        (programs / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(programs))
    assert Path(obtain(lists, recipes).disk).stat().st_size > 0


def test_an_image_made_by_another_user_has_the_same_bytes(
    lists: Path, recipes: Path, built: tuple[Path, GuestImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its programs are run as that user, who may still read root's files."""
    argv = Programs.argv
    if os.geteuid() == 0:
        user = ["setpriv", "--reuid=4321", "--regid=4321", "--clear-groups"]
        user += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--"]
        monkeypatch.setattr(Programs, "argv", lambda self, *words: [*user, *argv(self, *words)])
    assert parts(obtain(lists, recipes)) == parts(built[1])


def test_a_recipe_that_fits_no_package_leaves_nothing(lists: Path, recipes: Path) -> None:
    (recipes / "disk.toml").write_text(DISK.replace("usr/bin/*", "usr/bin/python3"))
    with pytest.raises(UserError, match=r"disk\.toml: keep = 'usr/bin/python3' matches no file"):
        obtain(lists, recipes)
    assert leftovers(lists) == []


def test_a_deadline_leaves_nothing(tmp_path: Path, recipes: Path) -> None:
    with pytest.raises(DeadlineExpired):
        obtain(tmp_path / "cache", recipes, seconds=0.2)
    assert leftovers(tmp_path / "cache") == []


def test_an_interrupt_while_packing_leaves_nothing(
    lists: Path, recipes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(image, "_write_squashfs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        obtain(lists, recipes)
    assert leftovers(lists) == []


def test_a_damaged_package_leaves_nothing(
    lists: Path, recipes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(deb: Path, package: Package) -> None:
        deb.write_bytes(deb.read_bytes()[:-1])
        check(deb, package)

    check = apt.verify
    monkeypatch.setattr(apt, "verify", damaged)
    with pytest.raises(HarnessError, match=r"busybox-static .* arrived damaged"):
        obtain(lists, recipes)
    assert leftovers(lists) == []


def test_a_full_disk_leaves_nothing(
    lists: Path, recipes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tree, "write_tar", full)
    with pytest.raises(OSError, match="No space left on device"):
        obtain(lists, recipes)
    assert leftovers(lists) == []


def test_a_host_without_apt_takes_the_file_that_another_wrote(
    tmp_path: Path, built: tuple[Path, GuestImage], recipes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = image.read_recipes(arch("x86_64"), recipes)
    monkeypatch.setattr(image, "read_recipes", lambda _guest, _directory=None: ours)
    monkeypatch.setenv("PATH", "/nonexistent")
    context = Context(Workspace(tmp_path / "other"), Deadline.after(60, "the test"), Silent())
    with pytest.raises(InfrastructureError, match="cannot be made here") as caught:
        image.check(arch("x86_64"), context)
    assert "hgm image import FILE" in caught.value.line()
    manifest = archive.write(built[1], tmp_path / "image.tar")
    assert archive.read(tmp_path / "image.tar", context) == manifest
    image.check(arch("x86_64"), context)
    imported = obtain(tmp_path / "other", recipes)
    assert imported.key == built[1].key
    assert parts(imported) == parts(built[1])
    archive.write(imported, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "image.tar").read_bytes()
