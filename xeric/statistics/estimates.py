"""How far an estimate can be trusted that comes from a few runs and a few hundred test instances.

Two things would be different if a study were made again: the runs (another seed, another model) and the test instances. The
variance of an estimate is the sum of both parts, and they are known in very different measure: from hundreds of instances, but
from two or three runs. So each part gets the t quantile of its own degrees of freedom, and half widths are added in squares,

    h(alpha)^2 = t(alpha, df_runs)^2 var_runs + t(alpha, df_instances)^2 var_instances.

Such an interval covers at least 1 - alpha whatever the two variances are (Banerjee 1961, "On confidence interval for two-means
problem based on separate estimates of variances and tabulated values of t-table", Sankhya A 23). The percentile bootstrap over
three runs does not, nor does one t quantile of Satterthwaite's for the sum: docs/concepts/statistics.md shows how often they err.

The test is the interval turned round: p is the alpha whose interval just reaches the null value, so the two never contradict each
other. Nothing here knows what a metric or a study is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from xeric.statistics.arrays import FloatArray
from xeric.statistics.resampling import LEVEL

__all__ = ["ALPHA", "Estimate", "VarianceComponent", "added", "half_width", "of_instances", "root"]

ALPHA = 1 - LEVEL
"""Rate at which a difference may be called where there is none."""

_LEAST_P = 1e-12


@dataclass(frozen=True)
class VarianceComponent:
    """A part of an estimate's variance, and the degrees of freedom that it is known from; infinitely many where it is given."""

    variance: float = 0.0
    df: float = math.inf


@dataclass(frozen=True)
class Estimate:
    """An estimate with the two parts of its variance.

    Attributes:
        value: the estimate.
        runs: what other runs would change.
        instances: what other test instances would change; None where the instances tell nothing about others (one per task).
        rows: test instances that show a variance. With the sign of every instance's difference a matter of chance, no result of n
            of them is rarer than 2^(1 - n): p is not lower, and there is no interval that misses more rarely, nor any at all
            where that is above 5% (fewer than six). None: no such limit.
    """

    value: float
    runs: VarianceComponent = VarianceComponent()
    instances: VarianceComponent | None = VarianceComponent()
    rows: int | None = None

    @property
    def least_p(self) -> float:
        """The lowest p value that so few test instances can give."""
        return 0.0 if self.rows is None else 2.0 ** (1 - self.rows)

    def half_width(self, alpha: float = ALPHA) -> float | None:
        """Return half the width of the interval that misses at a rate of at most ``alpha``; None where there is none."""
        if self.instances is None:
            return None
        return float(half_width(alpha, self.runs.variance, self.runs.df, self.instances.variance, self.instances.df))

    def interval(self, alpha: float = ALPHA) -> tuple[float, float] | None:
        """Return both ends of the interval that misses at a rate of at most ``alpha``; None where there is none."""
        half = self.half_width(alpha)
        return None if half is None or self.least_p > min(alpha, ALPHA) else (self.value - half, self.value + half)

    def p(self, null: float = 0.0) -> float | None:
        """Return the two-sided p value of "it is ``null``": the ``alpha`` whose interval just reaches ``null``.

        None where there is no interval. Never below 1e-12: no approximation can be trusted so far out.
        """
        if self.instances is None:
            return None
        distance = abs(self.value - null)
        if distance < 1e-9:  # sums in another order differ in the last digits
            return 1.0
        log_p = root(lambda log_p: (self.half_width(math.exp(log_p)) or 0.0) - distance, math.log(_LEAST_P), 0.0)
        return max(math.exp(log_p), self.least_p)


def half_width(
    alpha: float, runs: ArrayLike, runs_df: ArrayLike, instances: ArrayLike, instances_df: ArrayLike = math.inf
) -> FloatArray:
    """Return half the width of an interval from the two variances and their degrees of freedom; see the module's text."""
    from scipy.special import stdtrit

    parts = ((runs, runs_df), (instances, instances_df))
    squares = [stdtrit(np.asarray(df, np.float64), alpha / 2) ** 2 * np.asarray(variance, np.float64) for variance, df in parts]
    return np.asarray(np.sqrt(sum(squares)))


def added(parts: Sequence[VarianceComponent]) -> VarianceComponent:
    """Return the sum of independent parts of one kind, with the degrees of freedom of Welch (1938)."""
    variance = sum(part.variance for part in parts)
    unsure = sum(part.variance**2 / part.df for part in parts)
    return VarianceComponent(variance, variance**2 / unsure if unsure else math.inf)


def of_instances(variances: FloatArray, counts: ArrayLike, tasks: Sequence[str] | None = None) -> VarianceComponent | None:
    """Return what other test instances would change in a sum over strata (tasks and languages), with its degrees of freedom.

    A language that a task has one instance of shows no variance of its own: it is taken to vary like the task's other instances.
    None where a task has no language of two.

    Args:
        variances: of what each stratum contributes to the estimate, over bootstrap draws of its instances, ``[strata]``.
        counts: instances of each stratum, ``[strata]``.
        tasks: of each stratum; a task each where None.
    """
    n = np.asarray(counts, dtype=np.float64)
    of_task = np.arange(len(n)) if tasks is None else np.unique(np.asarray(tasks), return_inverse=True)[1]
    all_rows, seen_rows = (np.bincount(of_task, weights=rows) for rows in (n, np.where(n > 1, n, 0.0)))
    if not seen_rows.all():
        return None
    # A bootstrap variance is that of a mean over n divided by n instead of n - 1.
    each = variances * n / np.maximum(n - 1, 1) * (all_rows / seen_rows)[of_task]
    variance = max(float(each.sum()), 0.0)
    unsure = float((each**2 / np.maximum(n - 1, 1)).sum())
    least = float(n[n > 1].min(initial=np.inf)) - 1
    return VarianceComponent(variance, max(variance**2 / unsure, least)) if unsure and variance else VarianceComponent()


def root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Return where a falling function is 0, or the end that is nearest to it."""
    from scipy.optimize import brentq

    if falling(low) <= 0:
        return low
    return high if falling(high) >= 0 else float(brentq(falling, low, high, xtol=1e-9))
