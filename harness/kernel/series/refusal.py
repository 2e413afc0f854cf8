# SPDX-License-Identifier: GPL-2.0-only
"""Why a patch was refused: the record, its lines for a terminal, and the error."""

from __future__ import annotations

from collections.abc import Iterator

from harness.errors import SeriesError
from harness.kernel.series.apply_log import ApplyLog
from harness.kernel.series.diagnosis import Misfit
from harness.kernel.series.patch import Patch
from harness.records.base import Record


class Refusal(Record, frozen=True, kw_only=True):
    """Why a patch was not applied.

    Attributes:
        reason: one line.
        misfits: the hunks and files that do not fit; none if the patch itself is at fault.
        fuzzy: how it would apply with ``--fuzz``; empty if it would not.
        damaged: whether git could not read it as a patch.
    """

    reason: str
    damaged: bool = False
    misfits: tuple[Misfit, ...] = ()
    fuzzy: str = ""


def first_misfit(misfits: tuple[Misfit, ...], log: ApplyLog) -> str:
    """Return where the first hunk does not fit, and its first missing line."""
    if not misfits:
        return next(iter(log.errors), "git gives no reason")
    line = _line(misfits[0])
    gone = [text[1:].strip() for text in misfits[0].difference if text.startswith("-")]
    first = next(filter(None, gone), "")
    more = f" (and {len(misfits) - 1} more)" if len(misfits) > 1 else ""
    return line + (f", first {first!r}" if first else "") + more


def explain(refusal: Refusal) -> Iterator[str]:
    """Yield the hunks that do not fit with the lines that differ, safe for a terminal."""
    for misfit in refusal.misfits:
        yield _line(misfit)
        yield from (f"  {_harmless(line)}" for line in misfit.difference)


def _line(misfit: Misfit) -> str:
    """Return where a hunk or file does not fit, and why."""
    hunk = f", hunk {misfit.hunk} (line {misfit.line})" if misfit.hunk else ""
    return f"{misfit.path}{hunk}: {misfit.reason}" if misfit.path else misfit.reason


def _harmless(line: str) -> str:
    """Return a line of code without control characters; its tabs stay."""
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in line)


def refused(patch: Patch, refusal: Refusal) -> SeriesError:
    """Return the error for a patch that does not apply."""
    if refusal.fuzzy:
        hint = f"--fuzz finds {refusal.fuzzy}"
    elif refusal.misfits:
        hint = (
            "- lines are the patch's, + lines the source's; use the source that it was made for, "
            "rebase it, or give a ported patch with --resolve"
        )
    elif refusal.damaged:
        hint = "fetch or export it again"
    else:
        hint = "no source could take it; ask its author"
    name = patch.resolved or patch.name
    return SeriesError(f"patch {patch.number} {name!r} {refusal.reason}", hint=hint)
