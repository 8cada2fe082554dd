"""Score against a quantity: curves over training examples or trials, and points over training time with their Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xeric import formatting
from xeric.analysis.results import BreakEven, FigureResult, FigureSeries
from xeric.report import wording
from xeric.report.figures.layout import INK, MUTED, PALETTE, new_figure, panel_at, shortened, wrapped

__all__ = ["draw_plane", "frontier"]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)))


def draw_plane(figure: FigureResult, series: Sequence[FigureSeries], width: float) -> Any:
    """Score against a quantity: training examples, seconds, trials; or gates by layer."""
    wide = width > 5
    drawing = new_figure(width, 3.55 if wide else 2.9 + 0.2 * len(series))
    panel = panel_at(drawing, 0.42, 0.28, width - 2.9, 2.75) if wide else panel_at(drawing, 0.42, 0.28, width - 0.52, 2.1)
    panel.grid()
    panel.tick_params(length=3)
    values = sorted({float(point.x) for arm in series for point in arm.points if not isinstance(point.x, str)})
    _scale(panel, figure.kind, values)
    for number, arm in enumerate(series):
        _draw_arm(panel, figure.kind, number, arm)
    for even in figure.break_evens:
        _break_even(panel, even, [arm.arm for arm in series])
    if figure.kind == "pareto":
        _frontier(panel, series, figure.better)
    panel.set_xlabel(figure.x_label)
    # Above the axis the label is horizontal and needs no room beside the numbers.
    panel.text(0, 1.03, wording.with_metrics(figure.y_label), transform=panel.transAxes, va="bottom", ha="left", color=MUTED)
    if wide:
        _names_at_side(panel, figure.kind, series)
    else:
        handles, _ = panel.get_legend_handles_labels()
        below = {"loc": "lower left", "bbox_to_anchor": (0, 0), "fontsize": 8, "labelspacing": 0.55, "borderpad": 0.1}
        drawing.legend(handles, [shortened(wording.with_metrics(arm.label), 36) for arm in series], **below)
    return drawing


def _style(number: int) -> dict[str, Any]:
    # The markers are shifted by one after each cycle of colours, so that 64 arms all differ.
    marker = _MARKERS[(number + number // len(PALETTE)) % len(_MARKERS)]
    return {"color": PALETTE[number % len(PALETTE)], "marker": marker, "markersize": 5.5}


def _scale(panel: Any, kind: str, values: Sequence[float]) -> None:
    """Set a logarithmic axis where the values span more than a factor of 8; 0 (no training) then has a tick of its own."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    positive = [x for x in values if x > 0]
    untrained = positive != list(values)
    if kind != "layers" and positive and positive[-1] > 8 * positive[0]:
        panel.set_xscale("symlog", linthresh=positive[0], linscale=0.35)
        panel.set_xlim(-0.25 * positive[0] if untrained else 0.85 * positive[0], 1.2 * positive[-1])
        steps = positive if kind == "curve" else [x for x in _ROUND_SECONDS if 0.9 * positive[0] <= x <= 1.2 * positive[-1]]
        panel.xaxis.set_major_locator(FixedLocator([0.0] * untrained + _apart(steps)))
        panel.xaxis.set_minor_locator(NullLocator())
    elif kind == "pareto" and positive:
        step = next((step for step in _ROUND_SECONDS if positive[-1] <= 5 * step), positive[-1] / 5)
        panel.xaxis.set_major_locator(FixedLocator([step * number for number in range(7)]))
        panel.set_xlim(-0.05 * positive[-1], 1.08 * positive[-1])
    else:
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    write = formatting.duration if kind == "pareto" else formatting.count
    panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: write(x)))


_ROUND_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 18000.0, 36000.0)


def _apart(ticks: Sequence[float]) -> list[float]:
    """Drop ticks whose labels would touch on a logarithmic axis."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or tick >= 1.55 * kept[-1]:
            kept.append(tick)
    return kept


def _draw_arm(panel: Any, kind: str, number: int, arm: FigureSeries) -> None:
    style = _style(number)
    points = sorted((point for point in arm.points if not isinstance(point.x, str)), key=lambda point: float(point.x))
    if not points:
        # An arm without a training size (an untrained setting) is drawn as a horizontal line.
        level = arm.points[0].y
        panel.axhline(level.value, color=style["color"], linestyle=_DASHES[1 + number % 3], linewidth=1.4, label=arm.label)
        if level.low is not None and level.high is not None:
            panel.axhspan(level.low, level.high, color=style["color"], alpha=0.1, linewidth=0)
        return
    x, y = [float(point.x) for point in points], [point.y.value for point in points]
    ends = [(point.y.low, point.y.high) for point in points if point.y.low is not None and point.y.high is not None]
    if kind != "pareto":
        panel.plot(x, y, linestyle=_DASHES[number // len(PALETTE) % 4], label=arm.label, zorder=3, **style)
        if len(ends) == len(points):
            panel.fill_between(
                x, [low for low, _ in ends], [high for _, high in ends], color=style["color"], alpha=0.12, linewidth=0
            )
        return
    panel.plot(x, y, linestyle="none", label=arm.label, zorder=3, **(style | {"markersize": 7}))
    for point in points:
        if point.y.low is not None and point.y.high is not None:
            panel.plot([point.x, point.x], [point.y.low, point.y.high], color=style["color"], linewidth=1.2, zorder=2)


def _break_even(panel: Any, even: BreakEven, series: Sequence[str]) -> None:
    """Mark where a method comes to beat prompting: a line in its curve's colour, and its interval as a band along the axis."""
    if even.arms[0] not in series or even.value is None:
        return
    color, (left, right) = _style(series.index(even.arms[0]))["color"], panel.get_xlim()
    panel.axvline(max(even.value, left), color=color, linewidth=1.0, linestyle=_DASHES[2], zorder=1)
    ends = max(even.low or 0.0, left), right if even.high is None else even.high
    panel.plot(ends, [0.012, 0.012], transform=panel.get_xaxis_transform(), color=color, linewidth=3.0, alpha=0.6, zorder=1)


def frontier(points: Sequence[tuple[float, float]], better: str | None) -> list[tuple[float, float]]:
    """Return the points (cost, score) that no other beats in both, cheapest first; empty where no direction is better."""
    sign = {"higher": 1.0, "lower": -1.0, None: 0.0}[better]
    best, front = -math.inf, []
    for cost, score in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if sign and sign * score > best:
            best = sign * score
            front.append((cost, score))
    return front


def _frontier(panel: Any, series: Sequence[FigureSeries], better: str | None) -> None:
    """Draw the Pareto front of score and cost as steps."""
    front = frontier([(float(p.x), p.y.value) for arm in series for p in arm.points if not isinstance(p.x, str)], better)
    if front:
        x, y = [*(cost for cost, _ in front), panel.get_xlim()[1]], [*(score for _, score in front), front[-1][1]]
        panel.plot(x, y, drawstyle="steps-post", color=MUTED, linewidth=0.9, linestyle=_DASHES[1], zorder=1, label="_frontier")


def _names_at_side(panel: Any, kind: str, series: Sequence[FigureSeries]) -> None:
    """Write each arm's name right of the panel, near the height of its last point, moved apart where they would touch."""
    low, high = panel.get_ylim()
    names = [wrapped(wording.with_metrics(arm.label), 31) for arm in series]
    ends = [(arm.points[-1].y.value - low) / ((high - low) or 1.0) for arm in series]
    heights = _spread(ends, [0.062 * (1 + 0.9 * name.count("\n")) for name in names])
    for number, (name, end, height) in enumerate(zip(names, ends, heights, strict=True)):
        style = _style(number) | {"transform": panel.transAxes, "clip_on": False}
        if all(isinstance(point.x, str) for point in series[number].points):
            style |= {"marker": "_", "markersize": 9}
        if kind != "pareto":
            panel.plot([1.0, 1.035], [end, height], **(style | {"marker": "", "linewidth": 0.8}))
        panel.plot([1.055], [height], linestyle="none", **style)
        panel.text(1.085, height, name, transform=panel.transAxes, va="center", fontsize=8, color=INK, linespacing=1.25)
    panel.set_ylim(low, high)


def _spread(positions: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Return positions near the given ones (0 to 1), in the same order, at which labels of these sizes do not touch."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    placed = list(positions)
    floor = 0.0
    for index in order:
        placed[index] = max(placed[index], floor + sizes[index] / 2)
        floor = placed[index] + sizes[index] / 2
    ceiling = 1.03
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling - sizes[index] / 2)
        ceiling = placed[index] - sizes[index] / 2
    return placed
