"""Bars with intervals: one panel per group, one bar per arm, published figures as hollow diamonds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xeric import formatting
from xeric.analysis.results import FigurePoint, FigureResult, FigureSeries
from xeric.report import wording
from xeric.report.figures.layout import INK, MUTED, PALETTE, PAPER, new_figure, panel_at, shortened, wrapped

__all__ = ["draw_bars"]

PUBLISHED = "published in the paper"

_VALUE = 0.42
_LETTER = 0.073


def draw_bars(figure: FigureResult, series: Sequence[FigureSeries], width: float) -> Any:
    """Return a drawing with one panel per group; names are left of the bars, or above them in a narrow drawing."""
    groups = list(dict.fromkeys(str(point.x) for bars in series for point in bars.points))
    wide = width > 5
    names = [
        wrapped(wording.with_metrics(bars.label), 26) if wide else shortened(wording.with_metrics(bars.label), 42)
        for bars in series
    ]
    left = _LETTER * max(len(line) for name in names for line in name.split("\n")) + 0.12 if wide else 0.04
    across = min(len(groups), 3 if len(groups) != 4 else 2) if wide else 1
    down = math.ceil(len(groups) / across)
    room = (width - left) / across - _VALUE - 0.1
    row = 0.27 if wide and not any("\n" in name for name in names) else 0.36
    tall = row * len(series)
    drawing = new_figure(width, down * (tall + 0.55) + 0.3)
    points = {(bars.arm, str(point.x)): point for bars in series for point in bars.points}
    limits = _limits(list(points.values()))
    for number, group in enumerate(groups):
        column, panel_row = number % across, number // across
        panel = panel_at(drawing, left + column * (room + _VALUE + 0.1), panel_row * (tall + 0.55) + 0.25, room, tall)
        _bar_panel(panel, group, [points.get((bars.arm, group)) for bars in series], limits, named_above=not wide)
        if wide and column == 0:
            panel.set_yticks(range(len(series)), names, color=INK)
        else:
            panel.set_yticks([])
        if not wide:
            for position, name in enumerate(names):
                panel.text(0, position - 0.24, name, transform=panel.get_yaxis_transform(), va="center", fontsize=8, color=INK)
    drawing.text(left / width, 0.06 / drawing.get_figheight(), wording.with_metrics(figure.y_label), color=MUTED)
    if any(point.published is not None for point in points.values()):
        _published_legend(drawing)
    return drawing


def _limits(points: Sequence[FigurePoint]) -> tuple[float, float]:
    ends = [end for point in points for end in (point.y.value, point.y.low, point.y.high, point.published) if end is not None]
    return min(0.0, 1.05 * min(ends)), max(1.05 * max(ends), 1e-6)


def _bar_panel(
    panel: Any, group: str, points: Sequence[FigurePoint | None], limits: tuple[float, float], *, named_above: bool
) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_title(wording.with_metrics(group), loc="left", fontsize=9, fontweight="bold", color=INK, pad=5)
    panel.set_xlim(*limits)
    panel.set_ylim(len(points) - 0.5, -0.5)
    panel.xaxis.set_major_locator(MaxNLocator(4))
    panel.grid(axis="x")
    panel.tick_params(length=0)
    for side in ("left", "bottom"):
        panel.spines[side].set_visible(False)
    panel.axvline(0, color=MUTED, linewidth=0.8)
    edge = 1 + _VALUE / (panel.get_position().width * panel.figure.get_figwidth())
    for row, point in enumerate(points):
        if point is None:
            continue
        height = row + (0.2 if named_above else 0.0)
        panel.barh(height, point.y.value, height=0.36 if named_above else 0.56, color=PALETTE[0], zorder=2)
        if point.y.low is not None and point.y.high is not None:
            panel.plot([point.y.low, point.y.high], [height, height], color=PAPER, linewidth=3, zorder=3, solid_capstyle="butt")
            panel.plot([point.y.low, point.y.high], [height, height], color=INK, linewidth=1.3, zorder=4, solid_capstyle="butt")
        if point.published is not None:
            panel.plot([point.published], [height], zorder=5, clip_on=False, **_PUBLISHED_STYLE)
        # Values have a column of their own, so that no interval or mark covers them.
        style = {"transform": panel.get_yaxis_transform(), "va": "center", "ha": "right", "fontsize": 8, "color": INK}
        panel.text(edge, height, formatting.number(point.y.value), **style)


_PUBLISHED_STYLE: dict[str, Any] = {
    "marker": "D",
    "markersize": 5,
    "markerfacecolor": PAPER,
    "markeredgecolor": INK,
    "markeredgewidth": 1.1,
    "linestyle": "none",
}


def _published_legend(drawing: Any) -> None:
    from matplotlib.lines import Line2D

    position = {"loc": "lower right", "bbox_to_anchor": (1, 0), "borderpad": 0.1, "handletextpad": 0.1, "fontsize": 8}
    drawing.legend(handles=[Line2D([], [], label=PUBLISHED, **_PUBLISHED_STYLE)], **position)
