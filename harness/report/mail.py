# SPDX-License-Identifier: GPL-2.0-only
"""A finding as a mail for a list: plain text, in the thread of the series if it came by mail.

The kernel's configuration is attached, packed, where it is still in the cache.

What a guest, a patch or a tree says stands in lines that begin with ``| ``: no tool takes one for a
trailer (``Tested-by:``), a command (``#regzbot``), a quotation or a diff. Nothing is sent.
"""

from __future__ import annotations

import datetime
import email.policy
import email.utils
import gzip
import hashlib
import io
import itertools
import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path

from harness.evidence.symbols import decoded
from harness.judge.lines import PRINTED_NUMBERS, short
from harness.kernel import fragments, specs
from harness.kernel.series.patch import printable
from harness.records.kernel import SourceIdentity
from harness.records.machine import pages_words
from harness.records.probe import Splat
from harness.records.run import RunRecord
from harness.report.columns import count
from harness.report.reproduce import command_for_others
from harness.store import rundir

#: Characters of a line that can be wrapped.
WIDTH = 72

#: Characters of a line that is not wrapped: RFC 5322 allows 998.
_LONGEST = 400

#: Lines of a splat.
_MOST_LINES = 60

# Lines of a splat that a reader of a mail does not need: unreliable frames, registers, code bytes.
_DROPPED = re.compile(
    rf" *(?:\? |{PRINTED_NUMBERS})|Code: |Modules linked in|Hardware name: |raw: "
)

# Panics that only end what an earlier splat reports (oops_end, check_panic_on_warn, do_exit).
_ONLY_ENDS = re.compile(
    r"Kernel panic - not syncing: (?:.*Fatal exception|.*panic_on_warn set|Aiee, killing interrupt)"
)

# What follows in a panic is what the other CPUs were doing.
_OTHER_CPUS = re.compile(r"Sending NMI from CPU")

# SHA-256 of a file; a commit or a tree is shown whole.
_SHA256 = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{48}\b")

_DATE = re.compile(rb"^Date: .*\n", re.MULTILINE)

#: What cannot stand in a file's name.
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")

# Headers are ASCII; a body with other characters is sent as it is, as lists prefer.
_POLICY = email.policy.default.clone(max_line_length=WIDTH + 6, utf8=False)

#: The name of the attachment.
_CONFIG = "config.gz"

_LORE = "https://lore.kernel.org/r/"


@dataclass(frozen=True)
class Letter:
    """A mail without its sender and date.

    Attributes:
        subject: of the mail that it answers where there is one, with ``Re:``.
        body: its lines.
        references: Message-IDs of the thread without ``<>``, the first mail first; the last is the
            one that it answers. Empty for a new thread.
        config: the kernel's ``.config``, to be attached; empty for none.
    """

    subject: str
    body: tuple[str, ...]
    references: tuple[str, ...] = ()
    config: bytes = b""

    @property
    def file_name(self) -> str:
        """Return a name for a file with it."""
        return f"{_UNSAFE.sub('-', self.subject).strip('-.')[:60]}.eml"


def parse_sender(text: str) -> Address | None:
    """Return ``NAME <ADDRESS>`` as an address; None if it is not one."""
    name, address = email.utils.parseaddr(text)
    if not text.isprintable():
        return None
    try:
        return Address(display_name=name, addr_spec=address) if "@" in address else None
    except (ValueError, IndexError, email.errors.MessageError):
        return None


def render(letter: Letter, sender: Address, date: datetime.datetime) -> EmailMessage:
    """Return a letter as a message; its recipients are left to the person who sends it."""
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    message["Date"] = date
    message["Subject"] = short(printable(letter.subject))
    if letter.references:
        ids = [f"<{each}>" for each in letter.references]
        message["In-Reply-To"] = ids[-1]
        message["References"] = " ".join(ids)
    text = "".join(f"{line}\n" for line in letter.body)
    encoding = "7bit" if text.isascii() else "8bit"
    message.set_content(text, cte=encoding)
    if letter.config:
        packed = _packed(letter.config)
        message.add_attachment(packed, maintype="application", subtype="gzip", filename=_CONFIG)
        # No text contains its own hash, and the same mail is the same bytes.
        message.set_boundary(f"=={hashlib.sha256(text.encode()).hexdigest()[:32]}==")
        message["Content-Transfer-Encoding"] = encoding  # git send-email asks where it is absent
    return message


def same(one: bytes, other: bytes) -> bool:
    """Return whether two rendered mails differ in nothing but their date."""
    first, second = (_DATE.sub(b"", each, count=1) for each in (one, other))
    return first == second


def _packed(data: bytes) -> bytes:
    """Return data as gzip packs it, without name and time."""
    with io.BytesIO() as packed:
        with gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as file:
            file.write(data)
        return packed.getvalue()


def mbox(message: EmailMessage) -> bytes:
    """Return a message as an mbox holds it: after a ``From`` line, before an empty one."""
    policy = message.policy.clone(mangle_from_=True)
    message.set_unixfrom("From hgm Thu Jan  1 00:00:00 1970")
    return message.as_bytes(unixfrom=True, policy=policy) + b"\n"


def thread(record: RunRecord, number: int = 0) -> tuple[str, tuple[str, ...]]:
    """Return the subject of an answer to a run's series, and its references; empty without mail.

    Args:
        record: the run.
        number: of the patch to answer, from 1; 0 for the series as a whole.
    """
    series = record.made_of.series if record.made_of else None
    if series is None or not series.message_id:
        return "", ()
    subject = series.subject
    ids: tuple[str, ...] = (series.message_id,)
    if 0 < number <= len(series.patches) and series.patches[number - 1].message_id:
        subject = series.patches[number - 1].name
        ids = tuple(dict.fromkeys((*ids, series.patches[number - 1].message_id)))
    return f"Re: {subject.removeprefix('Re: ')}", ids


def link(record: RunRecord, references: Sequence[str]) -> Iterator[str]:
    """Yield the ``Link:`` to the mail that is answered, if it is in the public archive."""
    public = record.made_of is not None and record.made_of.series.spec.startswith("lore:")
    if public and references and "--mail-from" not in record.command:
        yield f"Link: {_LORE}{references[-1]}"


def wrapped(text: str, indent: str = "") -> list[str]:
    """Return a text in lines of at most 72 characters; later ones are indented."""
    return textwrap.wrap(
        printable(text),
        WIDTH,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def said(text: str) -> list[str]:
    """Return what a guest or a tree says, wrapped."""
    words = textwrap.wrap(printable(text), WIDTH - 2, break_on_hyphens=False)
    return [f"| {line}" for line in words]


def quoted(line: str) -> str:
    """Return a line of a guest or a tool as it is, but for characters that are not printable."""
    shown = "".join(c if c.isprintable() else " " for c in line)
    return f"| {shown[:_LONGEST]}".rstrip()


def about(record: RunRecord) -> Iterator[str]:
    """Yield what was tested and on which machine."""
    yield from rows((*_kernel(record), *_machine(record)))


def rows(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield names and values as a table, wrapped; a hash of a file is shortened."""
    for name, value in pairs:
        text = _SHA256.sub(r"\1", printable(value))
        for index, line in enumerate(textwrap.wrap(text, WIDTH - 11, break_on_hyphens=False)):
            yield f"{'' if index else name:<9}  {line}"


def _kernel(record: RunRecord) -> Iterator[tuple[str, str]]:
    kernel = record.made_of
    if kernel is None:
        return
    if record.kernel is not None:
        yield "kernel", record.kernel.release[: WIDTH - 11]
    yield "base", _base(kernel.source)
    if kernel.source.tree:
        yield "", f"tree {kernel.source.tree}"
    series = kernel.series
    if series.patches:
        spec = specs.for_others(series.spec)
        yield "series", f"{spec}, {count(len(series.patches), 'patch', 'patches')}"
        if series.message_id and series.message_id not in spec:
            yield "", f"Message-ID {series.message_id}"
        if series.tree:
            yield "", f"tree {series.tree}"
    if kernel.config.known:
        yield "config", " + ".join(("base", *map(specs.for_others, kernel.config.features)))
        yield "", f"sha256 {kernel.config.digest}"
    if kernel.toolchain:
        yield "compiler", kernel.toolchain


def _base(source: SourceIdentity) -> str:
    """Return a source; of one that is a local path, the last name and what follows it."""
    if source.kind in ("tree", "image"):
        return Path(source.origin).name
    return source.origin or specs.for_others(source.spec)


def _machine(record: RunRecord) -> Iterator[tuple[str, str]]:
    if record.machine is not None:
        pages = pages_words(record.machine.hugepages)
        yield "machine", f"{record.machine.arch}, {record.machine.cpus} CPUs, {pages}"
    if record.accel is not None:
        yield "QEMU", f"{record.qemu_version}, {record.accel.name}"
    yield "hgm", record.harness


def config_of(record: RunRecord, run_dir: Path) -> bytes:
    """Return the ``.config`` of a run's kernel, to be attached; empty if it is gone or unknown.

    Raises:
        RecordError: if a file in the run directory is damaged.
    """
    return rundir.read_config(run_dir, record.made_of.config.digest) if record.made_of else b""


def reproducer(record: RunRecord, config: bytes, probe: str = "") -> Iterator[str]:
    """Yield the command that does it again, and where the configuration is.

    Args:
        record: the run.
        config: what is attached; empty for nothing.
        probe: the only probe to run; empty for those of the run.
    """
    yield "To reproduce:"
    yield ""
    is_name = probe.isprintable() and len(probe) < _LONGEST
    yield f"  {command_for_others(record, probe if is_name else '')}"
    yield from configuration(record, config)


def configuration(record: RunRecord, config: bytes) -> Iterator[str]:
    """Yield where the configuration is: attached or not, and the command that prints it.

    None prints that of an image, nor one that comes out of a file of this machine: there, what is
    attached stands in for the file.
    """
    kernel = record.made_of
    if kernel is None or not kernel.config.known:
        return
    files = [name for name in kernel.config.features if fragments.is_path(name)]
    is_built = kernel.source.kind != "image"
    where = f"attached as {_CONFIG}" if config else "not attached: hgm no longer has it"
    words = f"The configuration is {where}."
    if is_built and files and config:
        names = " and ".join(map(specs.for_others, files))
        words += f" Unpack it as {names}; the same compiler then gives the same kernel."
    yield ""
    yield from wrapped(words)
    if is_built and not files:
        yield ""
        yield "This prints it:"
        yield ""
        yield f"  {_config_command(record)}"


def _config_command(record: RunRecord) -> str:
    """Return the command that prints a run's configuration: its options about the kernel."""
    words = shlex.split(command_for_others(record))
    kept = [shlex.quote(word) for word in ("./hgm", "kernel", "config")]
    pairs = list(itertools.pairwise(words))
    is_mail = dict(pairs).get("--series", "").startswith("lore:")
    for option, value in pairs:
        if option in _KERNEL_OPTIONS and (is_mail or option != "--mail-from"):
            kept += [option, shlex.quote(value)]
    return " ".join([*kept, *(["--fuzz"] if "--fuzz" in words else [])])


_KERNEL_OPTIONS = (
    "--kernel",
    "--arch",
    "--series",
    "--first",
    "--with",
    "--config",
    "--mail-from",
    "--resolve",
)


def telling(splats: Iterable[Splat]) -> Iterator[Splat]:
    """Yield splats without the panics that add nothing, because they follow from one before."""
    is_first = True
    for splat in splats:
        if is_first or splat.kind != "panic" or not _ONLY_ENDS.match(splat.title):
            yield splat
        is_first = False


def reported(splats: Iterable[Splat], symbols: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield `reports` under a heading; nothing where there are none."""
    lines = list(reports(splats, symbols))
    if lines:
        yield from ("", "What the kernel reported:", *lines)


def reports(splats: Iterable[Splat], symbols: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the kernel's reports, with file and line, without what a reader does not need."""
    for splat in telling(splats):
        block: Iterable[str] = splat.block
        if splat.kind == "panic":
            block = itertools.takewhile(lambda line: not _OTHER_CPUS.match(line), block)
        lines = [line for line in block if not _DROPPED.match(line)]
        yield ""
        for line in lines[:_MOST_LINES]:
            yield quoted(decoded(line, symbols))
        if len(lines) > _MOST_LINES:
            yield f"| [{len(lines) - _MOST_LINES} more lines]"
