# SPDX-License-Identifier: GPL-2.0-only
"""Patches in files: a quilt series, or ``*.patch`` in order."""

from __future__ import annotations

import re
from pathlib import Path

from harness.context import Context
from harness.errors import CommandFailed, SeriesError
from harness.kernel.git import Store
from harness.kernel.series import mailbox
from harness.kernel.series.mail import read_headers
from harness.kernel.series.patch import Patch


def read_directory(path: Path, context: Context) -> tuple[Patch, ...]:
    """Return the patches of a directory: as its quilt ``series`` says, else ``*.patch`` sorted.

    Without a ``series`` file a cover letter is skipped.
    """
    if not path.is_dir():
        raise SeriesError(f"{path} is not a directory", hint="for a file of mails write mbox:PATH")
    listing = path / "series"
    try:
        if listing.is_file():
            chosen = quilt_series(listing.read_text(), str(listing))
        else:
            chosen = tuple((patch.name, 1) for patch in sorted(path.glob("*.patch")))
        patches = [_read_patch(path, name, strip, listing, context) for name, strip in chosen]
    except OSError as error:
        raise SeriesError(f"{error.filename}: {error.strerror}", hint="check the path") from error
    if not listing.is_file():
        patches = [patch for patch in patches if not is_cover_letter(patch.data)]
    if not patches:
        raise SeriesError(
            f"{path} has no patches", hint="put *.patch files or a quilt `series` file there"
        )
    return tuple(patches)


def is_cover_letter(data: bytes) -> bool:
    """Return whether a patch file is the mail with the number 0 of its series."""
    return read_headers(data).subject.number == 0


def _read_patch(directory: Path, name: str, strip: int, listing: Path, context: Context) -> Patch:
    file = directory / name
    if not file.is_file():
        raise SeriesError(
            f"{listing} names {name}, which does not exist", hint="add the patch or remove its line"
        )
    return Patch(name=name, data=read_patch_file(file, context), strip=strip)


def read_patch_file(file: Path, context: Context) -> bytes:
    """Return a patch file as git apply can read it: a saved mail in an encoding is decoded.

    Raises:
        SeriesError: if it is a mail that git cannot read.
    """
    data = file.read_bytes()
    if not mailbox.is_encoded(data):
        return data
    with context.workspace.unfinished("mail") as room:
        mail = room / "mail"
        mail.write_bytes(data)
        try:
            return mailbox.extract_patch(mail, Store.of(context), context.deadline)
        except CommandFailed as error:
            raise SeriesError(f"{file} cannot be read: {error.message}") from error


def quilt_series(text: str, where: str) -> tuple[tuple[str, int], ...]:
    """Return (patch, strip level) of each line of a quilt ``series`` file.

    Raises:
        SeriesError: if a line has an option other than ``-pN``, such as quilt's ``-R``.
    """
    chosen = []
    for number, line in enumerate(text.splitlines(), 1):
        words = re.sub(r"(^|\s)#.*", "", line).split()
        if not words:
            continue
        strip = 1
        for option in words[1:]:
            if not re.fullmatch(r"-p\d+", option):
                raise SeriesError(
                    f"{where}:{number}: unknown option {option!r}", hint="only -pN is supported"
                )
            strip = int(option[2:])
        chosen.append((words[0], strip))
    return tuple(chosen)
