"""The layout that all figures share: a matplotlib figure of a fixed width in inches, panels, colours, and labels that fit."""

from __future__ import annotations

import textwrap
from typing import Any

__all__ = ["GRID", "INK", "MUTED", "PALETTE", "PAPER", "new_figure", "panel_at", "shortened", "wrapped"]

# Used as they are in a file; a page replaces them by its own variables, so that figures follow its theme.
INK, MUTED, GRID, PAPER = "#26221d", "#6b645a", "#ded8cd", "#fffdf9"
PALETTE = ("#0072b2", "#d55e00", "#00795a", "#b3578f", "#8a6d00", "#3a8fc4", "#7a4b2a", "#5b5b5b")


def new_figure(width: float, height: float) -> Any:
    """Return an empty matplotlib figure of a size in inches, apart from pyplot and its global state."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height))
    FigureCanvasSVG(drawing)
    return drawing


def panel_at(drawing: Any, left: float, top: float, width: float, height: float) -> Any:
    """Add and return axes at a position in inches from the upper left; labels do not change the figure's width."""
    across, down = drawing.get_size_inches()
    return drawing.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def wrapped(label: str, width: int) -> str:
    """Return a label on at most two lines of ``width`` letters."""
    return "\n".join(textwrap.wrap(label, width, max_lines=2, placeholder=" \u2026") or [""])


def shortened(label: str, width: int) -> str:
    """Return a label on one line of at most ``width`` letters."""
    flat = " ".join(label.split())
    return flat if len(flat) <= width else flat[: width - 1].rstrip() + "\u2026"
