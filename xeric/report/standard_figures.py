"""The figures that every study has, beside those of its file: tuning, costs, learned gates."""

from __future__ import annotations

from collections.abc import Sequence

from xeric.analysis.results import FigurePoint, FigureResult, FigureSeries, Interval, StudyResults
from xeric.report import summary, wording

__all__ = ["cost_figure", "gate_figures", "tuning_figure"]


def tuning_figure(results: StudyResults) -> FigureResult | None:
    """Return the best score so far after each trial, or None where nothing was tuned."""
    several = len({tuning.base for tuning in results.tuning}) > 1
    series = []
    for tuning in results.tuning:
        points = [
            FigurePoint(x=float(trial), y=Interval(value=score))
            for trial, score in enumerate(tuning.best, 1)
            if score is not None
        ]
        label = f"{tuning.method}, {tuning.base}" if several else tuning.method
        series.append(FigureSeries(arm=f"{tuning.base}-{tuning.method}", label=label, points=tuple(points)))
    if not series:
        return None
    label = f"{wording.metric_name(results.primary)} on dev"
    title = "Best score so far, by number of trials"
    return FigureResult(name="tuning", title=title, kind="curve", x_label="trials", y_label=label, series=tuple(series))


def cost_figure(results: StudyResults) -> FigureResult | None:
    """Return the primary metric of all arms against training time, or None where fewer than two have both."""
    series = [
        FigureSeries(arm=arm.id, label=arm.label, points=(FigurePoint(x=arm.seconds, y=arm.scores[results.primary]),))
        for arm in summary.adaptations(results)
        if arm.seconds is not None and results.primary in arm.scores
    ]
    if len(series) < 2:
        return None
    name = wording.metric_name(results.primary)
    title = "Quality against training time, all arms"
    return FigureResult(name="all-costs", title=title, kind="pareto", x_label="training time", y_label=name, series=tuple(series))


def gate_figures(results: StudyResults) -> list[FigureResult]:
    """Return what the gates of each gated arm have learned, by part and layer; an encoder's layers before its decoder's."""
    figures = []
    for arm in results.arms:
        layers = max(map(len, arm.learned_gates.values()), default=0)
        series = [
            # A part with fewer gates is in the decoder alone; a single one is that of the embeddings, before the first layer.
            FigureSeries(arm=part, label=part, points=_by_layer(gates, 0 if len(gates) == 1 else layers - len(gates) + 1))
            for part, gates in arm.learned_gates.items()
        ]
        if series:
            title = f"What the gates learned, {arm.label}"
            figure = FigureResult(
                name=f"gates-{arm.id}",
                title=title,
                kind="layers",
                x_label="layer",
                y_label="gate",
                series=tuple(series),
                notes=(_GATES,),
            )
            figures.append(figure)
    return figures


def _by_layer(gates: Sequence[Interval], first: int) -> tuple[FigurePoint, ...]:
    return tuple(FigurePoint(x=float(layer), y=gate) for layer, gate in enumerate(gates, first))


_GATES = (
    "LoRA and fused embeddings are scaled by their gates, from 0 to 2, which start at 1; a prefix by its gates, from -1 to 1, "
    "which start at 0. Bands: the lowest and highest over runs, and of 90% of the tokens where gates depend on them."
)
