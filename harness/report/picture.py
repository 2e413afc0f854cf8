# SPDX-License-Identifier: GPL-2.0-only
"""Pictures of numbers: SVG documents in light or dark, as the reader has set.

`matplotlib` is imported only where a picture is drawn, because that takes half a second.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours that are put in by the picture's style sheet, by what stands for them in the drawing.
_COLOURS = {"#010101": ("ink", "#56626e", "#9ba7b3"), "#020202": ("line", "#d5dbe1", "#323b45")}
_COLOURS |= {"#030303": ("data", "#1d56a5", "#7fb2f5")}
INK, LINE, DATA = _COLOURS


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Everything drawn and written inside has our fonts, and is the same for the same numbers."""
    import matplotlib as mpl

    with mpl.rc_context(
        {
            "font.family": "sans-serif",
            "font.size": 9,
            "svg.fonttype": "none",
            "svg.hashsalt": "hgm",
            "text.parse_math": False,
        }
    ):
        yield


def plain(axes: Axes) -> None:
    """Give axes a grid and no frame."""
    axes.tick_params(colors=INK, length=2)
    axes.grid(color=LINE, lw=0.6)
    axes.spines[:].set_visible(False)


def svg(drawing: Figure) -> str:
    """Return the picture as an SVG document."""
    out = io.StringIO()
    drawing.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    drawn = out.getvalue()
    for code, (name, _, _) in _COLOURS.items():
        drawn = drawn.replace(code, f"var(--{name})")
    light = "".join(f"--{name}:{colour};" for name, colour, _ in _COLOURS.values())
    dark = "".join(f"--{name}:{colour};" for name, _, colour in _COLOURS.values())
    sheet = style_sheet(f"svg{{{light}}}", f"svg{{{dark}}}")
    return drawn.replace("<defs>", f"<style>{sheet}</style>\n <defs>", 1)


def style_sheet(light: str, dark: str) -> str:
    """Return a picture's style sheet: rules, and those that differ where the reader wants dark."""
    return f"{light}@media(prefers-color-scheme:dark){{{dark}}}"
