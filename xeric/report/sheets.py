"""The tables that every study has, beside those its file asks for: baselines, parts, stability, tuning, failed cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xeric.report import quantities, summary
from xeric.report.tables import Cell, Column, Sheet
from xeric.studies.results import ClaimResult, Estimate, FigurePoint, FigureResult, FigureSeries, LineResult, StudyResults

__all__ = [
    "baseline_sheet",
    "claim_sheet",
    "cost_figure",
    "failure_sheet",
    "figure_sheet",
    "part_sheet",
    "spread_sheet",
    "trial_sheet",
    "tuning_figure",
    "tuning_sheet",
]


def _estimates(metrics: Sequence[str]) -> list[Column]:
    return [Column(metric, quantities.metric_name(metric), "estimate") for metric in metrics]


def baseline_sheet(results: StudyResults) -> Sheet | None:
    """Return the trivial baselines' scores, or None where none were scored."""
    lines = summary.baselines(results)
    if not lines:
        return None
    rows = [(line.label, *(line.scores.get(metric) for metric in results.metrics)) for line in lines]
    columns = (Column("baseline", "trivial baseline"), *_estimates(results.metrics))
    return Sheet("trivial-baselines", "Trivial baselines on the same test instances", columns, tuple(rows))


def part_sheet(results: StudyResults) -> Sheet | None:
    """Return the primary metric of every line by language and by task, or None where there is nothing to break down."""
    languages = list(dict.fromkeys(results.tasks.values())) if len(set(results.tasks.values())) > 1 else []
    tasks = list(results.tasks) if len(results.tasks) > 1 else []
    if not languages and not tasks:
        return None
    columns = [Column("line", "line")]
    columns += [Column(f"language_{one}", one, "estimate", "by language") for one in languages]
    columns += [Column(f"task_{one}", one.replace("_", " "), "estimate", "by task") for one in tasks]

    def row(line: LineResult) -> tuple[Cell, ...]:
        parts = [line.languages.get(one, {}) for one in languages] + [line.tasks.get(one, {}) for one in tasks]
        return (line.label, *(part.get(results.primary) for part in parts))

    rows = tuple(row(line) for line in results.lines if line.scores)
    return Sheet("by-part", f"{quantities.metric_name(results.primary)} by language and task", tuple(columns), rows)


def spread_sheet(results: StudyResults) -> Sheet | None:
    """Return the standard deviation over seeds of every line that has one, or None."""
    lines = [line for line in summary.adaptations(results) if line.spread]
    if not lines:
        return None
    columns = [Column("line", "line"), Column("seeds", "seeds", "count")]
    columns += [Column(metric, quantities.metric_name(metric), "spread") for metric in results.metrics]
    rows = [(line.label, line.seeds, *(line.spread.get(metric) for metric in results.metrics)) for line in lines]
    return Sheet("stability", "Standard deviation over seeds", tuple(columns), tuple(rows))


def tuning_sheet(results: StudyResults) -> Sheet | None:
    """Return what tuning chose and what it cost, or None where nothing was tuned."""
    if not results.tuning:
        return None
    columns = (
        Column("base", "base"),
        Column("method", "method"),
        Column("trials", "trials", "count"),
        Column("best", f"best {quantities.metric_name(results.primary)} on dev", "number"),
        Column("seconds", "time", "duration"),
        Column("chosen", "chosen"),
    )
    rows: list[tuple[Cell, ...]] = []
    for one in results.tuning:
        chosen = _settings(one.chosen)
        scores = [score for score in one.best if score is not None]
        rows.append((one.base, one.method, len(one.trials), scores[-1] if scores else None, one.seconds, chosen))
    return Sheet("tuning", "Tuning on development data", columns, tuple(rows))


def trial_sheet(results: StudyResults) -> Sheet | None:
    """Return every trial of tuning, or None where there was none."""
    columns = (
        Column("base", "base"),
        Column("method", "method"),
        Column("trial", "trial", "count"),
        Column("score", f"{quantities.metric_name(results.primary)} on dev", "number"),
        Column("status", "status"),
        Column("settings", "settings"),
    )
    rows: list[tuple[Cell, ...]] = [
        (one.base, one.method, number, trial.get("score"), str(trial.get("status", "")), _settings(trial.get("settings", {})))
        for one in results.tuning
        for number, trial in enumerate(one.trials, 1)
    ]
    return Sheet("trials", "Every trial", columns, tuple(rows)) if rows else None


def _settings(chosen: Mapping[str, Any]) -> str:
    return "; ".join(f"{path}={value}" for path, value in quantities.flat(chosen)) or "the defaults"


def tuning_figure(results: StudyResults) -> FigureResult | None:
    """Return the best score so far after each trial, or None where nothing was tuned."""
    several = len({one.base for one in results.tuning}) > 1
    series = []
    for one in results.tuning:
        points = [
            FigurePoint(x=float(trial), y=Estimate(value=score)) for trial, score in enumerate(one.best, 1) if score is not None
        ]
        label = f"{one.method}, {one.base}" if several else one.method
        series.append(FigureSeries(line=f"{one.base}-{one.method}", label=label, points=tuple(points)))
    if not series:
        return None
    label = f"{quantities.metric_name(results.primary)} on dev"
    title = "Best score so far, by number of trials"
    return FigureResult(name="tuning", title=title, kind="curve", x_label="trials", y_label=label, series=tuple(series))


def cost_figure(results: StudyResults) -> FigureResult | None:
    """Return the primary metric of all lines against training time, or None where fewer than two have both."""
    series = [
        FigureSeries(line=line.id, label=line.label, points=(FigurePoint(x=line.seconds, y=line.scores[results.primary]),))
        for line in summary.adaptations(results)
        if line.seconds is not None and results.primary in line.scores
    ]
    if len(series) < 2:
        return None
    name = quantities.metric_name(results.primary)
    title = "Quality against training time, all lines"
    return FigureResult(name="all-costs", title=title, kind="pareto", x_label="training time", y_label=name, series=tuple(series))


def failure_sheet(results: StudyResults) -> Sheet | None:
    """Return the cells that gave no scores and why, or None where every cell did."""
    cells = summary.failures(results)
    if not cells:
        return None
    labels = {line.id: line.label for line in results.lines}
    said = {"diverged": "the loss was no longer finite", "missing": "not run yet", "failed": "no reason was recorded"}
    columns = (
        Column("cell", "cell"),
        Column("line", "line"),
        Column("seed", "seed"),
        Column("status", "status"),
        Column("error", "why"),
    )
    rows = [
        (cell.id, labels.get(cell.line, cell.line), str(cell.seed), cell.status, cell.error or said.get(cell.status, ""))
        for cell in cells
    ]
    return Sheet("failed-cells", "Cells without scores", columns, tuple(rows))


def claim_sheet(claim: ClaimResult, results: StudyResults) -> Sheet | None:
    """Return the links of a claim's chain, or None where none was tested."""
    if not claim.links:
        return None
    labels = {line.id: line.label for line in results.lines}
    columns = (
        Column("comparison", "comparison"),
        Column("metric", "metric"),
        Column("difference", "difference", "difference"),
        Column("corrected", "corrected interval"),
        Column("p", "p, corrected"),
        Column("instances", "instances", "count"),
        Column("seeds", "seeds", "count"),
    )
    rows: list[tuple[Cell, ...]] = []
    for link in claim.links:
        p = link.p if link.p_corrected is None else link.p_corrected
        comparison = f"{labels.get(link.better, link.better)} \u2212 {labels.get(link.worse, link.worse)}"
        corrected = quantities.interval(link.corrected) if link.corrected else ""
        tested = "" if p is None else quantities.p_value(p)
        metric = quantities.metric_name(link.metric)
        rows.append((comparison, metric, link.difference, corrected, tested, link.instances, link.seeds))
    return Sheet(f"claim-{claim.name}", claim.sentence, columns, tuple(rows))


def figure_sheet(figure: FigureResult) -> Sheet:
    """Return a figure's numbers as a table."""
    published = any(point.published is not None for one in figure.series for point in one.points)
    columns = [Column("line", "line"), Column("x", figure.x_label), Column("y", figure.y_label, "estimate")]
    columns += [Column("published", "published in the paper", "published")] if published else []
    write = quantities.duration if figure.kind == "pareto" else quantities.plain
    rows: list[tuple[Cell, ...]] = []
    for one in figure.series:
        for point in one.points:
            x = point.x if isinstance(point.x, str) else write(point.x)
            rows.append((one.label, x, point.y, *((point.published,) if published else ())))
    return Sheet(figure.name, figure.title, tuple(columns), tuple(rows))
