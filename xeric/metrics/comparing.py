"""Two systems compared on the same rows: difference, interval, test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xeric.config import Config
from xeric.errors import DataError, UserError
from xeric.metrics import quality_metrics
from xeric.metrics.base import Better, Metric
from xeric.metrics.measuring import Measured, grouped_alike, measure
from xeric.records import Prediction
from xeric.statistics.estimates import Estimate, VarianceComponent
from xeric.statistics.resampling import DEFAULT_SEED, correct, paired, replicates, resampling
from xeric.text import NormalForm

__all__ = ["Comparison", "ComparisonReport", "check_pairs", "compare_measured", "compare_predictions"]


class Comparison(Config):
    """What one metric says about two systems on the same rows.

    Attributes:
        a: score of the first, mean over tasks.
        b: score of the second.
        difference: a - b.
        low: lower end of the difference's 95% interval; None where rows cannot be resampled, and where there are fewer than six,
            which tell nothing at 5%.
        high: upper end.
        p: two-sided p value of "no difference", below 5% just where the interval leaves 0 out; None where rows cannot be
            resampled.
        p_corrected: the same, corrected by Holm for all metrics tested together.
        better: which direction of the scores is better: ``higher``, ``lower``, or None where neither is.
        signature: every choice that can move these numbers.
    """

    a: float
    b: float
    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    better: Better | None = "higher"
    signature: str


class ComparisonReport(Config):
    """Two systems compared.

    Attributes:
        metrics: by metric.
        rows: how many rows both were scored on.
        tasks: the tasks that they came from.
    """

    metrics: dict[str, Comparison]
    rows: int
    tasks: tuple[str, ...]


def compare_predictions(
    a: Sequence[Prediction],
    b: Sequence[Prediction],
    metrics: Sequence[str | Metric] | None = None,
    *,
    resamples: int = 1000,
    seed: int = DEFAULT_SEED,
    normalize: NormalForm = "nfc",
) -> ComparisonReport:
    """Return how two systems differ on the same rows: a - b, its interval, and a test.

    Rows are paired by task and id. Interval and test come from one procedure, the one that studies use
    (:mod:`xeric.statistics.estimates`), so that they never contradict each other: the standard error of a - b is that of a paired
    bootstrap (Koehn 2004), rows drawn within each task and language, and half the width is that times the t quantile of its
    degrees of freedom. p values are corrected by Holm over the metrics named here; the interval is the metric's own.

    Args:
        a: predictions of one system.
        b: predictions of the other for the same rows.
        metrics: names, or metrics with settings of their own; None for those of quality (:func:`xeric.metrics.quality_metrics`).
        resamples: of the bootstrap.
        seed: of the bootstrap, from 0 on.
        normalize: Unicode normal form, for the metrics given by name.

    Raises:
        DataError: the rows cannot be paired: an id is missing on one side or stands twice, or its references or language differ.
        UnknownNameError: a metric or a language is not known.
        UserError: ``resamples`` is below 2, ``seed`` is negative, no metric is named, or one is named twice.
    """
    chosen = quality_metrics() if metrics is None else metrics
    first, second = (measure(rows, chosen, normalize=normalize) for rows in (a, b))
    return compare_measured(first, second, resamples=resamples, seed=seed)


def compare_measured(a: Measured, b: Measured, *, resamples: int = 1000, seed: int = DEFAULT_SEED) -> ComparisonReport:
    """Return how two systems differ that were measured before with the same metrics; see :func:`compare_predictions`.

    Raises:
        DataError: the rows cannot be paired, or the metrics or their settings differ.
        UserError: ``resamples`` is below 2, or ``seed`` is negative.
    """
    check_pairs(a, b)
    a, b = grouped_alike([a, b])
    if resamples < 2:
        raise UserError(f"{resamples} resamples show no spread", hint="give a number such as 1000")
    choices = resampling(resamples, seed)
    tested = _tests(a, b, resamples, seed) if a.resampled else {}
    second, signatures = b.scores(), a.signatures()
    compared = {
        name: Comparison(
            a=score,
            b=second[name],
            difference=score - second[name],
            better=a.metrics[name].better,
            signature=str(signatures[name].extended(choices if name in tested else {})),
            **tested.get(name, {}),
        )
        for name, score in a.scores().items()
    }
    return ComparisonReport(metrics=compared, rows=len(a.rows), tasks=tuple(a.by_task()))


def _tests(a: Measured, b: Measured, resamples: int, seed: int) -> dict[str, dict[str, float | None]]:
    """Return the interval and the p values by metric."""
    estimates = _estimates(a, b, resamples, seed)
    p_values = {name: p for name, estimate in estimates.items() if (p := estimate.p()) is not None}
    corrected = dict(zip(p_values, correct(list(p_values.values())), strict=True))
    tests: dict[str, dict[str, float | None]] = {}
    for name, estimate in estimates.items():
        low, high = estimate.interval() or (None, None)
        tests[name] = {"low": low, "high": high, "p": p_values.get(name), "p_corrected": corrected.get(name)}
    return tests


def _estimates(a: Measured, b: Measured, resamples: int, seed: int) -> dict[str, Estimate]:
    """Return a - b with the variance that other test instances would give it, by metric."""
    samples = [replace(sample, weight=1.0) for sample in paired(a.samples(), b.samples())]
    # [groups, draws, metrics]
    drawn = np.stack([replicates([sample], resamples=resamples, seed=seed) for sample in samples])
    first, second = a.scores(), b.scores()

    def varied(name: str) -> int:
        return sum(group.units for group in a.groups if group.units > 1 and group.statistics[name].defined)

    return {
        name: Estimate(first[name] - second[name], VarianceComponent(), component, varied(name))
        for name, component in a.instance_components(drawn).items()
    }


def check_pairs(a: Measured, b: Measured) -> None:
    """Check that two systems were measured alike on the same rows.

    Raises:
        DataError: they were not; the message names the first row, or the metric, that differs.
    """
    for task, id_ in sorted(a.rows.keys() ^ b.rows.keys()):
        side = "second" if (task, id_) in a.rows else "first"
        raise DataError(f"the {side} set has no prediction for the id {id_!r} of task {task!r}", hint="compare the same rows")
    for (task, id_), (language, references) in sorted(a.rows.items()):
        other_language, other_references = b.rows[task, id_]
        if language != other_language:
            raise DataError(f"the language of the id {id_!r} of task {task!r} differs: {language!r} and {other_language!r}")
        if references != other_references:
            raise DataError(f"the references of the id {id_!r} of task {task!r} differ", hint="compare on the same test set")
    ours, theirs = a.signatures(), b.signatures()
    if ours != theirs:
        name = min(name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name))
        raise DataError(f"the two sets were measured differently: {name!r}", hint="use the same metrics and settings for both")
