# SPDX-License-Identifier: GPL-2.0-only
"""Replacements for patches that were ported to another base: what ``--resolve`` takes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import SeriesError
from harness.kernel.series.directory import read_patch_file
from harness.kernel.series.mail import parse_subject
from harness.kernel.series.patch import Patch, Series

#: Suffixes of replacements; other files, such as a README, are ignored.
SUFFIXES = (".patch", ".diff", ".eml", ".mbox")

_NUMBER = re.compile(r"(\d+)(?=[-_.])")


def replaced(series: Series, directory: Path, context: Context) -> Series:
    """Return a series with the replacements of a directory in place of its own patches.

    Raises:
        SeriesError: if it is not a directory, or a file in it matches no patch, or two match one.
    """
    try:
        files = sorted(file for file in directory.iterdir() if file.suffix in SUFFIXES)
    except OSError as error:
        raise SeriesError(
            f"--resolve {directory}: {error.strerror}", hint="a directory of patches"
        ) from error
    if not files:
        raise SeriesError(
            f"--resolve {directory} has no replacements",
            hint=f"name them like 0007-ported.patch, for patch 7; as {', '.join(SUFFIXES)}",
        )
    patches, notes = list(series.patches), list(series.notes)
    for index, file in match([file.name for file in files], series.patches, directory).items():
        old = patches[index]
        new = read_patch_file(directory / file, context)
        if not new.strip():
            raise SeriesError(f"{directory / file} is empty", hint="put the ported patch there")
        patches[index] = msgspec.structs.replace(
            old,
            data=new,
            strip=1,
            resolved=str(directory / file),
            replaces=hashlib.sha256(old.data).hexdigest(),
        )
        notes.append(f"patch {old.number} is replaced by {directory / file}")
    return msgspec.structs.replace(series, patches=tuple(patches), notes=tuple(notes))


def match(files: Sequence[str], patches: Sequence[Patch], where: Path) -> dict[int, str]:
    """Return which file replaces which patch, by the patch's place in the series from 0.

    A file matches the patch of the same file name, or whose subject gives that name (``git
    format-patch`` without the number), or of the number that its name starts with.

    Raises:
        SeriesError: if a file matches no patch, or two match one.
    """
    names = {patch.name: index for index, patch in enumerate(patches)}
    slugs = {slug(patch.name): index for index, patch in enumerate(patches)}
    found: dict[int, str] = {}
    for file in files:
        number = _NUMBER.match(file)
        index = names.get(file, slugs.get(slug(Path(file).stem)))
        if index is None and number and 1 <= int(number[1]) <= len(patches):
            index = int(number[1]) - 1
        if index is None:
            raise SeriesError(
                f"--resolve {where}: {file} matches none of the {len(patches)} patches",
                hint="start its name with the patch's number, such as 0007-ported.patch",
            )
        if index in found:
            raise SeriesError(
                f"--resolve {where}: {found[index]} and {file} both match patch {index + 1}",
                hint="remove one of them",
            )
        found[index] = file
    return dict(sorted(found.items()))


def slug(name: str) -> str:
    """Return a subject, a file name or a commit's name without its number, for comparison."""
    title = re.sub(r"\A[0-9a-f]{12} |\.patch\Z", "", parse_subject(name).title)
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
