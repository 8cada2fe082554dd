"""Two systems compared on the same rows: difference, interval, test."""

from __future__ import annotations

from collections.abc import Sequence

from xeric.config import Config
from xeric.errors import DataError
from xeric.metrics import QUALITY
from xeric.metrics.base import Better, Metric
from xeric.metrics.measuring import Measured, measure
from xeric.metrics.significance import DEFAULT_SEED, correct, paired_bootstrap, paired_randomization, resampling
from xeric.records import Prediction
from xeric.text import NormalForm

__all__ = ["Comparison", "ComparisonReport", "check_pairs", "compare_measured", "compare_predictions"]


class Comparison(Config):
    """What one metric says about two systems on the same rows.

    Attributes:
        a: score of the first, mean over tasks.
        b: score of the second.
        difference: a - b.
        low: lower end of the difference's 95% interval (paired bootstrap); None where rows cannot be resampled.
        high: upper end.
        p: two-sided p value of "no difference" (paired approximate randomisation); None likewise.
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
    trials: int = 10_000,
    seed: int = DEFAULT_SEED,
    normalize: NormalForm = "nfc",
) -> ComparisonReport:
    """Return how two systems differ on the same rows: a - b, its interval, and a test.

    Rows are paired by task and id. The interval is a paired bootstrap, the p value a paired approximate randomisation; both
    exchange rows within each task and language and look at the mean over tasks. p values are corrected by Holm over the metrics
    named here.

    Args:
        a: predictions of one system.
        b: predictions of the other for the same rows.
        metrics: names, or metrics with settings of their own; None for chrF++ and the paper's three.
        resamples: of the bootstrap.
        trials: of the test; no p value is below 1 / (trials + 1).
        seed: of both, from 0 on.
        normalize: Unicode normal form, for the metrics given by name.

    Raises:
        DataError: the rows cannot be paired: an id is missing on one side or stands twice, or its references or language differ.
        UnknownNameError: a metric or a language is not known.
        UserError: ``resamples`` or ``trials`` is below 1, ``seed`` is negative, no metric is named, or one is named twice.
    """
    chosen = QUALITY if metrics is None else metrics
    first, second = (measure(rows, chosen, normalize=normalize) for rows in (a, b))
    return compare_measured(first, second, resamples=resamples, trials=trials, seed=seed)


def compare_measured(
    a: Measured, b: Measured, *, resamples: int = 1000, trials: int = 10_000, seed: int = DEFAULT_SEED
) -> ComparisonReport:
    """Return how two systems differ that were measured before with the same metrics; see :func:`compare_predictions`.

    Raises:
        DataError: the rows cannot be paired, or the metrics or their settings differ.
        UserError: ``resamples`` or ``trials`` is below 1, or ``seed`` is negative.
    """
    check_pairs(a, b)
    choices = {**resampling(resamples, seed), "ar": trials}
    tested = _tests(a, b, resamples, trials, seed) if a.resampled else {}
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


def _tests(a: Measured, b: Measured, resamples: int, trials: int, seed: int) -> dict[str, dict[str, float | None]]:
    """Return the interval and the p values by metric."""
    samples = a.samples(), b.samples()
    interval = paired_bootstrap(*samples, resamples=resamples, seed=seed)
    p_values: list[float] = paired_randomization(*samples, trials=trials, seed=seed).tolist()
    found: dict[str, dict[str, float | None]] = {
        name: {"p": p, "p_corrected": corrected}
        for name, p, corrected in zip(a.resampled, p_values, correct(p_values), strict=True)
    }
    if interval is not None and a.varied:
        for name, low, high in zip(a.resampled, interval.low.tolist(), interval.high.tolist(), strict=True):
            found[name].update(low=low, high=high)
    return found


def check_pairs(a: Measured, b: Measured) -> None:
    """Check that two systems were measured alike on the same rows.

    Raises:
        DataError: they were not; the message names the first row, or the metric, that differs.
    """
    for task, one in sorted(a.rows.keys() ^ b.rows.keys()):
        side = "second" if (task, one) in a.rows else "first"
        raise DataError(f"the {side} set has no prediction for the id {one!r} of task {task!r}", hint="compare the same rows")
    for (task, one), (language, references) in sorted(a.rows.items()):
        other_language, other_references = b.rows[task, one]
        if language != other_language:
            raise DataError(f"the language of the id {one!r} of task {task!r} differs: {language!r} and {other_language!r}")
        if references != other_references:
            raise DataError(f"the references of the id {one!r} of task {task!r} differ", hint="compare on the same test set")
    ours, theirs = a.signatures(), b.signatures()
    if ours != theirs:
        name = min(name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name))
        raise DataError(f"the two sets were measured differently: {name!r}", hint="use the same metrics and settings for both")
