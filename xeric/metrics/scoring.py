"""Predictions in; scores with intervals and signatures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from xeric.config import Config
from xeric.errors import UserError
from xeric.metrics.base import Metric
from xeric.metrics.measuring import Measured, measure
from xeric.records import Prediction, Score
from xeric.statistics.arrays import FloatArray
from xeric.statistics.estimates import Estimate, VarianceComponent
from xeric.statistics.resampling import DEFAULT_SEED, replicates, resampling
from xeric.text import NormalForm

__all__ = ["ScoreReport", "score_measured", "score_notes", "score_predictions", "within_scale"]


class ScoreReport(Config):
    """Scores of one set of predictions.

    Attributes:
        scores: mean over tasks, by metric; over those tasks on which the metric says anything.
        tasks: scores of each task, by metric.
        notes: what a reader must know, by metric and task: why a score is not there, or what it rests on.
    """

    scores: dict[str, Score]
    tasks: dict[str, dict[str, Score]]
    notes: dict[str, dict[str, str]] = {}


def score_predictions(
    predictions: Sequence[Prediction],
    metrics: Sequence[str | Metric] | None = None,
    *,
    resamples: int = 1000,
    seed: int = DEFAULT_SEED,
    normalize: NormalForm = "nfc",
) -> ScoreReport:
    """Return the scores of predictions, task by task and over all tasks.

    Rows are scored by task and language; a task's score is the mean over its languages, weighted by their rows; the overall score
    is the plain mean over tasks. Intervals are 95%, by the procedure that comparisons and studies use: the standard error is that
    of a bootstrap, rows drawn within each task and language, times the t quantile of its degrees of freedom; the tasks are taken
    as given. There is none where a task has one row, nor for a measure of a whole set
    (:attr:`Metric.resampled`). A metric that says nothing on a task has no score there, and the mean is over the other tasks; the
    notes say why. Nothing depends on the order of the predictions.

    Args:
        predictions: at least one; empty texts count.
        metrics: names, or metrics with settings of their own; None for all that are registered.
        resamples: of the bootstrap; 0 for no intervals.
        seed: of the bootstrap, from 0 on.
        normalize: Unicode normal form, for the metrics given by name.

    Raises:
        DataError: there are no predictions, or an id stands twice in a task.
        UnknownNameError: a metric or a language is not known.
        UserError: ``resamples`` or ``seed`` is negative or ``resamples`` is 1, no metric is named, or one is named twice.
    """
    return score_measured(measure(predictions, metrics, normalize=normalize), resamples=resamples, seed=seed)


def score_measured(measured: Measured, *, resamples: int = 1000, seed: int = DEFAULT_SEED) -> ScoreReport:
    """Return the scores of predictions that were measured before; see :func:`score_predictions`."""
    tasks = measured.by_task()
    intervals: dict[str, Ends] = {}
    overall: Ends = {}
    if resamples and measured.resampled:
        if resamples < 2:
            raise UserError(f"{resamples} resamples show no spread", hint="give a number such as 1000, or 0 for no intervals")
        # [groups, draws, metrics]
        samples = [replace(sample, weight=1.0) for sample in measured.samples()]
        drawn = np.stack([replicates([sample], resamples=resamples, seed=seed) for sample in samples])
        overall = _intervals(measured, drawn)
        names = [group.task for group in measured.groups]
        for task, own in tasks.items():
            columns = [measured.resampled.index(name) for name in own.resampled]
            intervals[task] = _intervals(own, drawn[[name == task for name in names]][:, :, columns])
    choices = resampling(resamples, seed)
    return ScoreReport(
        scores=_scores(measured, overall, choices),
        tasks={task: _scores(own, intervals.get(task, {}), choices) for task, own in tasks.items()},
        notes=measured.notes,
    )


Ends = dict[str, tuple[float, float]]
"""Lower and upper end of an interval, by metric."""


def _intervals(measured: Measured, drawn: FloatArray) -> Ends:
    """Return the interval of each score, cut at the ends of its scale."""
    scores = measured.scores()
    ends: Ends = {}
    for name, component in measured.instance_components(drawn).items():
        interval = Estimate(scores[name], VarianceComponent(), component).interval()
        if interval is not None:
            ends[name] = within_scale(measured.metrics[name], scores[name], *interval)
    return ends


def within_scale(metric: Metric, value: float, low: float, high: float) -> tuple[float, float]:
    """Return an interval cut at the ends of a metric's scale: no score is below 0, none above :attr:`Metric.upper`.

    Args:
        metric: what was scored.
        value: the score, which stays inside.
        low: lower end.
        high: upper end.
    """
    upper = high if metric.upper is None else min(high, metric.upper)
    return max(low, 0.0), max(upper, value)


def _scores(measured: Measured, ends: Ends, choices: dict[str, object]) -> dict[str, Score]:
    signatures = measured.signatures()
    return {
        name: Score(
            score=score,
            low=ends[name][0] if name in ends else None,
            high=ends[name][1] if name in ends else None,
            signature=str(signatures[name].extended(choices if name in ends else {})),
        )
        for name, score in measured.scores().items()
    }


def score_notes(notes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return what a reader of scores must know as sentences, tasks of the same note together.

    Args:
        notes: by metric and task.
    """
    tasks_of: dict[tuple[str, str], list[str]] = {}
    for metric, by_task in notes.items():
        for task, note in by_task.items():
            tasks_of.setdefault((metric, note), []).append(task)
    return [f"{metric} ({', '.join(tasks)}): {note}" for (metric, note), tasks in tasks_of.items()]
