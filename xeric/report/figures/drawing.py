"""Figures of a study as SVG, by matplotlib, the same bytes every time.

Bars are horizontal and labelled with their arm's name, so they need no legend; curves and points differ in marker as well as in
colour (a palette after Okabe and Ito's, safe for the colour-blind). Texts remain text elements: a browser sets them in its own
fonts, so that Devanagari is readable. Published figures are hollow diamonds, never bars.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

from xeric.analysis.results import FigureResult
from xeric.report.figures.bars import draw_bars
from xeric.report.figures.layout import GRID, INK, MUTED, PALETTE, PAPER, new_figure
from xeric.report.figures.learning import draw_learning_curve
from xeric.report.figures.scatter import draw_plane
from xeric.statistics.learning_curve import LearningCurve

__all__ = ["NARROW", "WIDE", "draw", "draw_curve", "inline"]

WIDE, NARROW = 7.4, 2.9
"""Widths in inches: of a page's column, and of a telephone."""

_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "rule", PAPER: "card"} | {c: f"series-{n}" for n, c in enumerate(PALETTE, 1)}
_FONT = "font-family: 'DejaVu Sans'"
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "xeric",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so the layout is the same on every machine
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
        figure: what to draw; an empty one becomes a sentence.
        width: in inches, :data:`WIDE` or :data:`NARROW`; texts have the same size in both.
    """
    series = [series for series in figure.series if series.points]

    def drawing() -> Any:
        if not series:
            return _nothing(width)
        return draw_bars(figure, series, width) if figure.kind == "bars" else draw_plane(figure, series, width)

    return _saved(drawing, figure.title)


def draw_curve(curve: LearningCurve, *, title: str, y_label: str, width: float = WIDE) -> str:
    """Return a learning curve as an SVG document: its points, and where a forecast is possible, how it goes on.

    Args:
        curve: what to draw.
        title: of the document; it is not shown in the figure.
        y_label: what its scores are, such as "chrF++ on dev".
        width: in inches, :data:`WIDE` or :data:`NARROW`; texts have the same size in both.
    """
    return _saved(lambda: draw_learning_curve(curve, y_label, width), title)


def _saved(drawing: Callable[[], Any], title: str) -> str:
    """Return what is drawn under the settings of all figures as an SVG document."""
    import matplotlib as mpl

    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # The viewer of the SVG has fonts for scripts that this font lacks; only the width of such text is a guess here.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support .* natively")
        out = io.StringIO()
        metadata = {"Date": None, "Creator": "Xeric", "Title": title}
        drawing().savefig(out, format="svg", metadata=metadata, transparent=True)
    return out.getvalue().replace(_FONT, f"{_FONT}, system-ui, sans-serif")


def inline(svg: str, prefix: str) -> str:
    """Return an SVG document as an element for a page, with the page's colours, and ids prefixed with ``prefix``."""
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
    # The page's fonts are narrower than the font of the layout, so no text is cut off.
    return tag.replace(f"{_FONT}, system-ui, sans-serif", "font-family: inherit")


def _nothing(width: float) -> Any:
    drawing = new_figure(width, 0.6)
    drawing.text(0.0, 0.5, "nothing to show: no finished run of this figure has this score", va="center", color=MUTED)
    return drawing
