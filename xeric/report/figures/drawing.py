"""Figures of a study as SVG, by matplotlib, the same bytes every time.

Bars lie on their side and carry their arm's name, so no colour has to be looked up; curves and points differ in marker as well
as in colour (a palette after Okabe and Ito's, safe for the colour-blind). Texts stay texts: a browser sets them in its own fonts,
so Devanagari does not become boxes. What the paper published is a hollow diamond, never a bar.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

from xeric.analysis.results import FigureResult
from xeric.report.figures.bars import draw_bars
from xeric.report.figures.layout import GRID, INK, MUTED, PALETTE, PAPER, new_canvas
from xeric.report.figures.scatter import draw_plane

__all__ = ["NARROW", "WIDE", "draw", "inline"]

WIDE, NARROW = 7.4, 2.9
"""Widths in inches: of a page's column, and of a telephone."""

_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "rule", PAPER: "card"} | {c: f"series-{n}" for n, c in enumerate(PALETTE, 1)}
_FONT = "font-family: 'DejaVu Sans'"
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "xeric",
    "font.family": "DejaVu Sans",  # matplotlib carries it, so the layout is the same on every machine
    "font.size": 8.5,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


def draw(figure: FigureResult, *, width: float = WIDE) -> str:
    """Return a figure as an SVG document.

    Args:
        figure: what to draw; it may be empty, and then says so.
        width: in inches, :data:`WIDE` or :data:`NARROW`; texts have the same size in both.
    """
    import matplotlib as mpl

    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # Scripts that the layout's font lacks are set by whoever shows the SVG; only their width is a guess here.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support .* natively")
        series = [one for one in figure.series if one.points]
        if not series:
            canvas = _nothing(width)
        elif figure.kind == "bars":
            canvas = draw_bars(figure, series, width)
        else:
            canvas = draw_plane(figure, series, width)
        out = io.StringIO()
        metadata = {"Date": None, "Creator": "Xeric", "Title": figure.title}
        canvas.savefig(out, format="svg", metadata=metadata, transparent=True)
    return out.getvalue().replace(_FONT, f"{_FONT}, system-ui, sans-serif")


def inline(svg: str, prefix: str) -> str:
    """Return an SVG document as an element for a page: its colours the page's, its ids unique under ``prefix``."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<title>.*?</metadata>\s*", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"<[^>]*>", lambda tag: _for_page(tag[0], prefix), body)
    return body.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def _for_page(tag: str, prefix: str) -> str:
    if tag.startswith("<svg"):
        tag = re.sub(r' (?:width|height)="[^"]*"', "", tag)
    tag = re.sub(r' id="[^"]*"', "", tag) if tag.startswith("<g") else tag
    tag = re.sub(r'( id="|url\(#|href="#)', rf"\1{prefix}-", tag)
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, f"var(--{variable})")
    # The page's fonts are narrower than the font of the layout, so nothing is cut off.
    return tag.replace(f"{_FONT}, system-ui, sans-serif", "font-family: inherit")


def _nothing(width: float) -> Any:
    canvas = new_canvas(width, 0.6)
    canvas.text(0.0, 0.5, "nothing to show: no run of this figure was finished", va="center", color=MUTED)
    return canvas
