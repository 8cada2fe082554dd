"""How far an estimate can be trusted that comes from a few runs and a few hundred test instances.

Two things would be different if a study were made again: the runs (another seed, another model) and the test instances. The
variance of an estimate is the sum of both parts, and they are known in very different measure: from hundreds of instances, but
from two or three runs. So each part gets the t quantile of its own degrees of freedom, and half widths are added in squares,

    h(alpha)^2 = t(alpha, df_runs)^2 var_runs + t(alpha, df_instances)^2 var_instances.

Such an interval covers at least 1 - alpha whatever the two variances are (Banerjee 1961, "On confidence interval for two-means
problem based on separate estimates of variances and tabulated values of t-table", Sankhya A 23). The percentile bootstrap over
three runs does not, nor does one t quantile of Satterthwaite's for the sum: docs/studies.md shows how often they err.

Nothing here knows what a metric or a study is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from xeric.metrics.base import FloatArray
from xeric.metrics.significance import LEVEL, correct

__all__ = [
    "ALPHA",
    "ASSUMED_INSTANCE_SD",
    "ASSUMED_SEED_SD",
    "TASK_SEED_SD",
    "Decision",
    "Estimated",
    "Part",
    "added",
    "decide_together",
    "detectable_difference",
    "half_width",
    "spread",
]

ALPHA = 1 - LEVEL
"""Rate at which a difference may be called where there is none."""

ASSUMED_SEED_SD = 1.0
"""Standard deviation over seeds of a method's mean over tasks, in points, where it cannot be measured: one run, or none yet."""

ASSUMED_INSTANCE_SD = 8.0
"""Standard deviation over test instances of the difference between two methods, in points of chrF++, for a study not yet made."""

TASK_SEED_SD = 1.0
"""Standard deviation over seeds of a method's score on one task, in points of chrF++, for a study not yet made."""

_LEAST_P = 1e-12
_IMAGINED_STUDIES = 4000


@dataclass(frozen=True)
class Part:
    """A part of an estimate's variance, and the degrees of freedom that it is known from; infinitely many where it is given."""

    variance: float = 0.0
    df: float = math.inf


@dataclass(frozen=True)
class Estimated:
    """An estimate with the two parts of its variance.

    Attributes:
        value: the estimate.
        runs: what other runs would change.
        instances: what other test instances would change; None where the instances tell nothing about others (one a task).
    """

    value: float
    runs: Part = Part()
    instances: Part | None = Part()

    def half_width(self, alpha: float = ALPHA) -> float | None:
        """Return half the width of the interval that misses at a rate of at most ``alpha``; None where there is none."""
        if self.instances is None:
            return None
        return float(half_width(alpha, self.runs.variance, self.runs.df, self.instances.variance, self.instances.df))

    def interval(self, alpha: float = ALPHA) -> tuple[float, float] | None:
        """Return both ends of the interval that misses at a rate of at most ``alpha``; None where there is none."""
        half = self.half_width(alpha)
        return None if half is None else (self.value - half, self.value + half)

    def p(self, null: float = 0.0) -> float | None:
        """Return the two-sided p value of "it is ``null``": the ``alpha`` whose interval just reaches ``null``.

        None where there is no interval. Never below 1e-12: no approximation can be trusted so far out.
        """
        if self.instances is None:
            return None
        distance = abs(self.value - null)
        if distance < 1e-9:  # sums in another order differ in the last digits
            return 1.0
        return math.exp(_root(lambda log_p: (self.half_width(math.exp(log_p)) or 0.0) - distance, math.log(_LEAST_P), 0.0))


def half_width(
    alpha: float, runs: ArrayLike, runs_df: ArrayLike, instances: ArrayLike, instances_df: ArrayLike = math.inf
) -> FloatArray:
    """Return half the width of an interval from the two variances and their degrees of freedom; see the module's text."""
    from scipy.special import stdtrit

    parts = ((runs, runs_df), (instances, instances_df))
    squares = [stdtrit(np.asarray(df, np.float64), alpha / 2) ** 2 * np.asarray(variance, np.float64) for variance, df in parts]
    return np.asarray(np.sqrt(sum(squares)))


def added(parts: Sequence[Part]) -> Part:
    """Return the sum of independent parts of one kind, with the degrees of freedom of Welch (1938)."""
    variance = sum(part.variance for part in parts)
    unsure = sum(part.variance**2 / part.df for part in parts)
    return Part(variance, variance**2 / unsure if unsure else math.inf)


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Return where a falling function is 0, or the end that is nearest to it."""
    from scipy.optimize import brentq

    if falling(low) <= 0:
        return low
    return high if falling(high) >= 0 else float(brentq(falling, low, high, xtol=1e-9))


# --- several claims at once -----------------------------------------------------------------------------------------------------


class Decision(NamedTuple):
    """An estimate that was tested beside others.

    Attributes:
        p: two-sided p value by itself.
        p_corrected: by Holm, for all that were tested together.
        low: lower end of the corrected interval.
        high: upper end.
    """

    p: float
    p_corrected: float
    low: float
    high: float


def decide_together(estimates: Sequence[tuple[Estimated, float]]) -> list[Decision | None]:
    """Return tests of several estimates against their null values so that any of them errs at a rate of at most 5%.

    p values are corrected by Holm (1979). An interval's level is the one at which Holm's procedure came to a decision about it,
    so that interval and corrected p value always say the same: the null value is outside just when the corrected p is at most 5%.

    Args:
        estimates: each with its null value.

    Returns:
        In the same order; None for an estimate without an interval, which is not counted as tested.
    """
    p_values = [estimate.p(null) for estimate, null in estimates]
    given = [p for p in p_values if p is not None]
    corrected = correct(given)
    called = sum(p <= ALPHA for p in corrected)
    rank = {index: min(place, called) for place, index in enumerate(np.argsort(given, kind="stable").tolist())}
    found: list[Decision | None] = []
    tested = 0
    for (estimate, _), p in zip(estimates, p_values, strict=True):
        interval = estimate.interval(ALPHA / (len(given) - rank[tested])) if p is not None else None
        if p is None or interval is None:
            found.append(None)
            continue
        found.append(Decision(p, corrected[tested], *interval))
        tested += 1
    return found


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


def detectable_difference(
    *,
    tasks: int,
    instances: int,
    seeds: int,
    instance_sd: float = ASSUMED_INSTANCE_SD,
    seed_sd: float = ASSUMED_SEED_SD,
    power: float = 0.8,
    alpha: float = ALPHA,
) -> float:
    """Return the smallest difference between two methods that a study finds with the given power, by itself (uncorrected).

    Args:
        tasks: how many; the mean over them is compared.
        instances: test instances a task.
        seeds: runs of each method; with one run the seeds' spread is taken as given.
        instance_sd: standard deviation over instances of the paired difference, apart from what differs from run to run.
        seed_sd: standard deviation of a method's mean over tasks from run to run.
        power: share of such studies that find it.
        alpha: of the test.
    """
    from scipy.special import ndtr

    line, fixed = seed_sd**2 / seeds, instance_sd**2 / (tasks * instances)
    df = seeds - 1
    if df and line:
        # The width of the interval is itself a matter of chance: average over studies that might come out.
        drawn = line * np.random.default_rng(0).chisquare(df, size=(2, _IMAGINED_STUDIES)) / df
        welch = drawn.sum(axis=0) ** 2 / np.maximum((drawn**2 / df).sum(axis=0), 1e-300)
        half = half_width(alpha, drawn.sum(axis=0), welch, fixed)
    else:
        half = half_width(alpha, [2 * line], math.inf, fixed)
    deviation = math.sqrt(2 * line + fixed)
    if not deviation:
        return 0.0
    missing = lambda difference: power - float(ndtr((difference - half) / deviation).mean())  # noqa: E731
    return _root(missing, 0.0, float(half.max()) + 10 * deviation)
