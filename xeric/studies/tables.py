"""Tables and figures of a study, filled with the estimates of its lines. What is missing is said below them, never left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from xeric.metrics import METRICS, PRIMARY
from xeric.metrics.scoring import score_notes
from xeric.records import MANY_AT_LIMIT
from xeric.studies.config import FigureConfig, LineKey, StudyConfig, TableConfig
from xeric.studies.results import (
    CellResult,
    Estimate,
    FigurePoint,
    FigureResult,
    FigureSeries,
    LineResult,
    TableResult,
    TableRow,
)

__all__ = ["figure_of", "lost_runs", "table_of"]

ScoreNotes = Mapping[str, Mapping[str, str]]
NO_NOTES: ScoreNotes = MappingProxyType({})

_PUBLISHED_NOTE = "Published figures are from other bases and tasks; they are shown beside ours, not compared with them."


def table_of(
    name: str,
    config: TableConfig,
    study: StudyConfig,
    lines: Mapping[LineKey, LineResult],
    cells: Sequence[CellResult],
    said: ScoreNotes = NO_NOTES,
) -> TableResult:
    """Return a table with its notes.

    Args:
        name: of the table.
        config: what it shows.
        study: the study.
        lines: by canonical key.
        cells: all cells of the study.
        said: what a reader of the scores must know, by metric and task.
    """
    shown = _lines_of(config.grids, study, lines)
    rows: list[TableRow] = []
    groups = _groups(shown, config.by)
    for group in groups:
        for line in shown:
            scores = _part(line, config.by, group)
            row = TableRow(
                line=line.id,
                label=line.label,
                group=group,
                cells={metric: scores[metric] for metric in config.metrics if metric in scores},
                published=_published(line, config.published) if config.by == "all" else {},
            )
            rows.append(row)
    notes = [*_notes(study, shown, cells), *_metric_notes(config.metrics, said)]
    notes += [_PUBLISHED_NOTE] if config.published else []
    return TableResult(name=name, title=config.title, metrics=config.metrics, rows=tuple(rows), notes=tuple(notes))


def figure_of(
    name: str,
    config: FigureConfig,
    study: StudyConfig,
    lines: Mapping[LineKey, LineResult],
    cells: Sequence[CellResult],
    sizes: Mapping[str, int],
    said: ScoreNotes = NO_NOTES,
) -> FigureResult:
    """Return a figure with its notes; see :func:`table_of`.

    Args:
        name: of the figure.
        config: what it shows.
        study: the study.
        lines: by canonical key.
        cells: all cells of the study.
        sizes: training examples of the trained lines, mean over tasks, by id.
        said: what a reader of the scores must know, by metric and task.
    """
    shown = _lines_of(config.grids, study, lines)
    x_label: str = config.by
    if config.kind == "bars":
        series = _bars(config, shown)
    elif config.kind == "curve":
        series, x_label = _curves(config, shown, sizes), "training examples"
    else:
        series, x_label = _pareto(config, shown), "training time"
    notes = [*_notes(study, shown, cells), *_metric_notes(config.metrics, said)]
    notes += [_PUBLISHED_NOTE] if config.published else []
    y_label = config.metrics[0] if len(config.metrics) == 1 else "score"
    return FigureResult(
        name=name,
        title=config.title,
        kind=config.kind,
        x_label=x_label,
        y_label=y_label,
        better=METRICS.get(config.metrics[0])().better if config.metrics else "higher",
        series=tuple(one for one in series if one.points),
        notes=tuple(notes),
    )


def lost_runs(line: str, cells: Sequence[CellResult]) -> str:
    """Return which runs of a line are not behind its estimates, and why, or nothing where all are."""
    lost: defaultdict[str, list[int]] = defaultdict(list)
    for cell in cells:
        if cell.line == line and cell.status != "ok" and cell.seed not in lost[cell.status]:
            lost[cell.status].append(cell.seed)
    said = {"failed": "failed", "diverged": "diverged", "missing": "not done"}
    return "; ".join(
        f"{said[status]}: seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}" for status, seeds in lost.items() if seeds
    )


def _lines_of(grids: Sequence[str], study: StudyConfig, lines: Mapping[LineKey, LineResult]) -> list[LineResult]:
    keys = dict.fromkeys(study.canonical(key) for grid in grids for key in study.lines_of(study.grids[grid]))
    return [lines[key] for key in keys if key in lines]


def _groups(lines: Sequence[LineResult], by: str) -> list[str]:
    if by == "all":
        return [""]
    return list(dict.fromkeys(group for line in lines for group in (line.languages if by == "language" else line.tasks)))


def _part(line: LineResult, by: str, group: str) -> Mapping[str, Estimate]:
    if by == "all":
        return line.scores
    return (line.languages if by == "language" else line.tasks).get(group, {})


def _published(line: LineResult, published: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the paper's figures for a line, found by its method's label, its setting's or its base's."""
    if line.key is None:
        return {}
    found = (published[name] for name in (line.key.method, line.key.setting, line.key.base) if name in published)
    return dict(next(found, {}))


def _notes(study: StudyConfig, lines: Sequence[LineResult], cells: Sequence[CellResult]) -> list[str]:
    notes = []
    trained = [line for line in lines if line.key is not None and not line.key.untrained]
    if trained and study.tuning is None:
        by_hand = any(study.entry(line.key.method).train for line in trained if line.key is not None)
        rest = ", apart from the training settings that the study file gives" if by_hand else ""
        notes.append(f"Not tuned: every method ran with its documented defaults{rest}.")
    elif trained and study.tuning is not None:
        notes.append(f"Tuned on dev: {study.tuning.trials} trials for each method, the documented defaults among them.")
    for line in lines:
        lost = lost_runs(line.id, cells)
        planned = len({cell.seed for cell in cells if cell.line == line.id})
        if lost:
            notes.append(f"{line.label}: {line.seeds} of {planned} planned runs ({lost}).")
    notes += _decoding_notes(lines)
    if any(line.seeds == 1 for line in trained):
        notes.append("One run a method: intervals are over test instances alone and say nothing of other seeds.")
    return notes


def _metric_notes(metrics: Sequence[str], said: ScoreNotes) -> list[str]:
    return [f"{note}." for note in score_notes({name: said[name] for name in metrics if name in said})]


def _decoding_notes(lines: Sequence[LineResult]) -> list[str]:
    """Return how lines were asked, where not all alike, and whose texts were often cut off."""
    chat, plain = ([line.label for line in lines if line.template == template] for template in ("chat", "plain"))
    asked = [f"Asked in the base's own chat template: {'; '.join(chat)}. The other lines are asked in the plain layout."]
    return [
        *(asked if chat and plain else []),
        *(
            f"{line.label}: {line.at_limit:.0%} of its texts end at the limit of new tokens, unfinished (decode.max_new_tokens)."
            for line in lines
            if line.at_limit is not None and line.at_limit > MANY_AT_LIMIT
        ),
    ]


def _bars(config: FigureConfig, lines: Sequence[LineResult]) -> list[FigureSeries]:
    series = []
    groups = _groups(lines, "language")
    for line in lines:
        if config.by == "metric":
            points = [
                FigurePoint(x=metric, y=line.scores[metric], published=_published(line, config.published).get(metric))
                for metric in config.metrics
                if metric in line.scores
            ]
        else:
            points = [
                FigurePoint(x=group if len(config.metrics) == 1 else f"{group}, {metric}", y=line.languages[group][metric])
                for group in groups
                for metric in config.metrics
                if metric in line.languages.get(group, {})
            ]
        series.append(FigureSeries(line=line.id, label=line.label, points=tuple(points)))
    return series


def _curves(config: FigureConfig, lines: Sequence[LineResult], sizes: Mapping[str, int]) -> list[FigureSeries]:
    """Return a curve for lines that differ in their training size alone; an untrained line is level over all sizes."""
    alike: defaultdict[LineKey, list[tuple[int, LineResult]]] = defaultdict(list)
    for line in lines:
        if line.key is not None and not line.key.untrained and line.id in sizes:
            alike[line.key.model_copy(update={"n_train": None})].append((sizes[line.id], line))
    every = sorted({size for curve in alike.values() for size, _ in curve})
    curves = [sorted(curve, key=lambda pair: pair[0]) for curve in alike.values()]
    curves += [[(size, line) for size in every] for line in lines if line.key is not None and line.key.untrained and every]
    return [_curve(curve, metric, several=len(config.metrics) > 1) for curve in curves for metric in config.metrics]


def _curve(curve: Sequence[tuple[int, LineResult]], metric: str, *, several: bool) -> FigureSeries:
    first = curve[0][1]
    size = f", n = {first.key.n_train}" if first.key is not None and first.key.n_train is not None else ""
    label = first.label.removesuffix(size) + (f", {metric}" if several else "")
    points = [
        FigurePoint(x=float(size), y=line.scores[metric], label=line.label) for size, line in curve if metric in line.scores
    ]
    return FigureSeries(line=first.id, label=label, points=tuple(points))


def _pareto(config: FigureConfig, lines: Sequence[LineResult]) -> list[FigureSeries]:
    metric = config.metrics[0] if config.metrics else PRIMARY
    return [
        FigureSeries(
            line=line.id,
            label=line.label,
            points=(FigurePoint(x=line.seconds, y=line.scores[metric], label=line.label),),
        )
        for line in lines
        if line.seconds is not None and metric in line.scores
    ]
