# SPDX-License-Identifier: GPL-2.0-only
"""Recipes of a guest's file systems: parse them, and select files of a tree by them. Pure.

A recipe is a TOML file in ``guest-images/``::

    suite = "trixie"                     # the Debian release, whatever the host has
    packages = ["busybox-static"]        # Debian packages; apt adds what they depend on
    leave-out = ["dpkg"]                 # of these, packages that only maintainer scripts need
    tools = ["squashfs-tools"]           # packages that are used to make the image, and not in it
    keep = ["usr/bin/*"]                 # globs of the paths to keep, after `moves`
    drop = ["usr/bin/perl*"]             # of these, globs of the paths to leave out
    byte-code = ["usr/lib/python3.13"]   # directories whose Python sources get byte code
    root = "usr"                         # the directory that becomes the image's root

    [moves]                              # files and directories that get another path
    "usr/bin/busybox" = "bin/busybox"

    [links]                              # symbolic links: path = target
    "bin/sh" = "busybox"

    [directories]                        # path = mode
    tmp = 0o1777

    [devices]                            # character devices: path = [major, minor]
    "dev/console" = [5, 1]

In a text, ``{libraries}`` stands for the directory of the guest's libraries, such as
``usr/lib/x86_64-linux-gnu``, and ``{linker}`` for the path of its dynamic linker.

A glob's ``*`` matches slashes too, as in `fnmatch`. A glob that matches nothing is an error, so
that no file goes missing silently when a package changes.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import Path

import msgspec

from harness.arch import Arch
from harness.errors import UserError
from harness.image import tree
from harness.image.tree import Entry, Tree
from harness.records.base import Record


class Recipe(Record, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """One recipe file; the fields are explained at the head of this module."""

    suite: str
    packages: tuple[str, ...]
    keep: tuple[str, ...]
    leave_out: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    byte_code: tuple[str, ...] = ()
    root: str = ""
    moves: dict[str, str] = msgspec.field(default_factory=dict)
    links: dict[str, str] = msgspec.field(default_factory=dict)
    directories: dict[str, int] = msgspec.field(default_factory=dict)
    devices: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)


def parse(text: str, name: str, guest: Arch) -> Recipe:
    """Return the recipe in a TOML text.

    Args:
        text: the recipe.
        name: the file's name, for messages.
        guest: the guest's architecture.

    Raises:
        UserError: if the text is not TOML, lacks a field, or has an unknown one.
    """
    try:
        for word in ("libraries", "linker"):
            text = text.replace(f"{{{word}}}", getattr(guest, word))
        return msgspec.toml.decode(text, type=Recipe)
    except msgspec.MsgspecError as error:
        raise UserError(
            f"{name}: {error}", hint="harness/image/recipe.py explains the fields of a recipe"
        ) from None


def read_rootfs(root: Path) -> dict[str, Entry]:
    """Return the files below ``root`` with their paths in the guest.

    A file is executable there if it begins with ``#!``, whatever its mode in the checkout.
    """
    return {
        entry.path: entry
        for path in sorted(root.rglob("*"))
        if path.is_file()
        for entry in [_rootfs_file(path.relative_to(root).as_posix(), path.read_bytes())]
    }


def _rootfs_file(path: str, data: bytes) -> Entry:
    return tree.file(path, data, 0o755 if data.startswith(b"#!") else 0o644)


def moved(source: Tree, moves: dict[str, str]) -> dict[str, Entry]:
    """Return the tree with each path of ``moves``, and what is below it, under its new name."""
    result: dict[str, Entry] = {}
    for path, entry in source.items():
        old = next((old for old in moves if path == old or path.startswith(f"{old}/")), "")
        new = moves.get(old, "") + path.removeprefix(old)
        result[new] = Entry(new, entry.mode, entry.data, entry.device)
    return result


def select(source: Tree, recipe: Recipe, name: str) -> dict[str, Entry]:
    """Return what a recipe keeps of its packages' files, without empty directories.

    Raises:
        UserError: if a glob of the recipe matches nothing.
    """
    contents = [path for path, entry in source.items() if not tree.is_directory(entry)]
    kept = _matching(contents, recipe.keep, f"{name}: keep")
    dropped = _matching(kept, recipe.drop, f"{name}: drop")
    return {path: source[path] for path in contents if path in kept - dropped}


def _matching(paths: Iterable[str], globs: Iterable[str], what: str) -> set[str]:
    pool = list(paths)
    found: set[str] = set()
    for glob in globs:
        matches = fnmatch.filter(pool, glob)
        if not matches:
            raise UserError(f"{what} = {glob!r} matches no file of the packages")
        found.update(matches)
    return found


def own_entries(recipe: Recipe) -> dict[str, Entry]:
    """Return the links, directories and devices that a recipe adds."""
    entries = [
        *(tree.link(path, target) for path, target in recipe.links.items()),
        *(tree.directory(path, mode) for path, mode in recipe.directories.items()),
        *(tree.character_device(path, *numbers) for path, numbers in recipe.devices.items()),
    ]
    return {entry.path: entry for entry in entries}
