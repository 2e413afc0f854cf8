# SPDX-License-Identifier: GPL-2.0-only
"""Which mails of a mailbox are the series, and in which order. Pure functions over mails.

b4 0.16 guesses where this refuses: of the mailboxes in tests/data/mail it takes one of two series,
renumbers a doubled part, drops part 2 after a fix without "Re:", and fails without Message-IDs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from harness.errors import SeriesError
from harness.kernel.series.mail import Mail
from harness.kernel.series.patch import Patch
from harness.records.base import Record


class Chosen(Record, frozen=True, kw_only=True):
    """The series in a mailbox.

    Attributes:
        patches: in the order of their ``[PATCH n/m]``.
        notes: what was chosen and left out, a line each.
        message_id: of its cover letter, or of its first patch if it has none; empty without mails.
        subject: of that mail.
    """

    patches: tuple[Patch, ...]
    notes: tuple[str, ...] = ()
    message_id: str = ""
    subject: str = ""


def choose(mails: Sequence[Mail], where: str, message_id: str = "") -> Chosen:
    """Return the series among the messages of a mailbox: its newest revision, in order.

    Cover letters (0/m), replies, and mails without a diff are skipped.

    Args:
        mails: in the order of the mailbox.
        where: what errors call the mailbox.
        message_id: of a patch or the cover letter of the series to take; the newest revision is
            taken if it is empty or names a reply. Mails of other series are left out with a note
            if a series is named, and are errors otherwise.

    Raises:
        SeriesError: if there is none, or a part of it is missing, doubled, or of another series.
    """
    mails = _without_copies(mails, where)
    parts = [mail for mail in mails if _is_part(mail)]
    if not parts:
        raise SeriesError(f"{where} has no patches", hint=_nothing_hint(mails))
    named = _find(mails, message_id, where) if message_id else None
    if named is not None and (named.subject.reply or not named.subject.tagged):
        named = None
    if named is not None and named.subject.number is None and _is_part(named):
        return _chosen([named], mails, [])  # a patch by itself, perhaps in a series' thread
    notes: list[str] = []
    wanted = _one_edition(parts, mails, named, where, notes)
    numbered = [mail for mail in wanted if mail.subject.number is not None]
    if not numbered:
        _check_single(wanted, parts, where)
        return _chosen(wanted, mails, notes)
    wanted = _of_one_series(wanted, mails, named, where, notes)
    _check_numbers(wanted, where)
    wanted.sort(key=lambda mail: mail.subject.number or 0)
    return _chosen(wanted, mails, notes)


def _chosen(wanted: Sequence[Mail], mails: Sequence[Mail], notes: Iterable[str]) -> Chosen:
    patches = [
        Patch(name=mail.subject.text, data=mail.patch, number=number, message_id=mail.message_id)
        for number, mail in enumerate(wanted, 1)
    ]
    head = _cover(wanted[0], mails) or wanted[0]
    return Chosen(
        patches=tuple(patches),
        notes=tuple(notes),
        message_id=head.message_id,
        subject=head.subject.text,
    )


def _cover(first: Mail, mails: Sequence[Mail]) -> Mail | None:
    """Return the cover letter that a patch replies to; None if it has none."""
    known = {mail.message_id: mail for mail in mails if mail.subject.number == 0}
    covers = (known[each] for each in first.place.parents if each in known)
    return next((cover for cover in covers if _same_series(cover, first)), None)


def _is_part(mail: Mail) -> bool:
    """Return whether a mail is a patch, and neither a reply nor a cover letter."""
    return bool(mail.patch) and not mail.subject.reply and mail.subject.number != 0


def _nothing_hint(mails: Sequence[Mail]) -> str:
    if any(mail.subject.tagged for mail in mails):
        return "its [PATCH] mails have no diff; fetch the whole thread again"
    return "use a mailbox with [PATCH] mails"


def _without_copies(mails: Sequence[Mail], where: str) -> list[Mail]:
    """Return each mail once; one may come both from a list and directly.

    Raises:
        SeriesError: if two mails with one Message-ID hold different patches.
    """
    kept: dict[str, Mail] = {}
    for index, mail in enumerate(mails):
        first = kept.setdefault(mail.message_id or f" {index}", mail)
        if first.patch != mail.patch:
            raise SeriesError(
                f"{where} has two different mails with the Message-ID <{mail.message_id}>: "
                f"{mail.subject.text!r}",
                hint="remove the one that did not come from the list",
            )
    return list(kept.values())


def _find(mails: Sequence[Mail], message_id: str, where: str) -> Mail:
    for mail in mails:
        if mail.message_id == message_id:
            return mail
    raise SeriesError(
        f"{where} has no mail with the Message-ID <{message_id}>", hint="check the Message-ID"
    )


def _one_edition(
    parts: Sequence[Mail], mails: Sequence[Mail], named: Mail | None, where: str, notes: list[str]
) -> list[Mail]:
    """Return the parts of the named revision, else of the newest; note which others exist."""
    tagged = [mail for mail in parts if mail.subject.tagged]
    for mail in parts:
        if tagged and not mail.subject.tagged:
            notes.append(f"left out: {mail.subject.text!r} has a diff and no [PATCH]")
    tagged = tagged or list(parts)
    editions = sorted({mail.subject.edition for mail in tagged})
    edition = named.subject.edition if named is not None else editions[-1]
    wanted = [mail for mail in tagged if mail.subject.edition == edition]
    if not wanted and named is not None:
        raise SeriesError(
            f"{where} has no patch of {named.subject.text!r}", hint="fetch the whole thread again"
        )
    others = [mail for mail in tagged if mail.subject.edition != edition]
    if others and named is None:
        _check_related(wanted, others, mails, where)
    if others:
        taken = wanted[0].subject.edition_name
        counts = Counter(mail.subject.edition_name for mail in others)
        rest = ", ".join(f"{name} ({_patches(count)})" for name, count in counts.items())
        notes.append(f"{taken} ({_patches(len(wanted))}) is taken; also there: {rest}")
    return wanted


def _check_related(
    wanted: Sequence[Mail], others: Sequence[Mail], mails: Sequence[Mail], where: str
) -> None:
    """Raise SeriesError if an older revision shares neither a title nor a thread with the newest.

    Then it is another series, and it is not known which of the two is meant.
    """
    editions = {mail.subject.edition for mail in others}
    for edition in editions:
        theirs = [m for m in mails if m.subject.tagged and m.subject.edition == edition]
        ours = [m for m in mails if m.subject.tagged and m.subject.edition not in editions]
        if not _titles(theirs) & _titles(ours) and not _roots(theirs) & _roots(ours):
            raise SeriesError(
                f"{where} has two series: {wanted[0].subject.text!r} and "
                f"{theirs[0].subject.text!r}",
                hint="remove one of them, or name one with lore:MESSAGE-ID and --mail-from",
            )


def _titles(mails: Iterable[Mail]) -> set[str]:
    return {mail.subject.title.casefold() for mail in mails}


def _roots(mails: Iterable[Mail]) -> set[str]:
    """Return the Message-IDs of these mails and of all that they reply to."""
    return {each for mail in mails for each in (mail.message_id, *mail.place.parents) if each}


def _of_one_series(
    wanted: Sequence[Mail], mails: Sequence[Mail], named: Mail | None, where: str, notes: list[str]
) -> list[Mail]:
    """Return the numbered parts of one series.

    Raises:
        SeriesError: if there are parts of another one, and no mail was named.
    """
    total = _total(wanted, named)
    family = _family(wanted, mails, named)
    in_thread = _roots(mail for mail in mails if mail.subject.edition == wanted[0].subject.edition)
    title = next(mail.subject.title for mail in wanted if mail.subject.total == total)
    kept: list[Mail] = []
    for mail in wanted:
        if mail.subject.total == total and (not family or mail.message_id in family):
            kept.append(mail)
        elif named is not None:
            notes.append(f"left out: {mail.subject.text!r} is not part of the series")
        elif mail.subject.number is None and set(mail.place.parents) & in_thread:
            notes.append(f"left out: {mail.subject.text!r} replies to the series")
        else:
            raise SeriesError(
                f"{where} has a part of another series: {mail.subject.text!r}, not one of the "
                f"{total} with {title!r}",
                hint="remove it, or name the series with lore:MESSAGE-ID and --mail-from",
            )
    return kept


def _total(wanted: Sequence[Mail], named: Mail | None) -> int | None:
    """Return the m of the named mail's n/m, else the one that most parts have."""
    if named is not None:
        return named.subject.total
    counts = Counter(m.subject.total for m in wanted if m.subject.total is not None)
    return max(counts, key=lambda total: (counts[total], total or 0))


def _family(wanted: Sequence[Mail], mails: Sequence[Mail], named: Mail | None) -> set[str]:
    """Return the Message-IDs of the parts with the same first mail of a series as ``named``.

    Empty if none is named, or the parts were sent without a thread.
    """
    if named is None:
        return set()
    known = {mail.message_id: mail for mail in mails if mail.message_id}

    def root(mail: Mail) -> str:
        seen = {mail.message_id}
        while True:
            # Only the nearest: another series may start after a reply in the same thread.
            parent = next((known[each] for each in mail.place.parents if each in known), None)
            if parent is None or parent.message_id in seen or not _same_series(parent, mail):
                return mail.message_id
            mail = parent
            seen.add(mail.message_id)

    family = {mail.message_id for mail in wanted if root(mail) == root(named)}
    return family if len(family) > 1 else set()


def _same_series(one: Mail, other: Mail) -> bool:
    return (
        not one.subject.reply
        and one.subject.tagged
        and one.subject.edition == other.subject.edition
        and one.subject.total == other.subject.total
    )


def _check_single(wanted: Sequence[Mail], parts: Sequence[Mail], where: str) -> None:
    """Raise SeriesError if patches without an n/m are newer than numbered ones of the series."""
    older = [mail for mail in parts if mail.subject.number is not None]
    if older:
        raise SeriesError(
            f"{where} has {wanted[0].subject.text!r} without an n/m, and "
            f"{older[0].subject.text!r} with one",
            hint="remove the mails that are not part of the series",
        )


def _check_numbers(wanted: Sequence[Mail], where: str) -> None:
    """Raise SeriesError unless the parts are 1/m .. m/m, each once."""
    first = wanted[0].subject
    which = f" of {first.edition_name}" if first.edition > (1, False) else ""
    total = first.total or 0
    counts = Counter(mail.subject.number for mail in wanted)
    missing = [number for number in range(1, total + 1) if number not in counts]
    twice = sorted(number for number, count in counts.items() if number and count > 1)
    strange = sorted(number for number in counts if number and number > total)
    if missing:
        said = f"lacks patch {_numbers(missing)} of {total}{which}"
    elif twice:
        titles = [m.subject.title for m in wanted if m.subject.number == twice[0]]
        said = f"has patch {_numbers(twice)} of {total}{which} twice: {' and '.join(titles)!r}"
    elif strange:
        said = f"has patch {_numbers(strange)} of {total}{which}"
    else:
        return
    raise SeriesError(f"{where} {said}", hint="fetch the whole thread again")


def _numbers(numbers: Sequence[int]) -> str:
    """Return ascending numbers as ``1, 3-7, 9``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _patches(count: int) -> str:
    return f"{count} patch" + ("es" if count != 1 else "")
