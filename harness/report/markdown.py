# SPDX-License-Identifier: GPL-2.0-only
"""Pages of Markdown that are kept in ``docs/``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def heading(title: str, command: str) -> Iterator[str]:
    """Yield the first lines of a page: licence, the command that wrote it, title."""
    yield "<!-- SPDX-License-Identifier: GPL-2.0-only -->"
    yield f"<!-- Written by `{command}`; do not edit. -->"
    yield f"# {title}"
    yield ""


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()
) -> Iterator[str]:
    """Yield the lines of a table.

    Args:
        headings: one a column.
        rows: the cells of each row; nothing in them can break the table.
        right: headings of the columns that are aligned to the right.
    """
    yield _row(headings)
    yield "|" + "|".join("---:" if each in right else "---" for each in headings) + "|"
    yield from (_row([escaped(cell) for cell in row]) for row in rows)


def escaped(text: str) -> str:
    """Return a text in one line that is not taken for markup."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
