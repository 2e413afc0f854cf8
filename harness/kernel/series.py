# SPDX-License-Identifier: GPL-2.0-only
"""From a series spec to a patched git tree, with no work tree that a patch could reach out of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness import records
from harness.deadline import Deadline
from harness.errors import CommandFailed, SeriesError
from harness.kernel import faults, named
from harness.kernel.faults import Fault
from harness.kernel.git import Store
from harness.kernel.source import Context, Source, tree_version
from harness.kernel.specs import SeriesSpec, parse_series
from harness.records import PatchIdentity, Record, SeriesIdentity
from harness.workspace import atomic_write, digest

_SUBJECT_TAG = re.compile(r"\[([^\]]*\bPATCH\b[^\]]*)\]", re.IGNORECASE)
_NUMBER = re.compile(r"\b(\d+)/(\d+)\b")
_REVISION = re.compile(r"\bv(\d+)\b", re.IGNORECASE)
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")
_FAILED_AT = re.compile(r"^error: patch failed: (.+):(\d+)$", re.MULTILINE)
_CORRUPT_AT = re.compile(r"^error: (corrupt patch at (?:.*:)?(?:line )?\d+)", re.MULTILINE)
_ERROR = re.compile(r"^(?:error|fatal): (.+)$", re.MULTILINE)


class Patch(Record, frozen=True, kw_only=True):
    """One patch, as it will be given to git.

    Attributes:
        name: its file name, or its subject where it came by mail.
        data: its bytes.
        strip: leading path components to drop: quilt's ``-pN``.
    """

    name: str
    data: bytes
    strip: int = 1


class Patched(Record, frozen=True, kw_only=True):
    """A source with its series applied.

    Attributes:
        identity: which patches, and the tree they made.
        version: ``VERSION.PATCHLEVEL.SUBLEVEL`` of the patched Makefile.
    """

    identity: SeriesIdentity
    version: str


def apply(text: str, patches: Sequence[Patch], source: Source, context: Context) -> Patched:
    """Return the patched source, from the cache where these patches met this tree before.

    Args:
        text: the series spec as it was written.
        patches: what `read` returned for it.
        source: what they are put on.
        context: what to work with.

    Raises:
        SeriesError: naming the patch, the file and the hunk that do not fit.
    """
    base = source.identity.tree
    if not patches:
        return Patched(identity=SeriesIdentity(spec=text, tree=base), version=source.version)
    names = [part for patch in patches for part in (str(patch.strip), patch.name, patch.data)]
    memory = context.workspace.room("sources") / f"series-{digest(base, *names)}.json"
    try:
        known = records.from_json(memory.read_bytes(), Patched)
        identity = msgspec.structs.replace(known.identity, spec=text)
        return msgspec.structs.replace(known, identity=identity)
    except (FileNotFoundError, msgspec.DecodeError):
        pass
    context.progress.stage("series", f"{len(patches)} patches")
    store = context.store()
    tree = apply_patches(patches, base, store, context)
    identity = SeriesIdentity(
        spec=text,
        patches=tuple(PatchIdentity(name=p.name, digest=_sha256(p.data)) for p in patches),
        tree=tree,
    )
    version = tree_version(store, tree, "the patched source", context.deadline)
    patched = Patched(identity=identity, version=version)
    atomic_write(memory, records.to_json(patched))
    return patched


def read(spec: SeriesSpec, context: Context) -> tuple[Patch, ...]:
    """Return a series' patches in the order they are to be applied; none for ``none``.

    Raises:
        SeriesError: if it is absent, empty, or has a gap.
        SpecError: if ``kernel-patches`` has no series of that name.
    """
    if spec.kind == "none":
        return ()
    if spec.kind == "name":
        return read_directory(Path(named.find(spec.where).directory))
    if spec.kind == "fault":
        return _read_fault(faults.find(spec.where), context)
    path = Path(spec.where)
    if spec.kind == "dir":
        return read_directory(path)
    try:
        box = path.read_bytes()
    except OSError as error:
        raise SeriesError(f"{path}: {error.strerror}", hint="check the path") from error
    return read_mbox(box, path, context)


def _read_fault(fault: Fault, context: Context) -> tuple[Patch, ...]:
    """Return what a seeded fault is put on, and the fault."""
    patch = Path(fault.patch)
    base = read(parse_series(fault.on), context)
    return (*base, Patch(name=patch.name, data=patch.read_bytes()))


def read_directory(path: Path) -> tuple[Patch, ...]:
    """Return the patches of a directory: as its quilt ``series`` says, else ``*.patch`` sorted."""
    if not path.is_dir():
        raise SeriesError(f"{path} is no directory", hint="for one mail file write mbox:PATH")
    listing = path / "series"
    try:
        if listing.is_file():
            chosen = quilt_series(listing.read_text(), str(listing))
        else:
            chosen = tuple((patch.name, 1) for patch in sorted(path.glob("*.patch")))
        patches = tuple(_read_patch(path, name, strip, listing) for name, strip in chosen)
    except OSError as error:
        raise SeriesError(f"{error.filename}: {error.strerror}", hint="check the path") from error
    if not patches:
        raise SeriesError(
            f"{path} holds no patches", hint="put *.patch files or a quilt `series` file there"
        )
    return patches


def _read_patch(directory: Path, name: str, strip: int, listing: Path) -> Patch:
    file = directory / name
    if not file.is_file():
        raise SeriesError(
            f"{listing} names {name}, which is not there", hint="add the patch or drop its line"
        )
    return Patch(name=name, data=file.read_bytes(), strip=strip)


def quilt_series(text: str, where: str) -> tuple[tuple[str, int], ...]:
    """Return (patch, strip level) of each line of a quilt ``series`` file.

    Raises:
        SeriesError: if a line has an option that is not ``-pN``; quilt's ``-R`` is one.
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
                    f"{where}:{number}: option {option!r} is not known", hint="only -pN is"
                )
            strip = int(option[2:])
        chosen.append((words[0], strip))
    return tuple(chosen)


class Mail(Record, frozen=True, kw_only=True):
    """One message of a mailbox.

    Attributes:
        subject: decoded, in one line.
        patch: what git would apply; empty for a cover letter or an answer.
    """

    subject: str
    patch: bytes


def read_mbox(box: bytes, path: Path, context: Context) -> tuple[Patch, ...]:
    """Return the patches of a mailbox in the order of their ``[PATCH n/m]``."""
    store = context.store()
    with context.workspace.unfinished("mbox") as room:
        (room / "mbox").write_bytes(box)
        split = ["mailsplit", "--mboxrd", f"-o{room}", "--", str(room / "mbox")]
        try:
            store.git(split, context.deadline)
        except CommandFailed as error:
            raise SeriesError(f"{path} is no mailbox: {error.message}") from error
        files = sorted(file for file in room.iterdir() if file.name.isdigit())
        mails = [_read_mail(file, store, context.deadline) for file in files]
    return ordered(mails, str(path))


def _read_mail(file: Path, store: Store, deadline: Deadline) -> Mail:
    body, patch = file.with_suffix(".body"), file.with_suffix(".patch")
    done = store.git(["mailinfo", "-k", str(body), str(patch)], deadline, stdin=file)
    lines = [line for line in done.stdout.splitlines() if line.startswith("Subject: ")]
    subject = lines[0].removeprefix("Subject: ") if lines else file.name
    data = patch.read_bytes()
    return Mail(subject=subject, patch=data if _has_diff(data) else b"")


def _has_diff(data: bytes) -> bool:
    return re.search(rb"^(diff --git |--- \S)", data, re.MULTILINE) is not None


def ordered(mails: Sequence[Mail], where: str) -> tuple[Patch, ...]:
    """Return the patches among a mailbox's messages by their ``[PATCH n/m]``, else as they came.

    Raises:
        SeriesError: if there is none, one is missing or there twice, or two revisions are mixed.
    """
    wanted = [m for m in mails if m.patch and not re.match(r"re:", m.subject, re.IGNORECASE)]
    if not wanted:
        raise SeriesError(f"{where} holds no patches", hint="is it a mailbox of [PATCH] mails?")
    tags = [" ".join(_SUBJECT_TAG.findall(mail.subject)) for mail in wanted]
    if len({(_REVISION.findall(tag) or ["1"])[0] for tag in tags}) > 1:
        raise SeriesError(f"{where} mixes revisions of a series", hint="leave one of them in it")
    numbers = [_NUMBER.search(tag) for tag in tags]
    if all(numbers):
        pairs = [(int(n[1]), int(n[2])) for n in numbers if n]
        _check_numbers(pairs, where)
        wanted = [mail for _, mail in sorted(zip(pairs, wanted, strict=True), key=lambda p: p[0])]
    return tuple(Patch(name=mail.subject, data=mail.patch) for mail in wanted)


def _check_numbers(pairs: Sequence[tuple[int, int]], where: str) -> None:
    """Raise SeriesError unless the pairs are 1/m .. m/m, each once."""
    total = max(m for _, m in pairs)
    found = sorted(n for n, _ in pairs)
    expected = list(range(1, total + 1))
    if found == expected:
        return
    missing = ", ".join(str(n) for n in expected if n not in found)
    twice = ", ".join(str(n) for n in sorted({n for n in found if found.count(n) > 1}))
    what = f"lacks patch {missing} of {total}" if missing else f"has patch {twice} twice"
    raise SeriesError(f"{where} {what}", hint="fetch the whole thread again")


def apply_patches(patches: Sequence[Patch], base: str, store: Store, context: Context) -> str:
    """Return the tree ID of ``base`` with the patches applied one after the other."""
    with context.workspace.unfinished("series") as room:
        index, file = room / "index", room / "patch"
        store.git(["read-tree", base], context.deadline, index=index)
        for number, patch in enumerate(patches, 1):
            context.progress.step(number, len(patches), "patches")
            file.write_bytes(patch.data)
            argv = ["apply", "--cached", "--whitespace=nowarn", f"-p{patch.strip}", str(file)]
            done = store.git(argv, context.deadline, index=index, ok=None)
            if done.exit_code != 0:
                raise refusal(patch, done.stderr)
        return store.git(["write-tree"], context.deadline, index=index).stdout.strip()


def refusal(patch: Patch, said: str) -> SeriesError:
    """Return the error for a patch that ``git apply`` refused: its name, file and hunk."""
    text = patch.data.decode(errors="replace")
    if corrupt := _CORRUPT_AT.search(said):
        return SeriesError(
            f"patch {patch.name!r} is damaged: {corrupt[1]}", hint="fetch or export it again"
        )
    if failed := _FAILED_AT.search(said):
        hunk = hunk_number(text, failed[1], int(failed[2]), patch.strip)
        which = f"hunk {hunk} (line {failed[2]})" if hunk else f"line {failed[2]}"
        return SeriesError(
            f"patch {patch.name!r} does not apply: {failed[1]}, {which}",
            hint="rebase the series onto this source, or choose the source it was made for",
        )
    reasons = _ERROR.findall(said) or [said.strip() or "git says nothing"]
    return SeriesError(
        f"patch {patch.name!r} does not apply: {reasons[0]}",
        hint="rebase the series onto this source, or choose the source it was made for",
    )


def hunk_number(patch: str, file: str, line: int, strip: int = 1) -> int:
    """Return which hunk of ``file`` begins at ``line`` of the old file, from 1; 0 if none does."""
    current, number = "", 0
    for text in patch.splitlines():
        if text.startswith("diff --git "):
            current, number = "", 0
        elif text.startswith(("--- ", "+++ ")):
            path = "/".join(text[4:].split("\t")[0].split("/")[strip:])
            if path == file:
                current, number = file, 0
            elif text.startswith("--- "):
                current = ""
        elif current and (match := _HUNK.match(text)):
            number += 1
            if int(match[1]) == line:
                return number
    return 0


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
