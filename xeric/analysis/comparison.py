"""Arms of a study on the same test instances: their means and differences, with variances.

Every run of every arm is resampled with the same draws of test instances, within each task and language. The variance under these
draws that all runs of an arm share is due to the instances; the rest belongs to the spread between runs, which is estimated from
the runs themselves. The tasks are fixed: nothing here generalises to other tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from xeric.languages import language_or_unknown
from xeric.metrics.comparing import check_pairs
from xeric.metrics.measuring import Measured, grouped_alike
from xeric.statistics.arrays import FloatArray
from xeric.statistics.decisions import ASSUMED_SEED_SD
from xeric.statistics.estimates import Estimate, VarianceComponent, added, of_instances
from xeric.statistics.resampling import DEFAULT_SEED, Sample, replicates

__all__ = ["DRAWS", "Arm", "Arms", "Stratum", "resample_arms"]

DRAWS = 1000
"""Bootstrap draws of test instances."""


@dataclass(frozen=True)
class Stratum:
    """Instances that are resampled within: those of one task and language.

    Attributes:
        task: name of the task.
        language: English name.
        share: of the task's instances.
        instances: how many.
        units: how many are drawn: instances, those of one group together.
    """

    task: str
    language: str
    share: float
    instances: int
    units: int


@dataclass(frozen=True, eq=False)
class Arm:
    """The scores of one arm.

    Attributes:
        seeds: of its runs.
        scores: ``[runs, strata, metrics]`` on the test instances.
        draws: ``[draws, runs, strata, metrics]`` on instances drawn with replacement, the same ones for every run of every arm.
        random: whether the outputs depend on the seed; they do not where nothing is trained and decoding does not sample.
    """

    seeds: tuple[int, ...]
    scores: FloatArray
    draws: FloatArray
    random: bool


@dataclass(frozen=True, eq=False)
class Arms:
    """Arms that were resampled together.

    Attributes:
        metrics: names of the scores, in their order.
        strata: tasks and languages.
        arms: by id.
        lower: the metrics that are better low.
        silent: metric and index of a stratum where the score is undefined (:attr:`Statistics.defined`): it is left out of means.
        notes: notes for readers of the scores, by metric and task.
    """

    metrics: tuple[str, ...]
    strata: tuple[Stratum, ...]
    arms: Mapping[str, Arm]
    lower: frozenset[str] = frozenset()
    silent: frozenset[tuple[str, int]] = frozenset()
    notes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def instances(self) -> int:
        """How many test instances each run was scored on."""
        return sum(stratum.instances for stratum in self.strata)

    def weights(self, *, task: str | None = None, language: str | None = None) -> FloatArray:
        """Return the weight of each stratum in a mean over all tasks, over one, or over those of a language; they sum to 1."""
        chosen = [task in (None, s.task) and language in (None, s.language) for s in self.strata]
        weights = np.array([s.share if is_in else 0.0 for s, is_in in zip(self.strata, chosen, strict=True)])
        return np.asarray(weights / weights.sum())

    def mean(self, arm: str, metrics: Sequence[str], weights: FloatArray | None = None, *, given_runs: bool = False) -> Estimate:
        """Return an arm's mean over runs, strata and metrics.

        Args:
            arm: its id.
            metrics: names; their plain mean is taken.
            weights: of the strata; None weighs every task alike.
            given_runs: treat the runs as fixed, without variance between seeds.
        """
        return self._estimate({arm: 1.0}, metrics, weights, given_runs, assumed=None)

    def difference(
        self, a: str, b: str, metrics: Sequence[str], weights: FloatArray | None = None, *, given_runs: bool = False
    ) -> Estimate:
        """Return by how much one arm's mean is better than another's, instances paired; see :meth:`mean`.

        On metrics that are better high this is the first mean minus the second, on those that are better low the second minus the
        first; metrics of both kinds cannot be mixed.

        Runs of two arms are independent even where they share a seed, so their spreads add. The spread
        of a random arm with one run cannot be estimated: :data:`ASSUMED_SEED_SD` is assumed.
        """
        sign = self.sign(metrics)
        return self._estimate({a: sign, b: -sign}, metrics, weights, given_runs, assumed=ASSUMED_SEED_SD)

    def sign(self, metrics: Sequence[str]) -> float:
        """Return 1 for metrics that are better high, -1 for metrics that are better low.

        Raises:
            ValueError: there are metrics of both kinds.
        """
        lower = {name in self.lower for name in metrics}
        if len(lower) > 1:
            raise ValueError(f"{', '.join(metrics)}: some are better high and some are better low")
        return -1.0 if lower == {True} else 1.0

    def run_means(self, arm: str, metrics: Sequence[str], weights: FloatArray | None = None) -> FloatArray:
        """Return the mean over strata and metrics of each run, ``[runs]``."""
        means = self._contributions(self.arms[arm].scores, metrics, self.weights() if weights is None else weights)
        return np.asarray(means.sum(axis=-1))

    def drawn_means(self, arm: str, metrics: Sequence[str], weights: FloatArray | None = None) -> FloatArray:
        """Return the mean over strata and metrics of each run on every draw of test instances, ``[draws, runs]``."""
        parts = self._contributions(self.arms[arm].draws, metrics, self.weights() if weights is None else weights)
        return np.asarray(parts.sum(axis=-1))

    def of_runs(self, arm: str, metrics: Sequence[str]) -> VarianceComponent:
        """Return the variance of an arm's mean that is due to its runs; of one run the one that is assumed."""
        return self._runs(arm, metrics, self.weights(), ASSUMED_SEED_SD)

    def says(self, metric: str, weights: FloatArray | None = None) -> bool:
        """Return whether a metric is defined on any stratum that has weight."""
        return metric in self.metrics and bool(self._weights(metric, self.weights() if weights is None else weights).any())

    def _weights(self, metric: str, weights: FloatArray) -> FloatArray:
        """Return the weights of the strata that a metric is defined on, rescaled within each task and to a sum of 1."""
        kept: FloatArray = np.array([0.0 if (metric, index) in self.silent else w for index, w in enumerate(weights)])
        if not kept.any() or np.array_equal(kept, weights):
            return kept
        for task in {stratum.task for stratum in self.strata}:
            in_task = np.array([stratum.task == task for stratum in self.strata])
            if kept[in_task].any():
                kept[in_task] *= weights[in_task].sum() / kept[in_task].sum()
        return np.asarray(kept / kept.sum())

    def _estimate(
        self,
        signs: Mapping[str, float],
        metrics: Sequence[str],
        weights: FloatArray | None,
        given_runs: bool,
        assumed: float | None,
    ) -> Estimate:
        weights = self.weights() if weights is None else weights
        value = sum(sign * self.run_means(name, metrics, weights).mean() for name, sign in signs.items())
        instances = self._instances(signs, metrics, weights, given_runs)
        rows = None
        if len(signs) > 1:  # a difference
            rows = sum(stratum.units for stratum in self._used(metrics, weights) if stratum.units > 1)
        if given_runs:
            return Estimate(float(value), VarianceComponent(), instances, rows)
        runs = [self._runs(name, metrics, weights, assumed) for name in signs]
        return Estimate(float(value), added(runs), instances, rows)

    def _used(self, metrics: Sequence[str], weights: FloatArray) -> list[Stratum]:
        """Return the strata that have weight in the mean of any of the metrics."""
        by_metric = [self._weights(name, weights) for name in metrics]
        return [s for index, s in enumerate(self.strata) if any(metric_weights[index] for metric_weights in by_metric)]

    def _runs(self, name: str, metrics: Sequence[str], weights: FloatArray, assumed: float | None) -> VarianceComponent:
        """Return the variance of an arm's mean over its runs that is due to the runs."""
        arm = self.arms[name]
        if not arm.random:
            return VarianceComponent()
        if len(arm.seeds) == 1:
            return VarianceComponent((assumed or 0.0) ** 2)
        means = self.run_means(name, metrics, weights)
        return VarianceComponent(float(means.var(ddof=1)) / len(means), len(means) - 1)

    def _instances(
        self, signs: Mapping[str, float], metrics: Sequence[str], weights: FloatArray, given_runs: bool
    ) -> VarianceComponent | None:
        """Return the variance of the mean or difference that is due to the test instances, summed over strata."""
        used = self._used(metrics, weights)
        total = np.zeros((len(self.arms[next(iter(signs))].draws), len(self.strata)))
        of_single_runs = np.zeros(len(self.strata))
        for name, sign in signs.items():
            arm = self.arms[name]
            drawn = self._contributions(arm.draws, metrics, weights)
            total += sign * drawn.mean(axis=1)
            if arm.random and len(arm.seeds) > 1 and not given_runs:
                of_single_runs += _own_variance(drawn)
        is_used = [s in used for s in self.strata]
        variances = (total.var(axis=0, ddof=1) - of_single_runs)[is_used]
        return of_instances(variances, [s.units for s in used], [s.task for s in used])

    def _contributions(self, scores: FloatArray, metrics: Sequence[str], weights: FloatArray) -> FloatArray:
        """Return the contribution of each stratum to the mean, ``[..., strata, metrics]`` -> ``[..., strata]``."""
        chosen = scores[..., [self.metrics.index(name) for name in metrics]]
        return np.asarray((chosen * np.stack([self._weights(name, weights) for name in metrics], axis=-1)).mean(axis=-1))


def _own_variance(drawn: FloatArray) -> FloatArray:
    """Return the variance of a mean over runs that the runs do not share, ``[draws, runs, strata]`` -> ``[strata]``.

    The mean's variance is own / runs + common, where common is the mean covariance of different runs.
    """
    runs = drawn.shape[1]
    of_mean, of_runs = drawn.mean(axis=1).var(axis=0, ddof=1), drawn.var(axis=0, ddof=1).mean(axis=0)
    common = (runs * of_mean - of_runs) / (runs - 1)
    return np.asarray(of_mean - common)


def resample_arms(
    arms: Mapping[str, Mapping[int, Measured]], *, fixed: Collection[str] = (), draws: int = DRAWS, seed: int = DEFAULT_SEED
) -> Arms:
    """Draw test instances for all runs of all arms at once.

    Args:
        arms: by id and seed, at least one run each; every run measured with the same metrics on the same instances.
        fixed: ids of the arms whose outputs do not depend on a seed.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        DataError: two runs do not have the same instances, references or metrics.
        UserError: ``draws`` is below 1 or ``seed`` below 0.
    """
    runs = [(name, number, measured) for name, by_seed in arms.items() for number, measured in sorted(by_seed.items())]
    first = runs[0][2]
    for _, _, measured in runs[1:]:
        check_pairs(first, measured)
    systems = grouped_alike([measured for _, _, measured in runs])
    first = systems[0]
    samples = [system.samples() for system in systems]
    scores, drawn = [], []
    for stratum_samples in zip(*samples, strict=True):
        stratum_sample = _side_by_side(stratum_samples)
        scores.append(stratum_sample.score(stratum_sample.rows.sum(axis=0)))
        drawn.append(replicates([stratum_sample], resamples=draws, seed=seed))
    # [strata, runs, metrics] -> [runs, strata, metrics]; with draws, the same after the first axis
    scored, resampled = np.stack(scores, axis=1), np.stack(drawn, axis=2)
    strata = tuple(Stratum(g.task, language_or_unknown(g.language).name, g.weight, len(g), g.units) for g in first.groups)
    resampled_arms: dict[str, Arm] = {}
    for name, by_seed in arms.items():
        rows = [row for row, (owner, _, _) in enumerate(runs) if owner == name]
        resampled_arms[name] = Arm(tuple(sorted(by_seed)), scored[rows], resampled[:, rows], name not in fixed)
    lower = frozenset(name for name in first.resampled if first.metrics[name].better == "lower")
    silent = {(name, index) for name in first.resampled for index, g in enumerate(first.groups) if not g.statistics[name].defined}
    return Arms(tuple(first.resampled), strata, resampled_arms, lower, frozenset(silent), first.notes)


def _side_by_side(samples: Sequence[Sample]) -> Sample:
    """Join the columns of all runs, so that one draw of rows serves them all; scores are ``[..., runs, metrics]``."""
    width = samples[0].rows.shape[1]
    scores: list[Callable[[FloatArray], FloatArray]] = [sample.score for sample in samples]

    def score(sums: FloatArray) -> FloatArray:
        by_run = [score_run(sums[..., run * width : (run + 1) * width]) for run, score_run in enumerate(scores)]
        return np.stack(by_run, axis=-2)

    return Sample(np.hstack([sample.rows for sample in samples]), score, key=samples[0].key)
