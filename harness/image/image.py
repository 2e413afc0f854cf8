# SPDX-License-Identifier: GPL-2.0-only
"""The guest image: recipes and Debian packages in, an initramfs and a read-only disk out.

The recipes name the Debian release. All that decides on the image's bytes is of that release, the
programs that compress and compile included, so the same packages make the same image on any host.

``images/`` in the cache holds a directory for each finished image, named by its key, and
``recipes/`` one small file for each state of the recipes that names the image last made of it.
While the recipes are unchanged, only that file is read and apt is not run; `refresh` looks for
newer packages.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import apt, cache, command, data, host
from harness.apt import Apt, Package
from harness.arch import Arch, host_arch
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import InfrastructureError, UserError
from harness.image import bytecode, cpio, packages, programs, recipe, tree
from harness.image.programs import Programs
from harness.image.recipe import Recipe
from harness.image.tree import Entry, Tree
from harness.records.base import FIRST_ARCH, Record, to_json
from harness.records.machine import GuestImage
from harness.workspace import Workspace, atomic_write, digest, file_digest

#: Where the recipes are.
RECIPES = data.directory("guest-images")

INITRAMFS_FILE = "initramfs.cpio"
DISK_FILE = "disk.squashfs"
MANIFEST_FILE = "manifest.json"

_INITRAMFS = "initramfs.toml"
_DISK = "disk.toml"

#: The modules that decide on an image's bytes.
_CODE = (bytecode, cpio, packages, programs, recipe, tree)

# Measured under TCG: the first ctypes program from a cold disk takes 1.1 s with lz4 and 1.3 s with
# zstd, the next one 0.34 s and 0.58 s; zstd would save 7 of 33 MB.
_COMPRESSION = ("-comp", "lz4", "-Xhc", "-b", "128K")


class Manifest(Record, frozen=True, kw_only=True):
    """What an image was made of; ``manifest.json`` in its directory.

    Attributes:
        key: the image's key.
        arch: the guest's architecture, as ``uname -m`` prints it.
        suite: the Debian release.
        recipes: digest of the recipe files and of the code that reads them.
        packages: sorted by name; those included that only made the image.
        sha256: of the initramfs and the disk, by file name.
    """

    key: str
    suite: str
    recipes: str
    packages: tuple[Package, ...]
    sha256: dict[str, str]
    arch: str = FIRST_ARCH


@dataclass(frozen=True)
class Recipes:
    """Everything in ``guest-images/`` as values.

    Attributes:
        guest: the guest's architecture.
        initramfs: the recipe of the file system that every guest boots.
        disk: the recipe of the read-only disk.
        rootfs: the files of our own in the initramfs.
        digest: of all that and of the code that reads it.
    """

    guest: Arch
    initramfs: Recipe
    disk: Recipe
    rootfs: Tree
    digest: str

    @property
    def tools(self) -> set[str]:
        """The packages that are used to make the image, and not in it."""
        return {*self.initramfs.tools, *self.disk.tools}

    def package_names(self) -> tuple[str, ...]:
        """Return the packages that either recipe names."""
        return tuple(sorted({*self.initramfs.packages, *self.disk.packages, *self.tools}))


def read_recipes(guest: Arch, directory: Path = RECIPES) -> Recipes:
    """Return the recipes in a directory for an architecture.

    Raises:
        UserError: if a recipe is missing or malformed, or the two name different releases.
    """
    rootfs = recipe.read_rootfs(directory / "rootfs")
    texts = {name: _read_text(directory / name) for name in (_INITRAMFS, _DISK)}
    initramfs, disk = (recipe.parse(text, name, guest) for name, text in texts.items())
    if initramfs.suite != disk.suite:
        raise UserError(f"{_INITRAMFS} and {_DISK} must have the same suite")
    code = [Path(name).read_bytes() for name in (__file__, *(str(one.__file__) for one in _CODE))]
    own = [part for entry in rootfs.values() for part in (entry.path, entry.data)]
    return Recipes(guest, initramfs, disk, rootfs, digest(guest.name, *texts.values(), *own, *code))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the recipe {path}: {error}") from None


def obtain(
    guest: Arch, context: Context, *, refresh: bool = False, directory: Path = RECIPES
) -> GuestImage:
    """Return the guest image of the recipes, built if it is not in the cache.

    Args:
        guest: the guest's architecture.
        context: cache, deadline, progress.
        refresh: ask apt which packages are current, and build an image if any has changed.
        directory: where the recipes are.

    Raises:
        UserError: if a recipe is missing, malformed, or does not match the packages.
        InfrastructureError: if a package cannot be fetched or arrives damaged.
        NoSpace: if a program found the cache's file system full.
        OSError: with ENOSPC, if this process did.
        DeadlineExpired: if it took too long.
    """
    recipes = read_recipes(guest, directory)
    if not refresh and (image := _remembered(context.workspace, recipes.digest)):
        return image
    with context.workspace.lock("guest image", context.deadline, context.progress):
        if not refresh and (image := _remembered(context.workspace, recipes.digest)):
            return image
        return _resolve_and_build(recipes, context, refresh)


def check(guest: Arch, context: Context) -> None:
    """Raise InfrastructureError if the image is not in the cache and cannot be made here."""
    if _remembered(context.workspace, read_recipes(guest).digest) is None:
        _require_apt()


def _require_apt() -> None:
    if not host.has_apt():
        raise InfrastructureError(
            "the guest image cannot be made here: there is no apt-get",
            hint="`hgm image export FILE` on a Debian host, then `hgm image import FILE` here",
        )


def _remembered(workspace: Workspace, recipes: str) -> GuestImage | None:
    """Return the image last made of these recipes if it is still in the cache."""
    try:
        key = _pointer(workspace, recipes).read_text()
    except FileNotFoundError:
        return None
    return _finished(workspace, key)


def _finished(workspace: Workspace, key: str) -> GuestImage | None:
    """Return the image of that key, marked as used now, if it is in the cache."""
    home = workspace.room("images") / key
    if not home.is_dir():
        return None
    cache.touch(home)
    return image_in(home, key)


def image_in(home: Path, key: str) -> GuestImage:
    """Return the record of the image in a directory."""
    return GuestImage(
        key=key,
        initramfs=str(home / INITRAMFS_FILE),
        disk=str(home / DISK_FILE),
        manifest=str(home / MANIFEST_FILE),
    )


def _pointer(workspace: Workspace, recipes: str) -> Path:
    return workspace.room("recipes") / recipes


def _resolve_and_build(recipes: Recipes, context: Context, refresh: bool) -> GuestImage:
    _require_apt()
    context.progress.stage("image", f"packages of Debian {recipes.initramfs.suite}")
    suites = apt.release(recipes.initramfs.suite)
    archive = Apt(suites, context, recipes.guest.debian)
    if refresh:
        archive.refresh(older_than=0)
    resolved = archive.resolve(recipes.package_names())
    wanted = without(resolved, {*recipes.initramfs.leave_out, *recipes.disk.leave_out})
    key = image_key(recipes.digest, wanted)
    image = _finished(context.workspace, key)
    if image is None:
        context.progress.stage("image", f"building from {len(wanted)} packages")
        with context.workspace.unfinished("image") as scratch:
            trees = _fetch(archive, wanted, scratch, context.deadline)
            suite = _suite(recipes, suites, trees, scratch, context)
            unfinished = scratch / key
            _write(unfinished, recipes, trees, suite, context.deadline)
            manifest = Manifest(
                key=key,
                arch=recipes.guest.name,
                suite=recipes.initramfs.suite,
                recipes=recipes.digest,
                packages=wanted,
                sha256=digests(unfinished),
            )
            (unfinished / MANIFEST_FILE).write_bytes(to_json(manifest))
            image = publish(unfinished, manifest, context.workspace)
    else:
        atomic_write(_pointer(context.workspace, recipes.digest), key)
    return image


def publish(unfinished: Path, manifest: Manifest, workspace: Workspace) -> GuestImage:
    """Move a finished image into the cache, as the one that its recipes make."""
    home = workspace.room("images") / manifest.key
    workspace.publish(unfinished, home)
    atomic_write(_pointer(workspace, manifest.recipes), manifest.key)
    return image_in(home, manifest.key)


def digests(home: Path) -> dict[str, str]:
    """Return the SHA-256 of the initramfs and the disk in a directory, by file name."""
    return {name: file_digest(home / name) for name in (INITRAMFS_FILE, DISK_FILE)}


def _fetch(
    archive: Apt, wanted: tuple[Package, ...], scratch: Path, deadline: Deadline
) -> dict[str, dict[str, Entry]]:
    """Return the file tree of each package, by the package's name."""
    debs = archive.download(wanted, Path(tempfile.mkdtemp(dir=scratch)))
    return {
        name: packages.contents(deb, scratch / "data.tar", deadline)
        for name, deb in sorted(debs.items())
    }


def _suite(
    recipes: Recipes,
    suites: Sequence[str],
    trees: Mapping[str, Tree],
    scratch: Path,
    context: Context,
) -> Programs:
    """Return the programs that make the image: of the same Debian release, for this host's CPU."""
    if not recipes.guest.is_hosts:
        archive = Apt(suites, context, host_arch().debian)
        wanted = archive.resolve(recipes.package_names())
        trees = _fetch(archive, wanted, scratch, context.deadline)
    return Programs(tree.overlay(trees.items()), scratch / "programs")


def without(resolved: tuple[Package, ...], left_out: set[str]) -> tuple[Package, ...]:
    """Return the packages but for those that the recipes leave out.

    Raises:
        UserError: if one to leave out is not there, so that no stale entry stays in a recipe.
    """
    unknown = left_out - {package.name for package in resolved}
    if unknown:
        raise UserError(f"leave-out has packages that no other depends on: {', '.join(unknown)}")
    return tuple(package for package in resolved if package.name not in left_out)


def image_key(recipes: str, wanted: tuple[Package, ...]) -> str:
    """Return the content hash of an image: of the recipes and of each package."""
    return digest(recipes, *(package.sha256 for package in wanted))


def _write(
    home: Path,
    recipes: Recipes,
    trees: Mapping[str, Tree],
    suite: Programs,
    deadline: Deadline,
) -> None:
    """Write the initramfs and the disk into a new directory."""
    home.mkdir()
    kept = {name: files for name, files in trees.items() if name not in recipes.tools}
    # Not compressed: every kernel reads that, and after an lz4 archive it ignores the overlay.
    initramfs = cpio.archive(initramfs_tree(recipes, kept).values())
    (home / INITRAMFS_FILE).write_bytes(initramfs)
    unpacked = home.with_name("files")
    disk = disk_tree(recipes, kept)
    programs.unpack(disk, unpacked)
    disk = bytecode.compiled(disk, recipes.disk.byte_code, unpacked, suite, deadline)
    _write_squashfs(home / DISK_FILE, tree.below(disk, recipes.disk.root), suite, deadline)


def initramfs_tree(recipes: Recipes, trees: Mapping[str, Tree]) -> dict[str, Entry]:
    """Return the file system that every guest boots."""
    return tree.with_parents(
        tree.overlay(
            [
                ("the packages", _selected(recipes.initramfs, trees, _INITRAMFS)),
                (_INITRAMFS, recipe.own_entries(recipes.initramfs)),
                ("rootfs", recipes.rootfs),
            ]
        )
    )


def disk_tree(recipes: Recipes, trees: Mapping[str, Tree]) -> dict[str, Entry]:
    """Return the file system of the read-only disk, with the initramfs's files that it hides."""
    hidden = {
        path: entry
        for path, entry in initramfs_tree(recipes, trees).items()
        if path.startswith(f"{recipes.disk.root}/")
    }
    return tree.with_parents(
        tree.overlay(
            [
                ("the initramfs", hidden),
                ("the packages", _selected(recipes.disk, trees, _DISK)),
                (_DISK, recipe.own_entries(recipes.disk)),
            ]
        )
    )


def _selected(chosen: Recipe, trees: Mapping[str, Tree], name: str) -> dict[str, Entry]:
    """Return what a recipe keeps of all packages."""
    moved = ((package, recipe.moved(one, chosen.moves)) for package, one in trees.items())
    return recipe.select(tree.overlay(moved), chosen, name)


def _write_squashfs(target: Path, disk: Tree, suite: Programs, deadline: Deadline) -> None:
    """Write a squashfs from a tar archive, whose modes and owners do not need root."""
    archive = suite.root.with_name("disk.tar")
    with archive.open("wb") as file:
        tree.write_tar(disk, file)
    words = ["sqfstar", "-quiet", "-no-progress", "-no-xattrs", "-root-mode", "755", "-all-root"]
    command.run(
        suite.argv(*words, *_COMPRESSION, str(target)),
        deadline,
        stdin=archive,
        env={"SOURCE_DATE_EPOCH": "0"},
    )
