"""Several claims tested at once, the spread of a few runs, and the differences that a study can see.

What an estimate is and how far it can be trusted stands in :mod:`xeric.statistics.estimates`. Nothing here knows what a study is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from xeric.statistics.arrays import FloatArray
from xeric.statistics.estimates import ALPHA, Estimate, VarianceComponent, half_width, of_instances, root
from xeric.statistics.resampling import correct

__all__ = [
    "ASSUMED_INSTANCE_SD",
    "ASSUMED_SEED_SD",
    "TASK_SEED_SD",
    "Decision",
    "assumed_instances",
    "decide_together",
    "detectable_difference",
    "spread",
]

ASSUMED_SEED_SD = 1.0
"""Standard deviation over seeds of a method's mean over tasks, in points, where it cannot be measured: one run, or none yet."""

ASSUMED_INSTANCE_SD = 12.0
"""Standard deviation over test instances of the difference between two methods, in points of chrF++, for a study not yet made.

On the cautious side, as a plan should be: ours showed 7.0 between trained methods and 9.1 between a trained and an untrained one.
"""

TASK_SEED_SD = 1.5
"""Standard deviation over seeds of a method's score on one task, in points of chrF++, for a study not yet made.

On the cautious side: ours showed 0.9.
"""

_IMAGINED_STUDIES = 4000


# --- several claims at once -----------------------------------------------------------------------------------------------------


class Decision(NamedTuple):
    """An estimate that was tested beside others.

    Attributes:
        p: two-sided p value by itself.
        p_corrected: by Holm, for all that were tested together.
        low: lower end of the corrected interval; None where so few test instances cannot give one of its level.
        high: upper end, or None.
    """

    p: float
    p_corrected: float
    low: float | None
    high: float | None


def decide_together(estimates: Sequence[tuple[Estimate, float]]) -> list[Decision | None]:
    """Return tests of several estimates against their null values so that any of them errs at a rate of at most 5%.

    p values are corrected by Holm (1979). An interval's level is the one at which Holm's procedure came to a decision about it,
    so that interval and corrected p value always say the same: the null value is outside just when the corrected p is at most 5%.

    Args:
        estimates: each with its null value.

    Returns:
        In the same order; None for an estimate without an interval, which is not counted as tested.
    """
    p_values = [estimate.p(null) if estimate.interval() else None for estimate, null in estimates]
    tested_p_values = [p for p in p_values if p is not None]
    corrected = correct(tested_p_values)
    called = sum(p <= ALPHA for p in corrected)
    rank = {index: min(position, called) for position, index in enumerate(np.argsort(tested_p_values, kind="stable").tolist())}
    decisions: list[Decision | None] = []
    tested = 0
    for (estimate, _), p in zip(estimates, p_values, strict=True):
        if p is None:
            decisions.append(None)
            continue
        low, high = estimate.interval(ALPHA / (len(tested_p_values) - rank[tested])) or (None, None)
        decisions.append(Decision(p, corrected[tested], low, high))
        tested += 1
    return decisions


# --- spread and power -----------------------------------------------------------------------------------------------------------


def spread(values: ArrayLike) -> tuple[float, float, float] | None:
    """Return the standard deviation of a few runs and its 95% interval (chi-square: runs taken as normal); None for one run."""
    from scipy.stats import chi2

    runs = np.asarray(values, dtype=np.float64)
    df = len(runs) - 1
    if df < 1:
        return None
    sd = float(runs.std(ddof=1))
    low, high = (sd * math.sqrt(df / chi2.ppf(p, df)) for p in (1 - ALPHA / 2, ALPHA / 2))
    return sd, low, high


def assumed_instances(counts: Sequence[int], sd: float = ASSUMED_INSTANCE_SD) -> VarianceComponent:
    """Return what other test instances would change in a difference of means over tasks, before it is known.

    Args:
        counts: test instances of each task. A task of few weighs as much as one of many, and makes the mean unsure.
        sd: standard deviation over instances of the paired difference.
    """
    n = np.array([count for count in counts if count > 1], dtype=np.float64)
    # A bootstrap would show n - 1 of n parts of it.
    return of_instances((sd / len(counts)) ** 2 * (n - 1) / n**2, n) or VarianceComponent()


def detectable_difference(
    *, seeds: int, instances: VarianceComponent, seed_sd: float = ASSUMED_SEED_SD, power: float = 0.8, alpha: float = ALPHA
) -> float:
    """Return the smallest difference between two methods that a study finds with the given power, by itself (uncorrected).

    A plan and a finished study ask the same; a plan only has to assume (:func:`assumed_instances`) what the study shows.

    Args:
        seeds: runs of each method; with one run the seeds' spread is taken as given.
        instances: what other test instances would change in the paired difference, apart from what differs from run to run.
        seed_sd: standard deviation of a method's mean over tasks from run to run.
        power: share of such studies that find it.
        alpha: of the test.
    """
    from scipy.special import ndtr

    arm, df, fixed = seed_sd**2 / seeds, seeds - 1, instances.variance
    # The width of the interval is itself a matter of chance: average over studies that might come out.
    rng = np.random.default_rng(0)
    instance_variances: FloatArray = np.full(_IMAGINED_STUDIES, fixed)
    if math.isfinite(instances.df):
        instance_variances = fixed * rng.chisquare(instances.df, size=_IMAGINED_STUDIES) / instances.df
    if df and arm:
        drawn = arm * rng.chisquare(df, size=(2, _IMAGINED_STUDIES)) / df
        welch = drawn.sum(axis=0) ** 2 / np.maximum((drawn**2 / df).sum(axis=0), 1e-300)
        half = half_width(alpha, drawn.sum(axis=0), welch, instance_variances, instances.df)
    else:
        half = half_width(alpha, [2 * arm], math.inf, instance_variances, instances.df)
    deviation = math.sqrt(2 * arm + fixed)
    if not deviation:
        return 0.0
    missing = lambda difference: power - float(ndtr((difference - half) / deviation).mean())  # noqa: E731
    return root(missing, 0.0, float(half.max()) + 10 * deviation)
