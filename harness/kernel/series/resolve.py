# SPDX-License-Identifier: GPL-2.0-only
"""Replacements for patches that have to be ported to another base: what ``--resolve`` takes."""

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

#: What a file of a replacement is called; all others, such as a README, mean nothing.
SUFFIXES = (".patch", ".diff", ".eml", ".mbox")

_NUMBER = re.compile(r"(\d+)(?=[-_.])")


def replaced(series: Series, directory: Path, context: Context) -> Series:
    """Return a series with the replacements of a directory in place of its own patches.

    Raises:
        SeriesError: if the directory is none, or a file in it fits no patch, or two fit one.
    """
    try:
        files = sorted(file for file in directory.iterdir() if file.suffix in SUFFIXES)
    except OSError as error:
        raise SeriesError(
            f"--resolve {directory}: {error.strerror}", hint="a directory of patches"
        ) from error
    if not files:
        raise SeriesError(
            f"--resolve {directory} holds no replacements",
            hint=f"such as 0007-ported.patch for patch 7; one of {', '.join(SUFFIXES)}",
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
    return Series(spec=series.spec, patches=tuple(patches), notes=tuple(notes))


def match(files: Sequence[str], patches: Sequence[Patch], where: Path) -> dict[int, str]:
    """Return which file replaces which patch, by the patch's place in the series from 0.

    A file stands for the patch of the number that its name begins with, or of the same file name,
    or whose subject gives that name (``git format-patch`` without the number).

    Raises:
        SeriesError: if a file stands for no patch, or two for one.
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
                f"--resolve {where}: {file} stands for none of the {len(patches)} patches",
                hint="begin its name with the patch's number, such as 0007-ported.patch",
            )
        if index in found:
            raise SeriesError(
                f"--resolve {where}: {found[index]} and {file} both stand for patch {index + 1}",
                hint="remove one of them",
            )
        found[index] = file
    return dict(sorted(found.items()))


def slug(name: str) -> str:
    """Return a subject, a file name or a commit's name without its number as a comparable word."""
    title = re.sub(r"\A[0-9a-f]{12} |\.patch\Z", "", parse_subject(name).title)
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
