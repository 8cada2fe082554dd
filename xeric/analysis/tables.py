"""Tables and figures of a study, filled with the estimates of its arms. Notes below them name what is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from xeric.analysis.results import (
    ArmResult,
    FigurePoint,
    FigureResult,
    FigureSeries,
    Interval,
    RunResult,
    TableResult,
    TableRow,
)
from xeric.metrics import METRICS, PRIMARY
from xeric.metrics.scoring import score_notes
from xeric.studies.config import OWN, ArmKey, FigureConfig, StudyConfig, TableConfig

__all__ = ["figure_of", "lost_runs", "table_of"]

ScoreNotes = Mapping[str, Mapping[str, str]]
NO_NOTES: ScoreNotes = MappingProxyType({})

_PUBLISHED_NOTE = "Published figures are from other bases and tasks; they are shown beside ours, not compared with them."


def table_of(
    name: str,
    config: TableConfig,
    study: StudyConfig,
    arms: Mapping[ArmKey, ArmResult],
    runs: Sequence[RunResult],
    metric_notes: ScoreNotes = NO_NOTES,
) -> TableResult:
    """Return a table with its notes.

    Args:
        name: of the table.
        config: what it shows.
        study: the study.
        arms: by canonical key.
        runs: all runs of the study.
        metric_notes: notes for readers of the scores, by metric and task.
    """
    arms_shown = _arms_of(config.grids, study, arms)
    rows: list[TableRow] = []
    groups = _groups(arms_shown, config.by)
    for group in groups:
        for arm in arms_shown:
            scores = _scores(arm, config.by, group)
            row = TableRow(
                arm=arm.id,
                label=arm.label,
                group=group,
                cells={metric: scores[metric] for metric in config.metrics if metric in scores},
                published=_published(arm, config.published) if config.by == "all" else {},
            )
            rows.append(row)
    notes = [*_notes(study, arms_shown, runs), *_metric_notes(config.metrics, metric_notes)]
    notes += [_PUBLISHED_NOTE] if config.published else []
    return TableResult(name=name, title=config.title, metrics=config.metrics, rows=tuple(rows), notes=tuple(notes))


def figure_of(
    name: str,
    config: FigureConfig,
    study: StudyConfig,
    arms: Mapping[ArmKey, ArmResult],
    runs: Sequence[RunResult],
    sizes: Mapping[str, int],
    metric_notes: ScoreNotes = NO_NOTES,
) -> FigureResult:
    """Return a figure with its notes; see :func:`table_of`.

    Args:
        name: of the figure.
        config: what it shows.
        study: the study.
        arms: by canonical key.
        runs: all runs of the study.
        sizes: training examples of the trained arms, mean over tasks, by id.
        metric_notes: notes for readers of the scores, by metric and task.
    """
    arms_shown = _arms_of(config.grids, study, arms)
    x_label: str = config.by
    if config.kind == "bars":
        series = _bars(config, arms_shown)
    elif config.kind == "curve":
        series, x_label = _curves(config, arms_shown, sizes), "training examples"
    else:
        series, x_label = _pareto(config, arms_shown), "training time"
    notes = [*_notes(study, arms_shown, runs), *_metric_notes(config.metrics, metric_notes)]
    notes += [_PUBLISHED_NOTE] if config.published else []
    y_label = config.metrics[0] if len(config.metrics) == 1 else "score"
    return FigureResult(
        name=name,
        title=config.title,
        kind=config.kind,
        x_label=x_label,
        y_label=y_label,
        better=METRICS.get(config.metrics[0])().better if config.metrics else "higher",
        series=tuple(curve for curve in series if curve.points),
        notes=tuple(notes),
    )


def lost_runs(arm: str, runs: Sequence[RunResult]) -> str:
    """Return the seeds of an arm that its estimates do not include, and why; empty where they include all."""
    lost: defaultdict[str, list[int]] = defaultdict(list)
    for run in runs:
        if run.arm == arm and run.status != "ok" and run.seed not in lost[run.status]:
            lost[run.status].append(run.seed)
    words = {"failed": "failed", "diverged": "diverged", "missing": "not done"}
    return "; ".join(
        f"{words[status]}: seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}" for status, seeds in lost.items() if seeds
    )


def _arms_of(grids: Sequence[str], study: StudyConfig, arms: Mapping[ArmKey, ArmResult]) -> list[ArmResult]:
    keys = dict.fromkeys(study.canonical(key) for grid in grids for key in study.arms_of(study.grids[grid]))
    return [arms[key] for key in keys if key in arms]


def _groups(arms: Sequence[ArmResult], by: str) -> list[str]:
    if by == "all":
        return [""]
    return list(dict.fromkeys(group for arm in arms for group in (arm.languages if by == "language" else arm.tasks)))


def _scores(arm: ArmResult, by: str, group: str) -> Mapping[str, Interval]:
    if by == "all":
        return arm.scores
    return (arm.languages if by == "language" else arm.tasks).get(group, {})


def _published(arm: ArmResult, published: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the paper's figures for an arm, found by its method's label, its setting's or its base's; none for other prompts."""
    if arm.key is None or arm.key.prompt != OWN:
        return {}
    matching = (published[name] for name in (arm.key.method, arm.key.setting, arm.key.base) if name in published)
    return dict(next(matching, {}))


def _notes(study: StudyConfig, arms: Sequence[ArmResult], runs: Sequence[RunResult]) -> list[str]:
    notes = []
    trained = [arm for arm in arms if arm.key is not None and not arm.key.untrained]
    if trained and study.tuning is None:
        entries = [study.entry(arm.key.method) for arm in trained if arm.key is not None]
        by_hand = bool(study.run.get("train")) or any(entry.train or len(entry.method) > 1 for entry in entries)
        rest = ", apart from the settings that the study file gives" if by_hand else ""
        notes.append(f"Not tuned: every method ran with its documented defaults{rest}.")
    elif trained and study.tuning is not None:
        notes.append(f"Tuned on dev: {study.tuning.trials} trials per method, the documented defaults among them.")
    labels = dict.fromkeys(arm.key.prompt for arm in arms if arm.key is not None)
    for label, search in ((label, study.prompt_entry(label).search) for label in labels if label in (OWN, *study.prompts)):
        if search is not None:
            notes.append(f"{label}: definitions searched for on dev, {search.candidates} candidates for each base and task.")
    for arm in arms:
        lost = lost_runs(arm.id, runs)
        planned = len({run.seed for run in runs if run.arm == arm.id})
        if lost:
            notes.append(f"{arm.label}: {arm.seeds} of {planned} planned runs ({lost}).")
    notes += _decoding_notes(arms)
    scored = [arm for arm in trained if arm.seeds]
    if single := [arm.label for arm in scored if arm.seeds == 1]:
        per = "per method" if len(single) == len(scored) else f"of {'; '.join(single)}"
        notes.append(f"One run {per}: intervals are over test instances alone and do not cover other seeds.")
    return notes


def _metric_notes(metrics: Sequence[str], metric_notes: ScoreNotes) -> list[str]:
    return [f"{note}." for note in score_notes({name: metric_notes[name] for name in metrics if name in metric_notes})]


def _decoding_notes(arms: Sequence[ArmResult]) -> list[str]:
    """Return notes on prompt templates, where arms differ in them, and on arms whose texts were often cut off."""
    chat, plain = ([arm.label for arm in arms if arm.template == template] for template in ("chat", "plain"))
    asked = [f"Asked in the base's own chat template: {'; '.join(chat)}. The other arms are asked in the plain layout."]
    return [
        *(asked if chat and plain else []),
        *(_cut_off(arm) for arm in arms if arm.cut_tasks),
    ]


def _cut_off(arm: ArmResult) -> str:
    """Return how many of an arm's texts are unfinished, and of which tasks."""
    of_all = f"{arm.label}: {arm.at_limit or 0.0:.0%} of its texts end at the limit of new tokens, unfinished"
    by_task = [f"{share:.0%} of {task}" for task, share in arm.cut_tasks.items()] if len(arm.tasks) > 1 else []
    return f"{of_all} ({'; '.join(['decode.max_new_tokens', *by_task])})."


def _bars(config: FigureConfig, arms: Sequence[ArmResult]) -> list[FigureSeries]:
    series = []
    groups = _groups(arms, "language")
    for arm in arms:
        if config.by == "metric":
            points = [
                FigurePoint(x=metric, y=arm.scores[metric], published=_published(arm, config.published).get(metric))
                for metric in config.metrics
                if metric in arm.scores
            ]
        else:
            points = [
                FigurePoint(x=group if len(config.metrics) == 1 else f"{group}, {metric}", y=arm.languages[group][metric])
                for group in groups
                for metric in config.metrics
                if metric in arm.languages.get(group, {})
            ]
        series.append(FigureSeries(arm=arm.id, label=arm.label, points=tuple(points)))
    return series


def _curves(config: FigureConfig, arms: Sequence[ArmResult], sizes: Mapping[str, int]) -> list[FigureSeries]:
    """Return a curve for arms that differ in their training size alone; an untrained arm is level over all sizes."""
    by_key: defaultdict[ArmKey, list[tuple[int, ArmResult]]] = defaultdict(list)
    for arm in arms:
        if arm.key is not None and not arm.key.untrained and arm.id in sizes:
            by_key[arm.key.model_copy(update={"n_train": None})].append((sizes[arm.id], arm))
    all_sizes = sorted({size for curve in by_key.values() for size, _ in curve})
    curves = [sorted(curve, key=lambda pair: pair[0]) for curve in by_key.values()]
    curves += [[(size, arm) for size in all_sizes] for arm in arms if arm.key is not None and arm.key.untrained and all_sizes]
    return [_curve(curve, metric, several=len(config.metrics) > 1) for curve in curves for metric in config.metrics]


def _curve(curve: Sequence[tuple[int, ArmResult]], metric: str, *, several: bool) -> FigureSeries:
    first = curve[0][1]
    size = f", n = {first.key.n_train}" if first.key is not None and first.key.n_train is not None else ""
    label = first.label.removesuffix(size) + (f", {metric}" if several else "")
    points = [FigurePoint(x=float(size), y=arm.scores[metric], label=arm.label) for size, arm in curve if metric in arm.scores]
    return FigureSeries(arm=first.id, label=label, points=tuple(points))


def _pareto(config: FigureConfig, arms: Sequence[ArmResult]) -> list[FigureSeries]:
    metric = config.metrics[0] if config.metrics else PRIMARY
    return [
        FigureSeries(
            arm=arm.id,
            label=arm.label,
            points=(FigurePoint(x=arm.seconds, y=arm.scores[metric], label=arm.label),),
        )
        for arm in arms
        if arm.seconds is not None and metric in arm.scores
    ]
