"""A learning curve: scores against training examples, and how they may go on to twice and four times as many."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from xeric import formatting
from xeric.report import wording
from xeric.report.figures.layout import INK, MUTED, PALETTE, new_figure, panel_at
from xeric.statistics.learning_curve import COVERAGE, Forecast, LearningCurve

__all__ = ["FACTORS", "draw_learning_curve"]

FACTORS = (2, 4)
"""How many times the examples at hand are drawn, where a forecast reaches so far."""

_COLOR = PALETTE[0]
_LEAST_POINTS = 5.0  # that the axis of scores spans, in hundredths of the scale
_STEPS = 9  # sizes at which the band is computed, between the smallest and the last


def draw_learning_curve(curve: LearningCurve, y_label: str, width: float) -> Any:
    """Return a drawing; where no forecast can be made it holds the points and the reason."""
    wide = width > 5
    forecasts = [curve.forecast(factor * curve.points.sizes[-1]) for factor in FACTORS]
    made = [forecast for forecast in forecasts if not forecast.refusal]
    note = _note(forecasts[0], made, 105 if wide else 40)
    height, below = 2.45 if wide else 2.0, 0.17 * (1 + note.count("\n")) + 0.5
    drawing = new_figure(width, 0.3 + height + below)
    panel = panel_at(drawing, 0.42, 0.28, width - 0.62, height)
    panel.grid()
    panel.tick_params(length=3)
    sizes = curve.points.sizes
    _scale(panel, [*sizes, *(forecast.size for forecast in made)])
    if made:
        _draw_band(panel, curve, made)
    else:
        panel.plot(sizes, curve.points.means, linewidth=0.8, color=_COLOR, zorder=2)
    for size, runs in zip(sizes, curve.points.scores, strict=True):
        if len(runs) > 1:
            panel.plot([size] * len(runs), runs, linestyle="none", marker="_", markersize=7, color=_COLOR, alpha=0.55, zorder=3)
    panel.plot(sizes, curve.points.means, linestyle="none", marker="o", markersize=5.5, color=_COLOR, zorder=4)
    for forecast in made:
        _draw_forecast(panel, forecast, last=forecast is made[-1])
    _widen(panel, _LEAST_POINTS * curve.upper / 100)
    panel.set_xlabel("training examples")
    panel.text(0, 1.03, wording.with_metrics(y_label), transform=panel.transAxes, va="bottom", ha="left", color=MUTED)
    drawing.text(0.04 / width, 0.05 / drawing.get_figheight(), note, va="bottom", ha="left", color=MUTED, linespacing=1.35)
    return drawing


def _scale(panel: Any, sizes: list[int]) -> None:
    """Set a logarithmic axis with a tick at each size, as far apart as their labels need it."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    panel.set_xscale("log")
    panel.set_xlim(0.85 * sizes[0], 1.25 * sizes[-1])
    ticks = [sizes[-1]]
    for size in reversed(sizes[:-1]):
        if ticks[-1] >= 1.55 * size:
            ticks.append(size)
    panel.xaxis.set_major_locator(FixedLocator(ticks))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: formatting.count(x)))
    panel.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def _draw_band(panel: Any, curve: LearningCurve, made: list[Forecast]) -> None:
    """Draw the middle of the curve and the interval of a new run's score, beyond the examples at hand dashed and lighter."""
    first, largest = curve.points.sizes[0], curve.points.sizes[-1]
    last = max([largest, *(forecast.size for forecast in made)])
    steps = np.geomspace(first, last, _STEPS).round().astype(int).tolist()
    sizes = sorted({*steps, *curve.points.sizes, *(forecast.size for forecast in made)})
    drawn = [(size, score) for size in sizes if (score := curve.score(size)) is not None]
    for measured, alpha, dashes in ((True, 0.16, "-"), (False, 0.09, (0, (4, 2)))):
        part = [(size, score) for size, score in drawn if (size <= largest if measured else size >= largest)]
        if len(part) < 2:
            continue
        x = [size for size, _ in part]
        panel.plot(x, [score.value for _, score in part], linestyle=dashes, linewidth=1.4, color=_COLOR, zorder=2)
        low, high = [score.low for _, score in part], [score.high for _, score in part]
        panel.fill_between(x, low, high, color=_COLOR, alpha=alpha, linewidth=0)


def _draw_forecast(panel: Any, forecast: Forecast, *, last: bool) -> None:
    """Draw the interval of a forecast as a bar, and write the gain beside it."""
    if forecast.score is None or forecast.gain is None:
        return
    style = {"color": _COLOR, "zorder": 3}
    panel.plot([forecast.size] * 2, [forecast.score.low, forecast.score.high], linewidth=1.4, **style)
    panel.plot([forecast.size], [forecast.score.value], marker="o", markersize=5.5, markerfacecolor="white", **style)
    text = f"{formatting.signed(forecast.gain.low)} to {formatting.signed(forecast.gain.high)}"
    side = {"ha": "right", "xytext": (13, 4)} if last else {"ha": "center", "xytext": (0, 4)}
    panel.annotate(text, (forecast.size, forecast.score.high), textcoords="offset points", fontsize=8, color=INK, **side)


def _widen(panel: Any, least: float) -> None:
    """Let the axis of scores span so many points at least, so that noise does not look like a rise."""
    low, high = panel.get_ylim()
    missing = max(least - (high - low), 0.0)
    panel.set_ylim(low - missing / 2, high + missing / 2)


def _note(nearest: Forecast, made: list[Forecast], width: int) -> str:
    """Return what stands below the figure."""
    sentence = (
        f"Filled dots: measured. Line and band: where a new training would score, with its {COVERAGE:.0%} interval. "
        "Above the hollow dots: the gain over the examples at hand."
        if made
        else nearest.sentence
    )
    return "\n".join(textwrap.wrap(sentence, width))
