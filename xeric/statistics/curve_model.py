"""A Bayesian model of scores that rise with the number of training examples.

The score that a run on n examples has on test instances like those at hand is

    score(n) = level + rise * g(n) + deviation(n) + run(n),

where g is -1 at the smallest size, 0 at the largest, and linear in (n + k)^(-c).

* **Shape.** c = 0 is a line in log n, c < 0 bends upwards, a large c levels off; with k > 0 a curve starts late, as where a dozen
  examples change next to nothing. So the power law with free exponent, the line in log n and saturating forms (POW4; MMF4 is near
  c = 1) are one family. Which of them a learner follows a handful of sizes cannot tell. No form serves all learners; power
  laws with an offset are among the best, and some curves are ill-behaved (Viering & Loog 2021, "The Shape of Learning Curves: a
  Review", arXiv:2103.10948; Mohr, Viering, Loog & van Rijn 2022, "LCDB 1.0"). So all of them are kept, each with the weight
  that the scores give it. Errors of large networks follow power laws over orders of magnitude, after a late start (Hestness et
  al. 2017, arXiv:1712.00409; Kaplan et al. 2020, arXiv:2001.08361).
* **run(n)**: what initialisation and order make, anew in every run, and what the choice of examples makes. Its standard deviation
  is sigma at the largest size and more at smaller ones. Subsets are nested, so what the choice of examples makes is alike in
  neighbouring sizes, and no further seed averages it out.
* **deviation(n)**: no curve keeps to its formula; a random walk in log n with standard deviation tau per doubling.
* **Test instances**: the covariance of the scores under resampling of instances, the same draw for all sizes. Mostly it moves all
  sizes alike, so a gain is known better than a score.

Level and rise are integrated out in closed form, everything else over the grid of :mod:`xeric.statistics.curve_prior`. The same
idea with a network in place of the grid: Adriaensen et al. (2023), "LC-PFN", arXiv:2310.20447.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xeric.statistics.arrays import FloatArray
from xeric.statistics.curve_prior import PRIOR, CurvePrior

__all__ = ["CurveModel", "Draws", "Observed"]

_LARGEST_SIGMA = 1.5
"""Of runs that nothing is wrong with, where single runs do not show it; as :data:`xeric.statistics.decisions.TASK_SEED_SD`."""

_HORIZON = 8.0
_LEAST_INSIDE = 0.02
_TYPICAL_TAU = 0.3
_LEAST_RUN_DF = 3


@dataclass(frozen=True, eq=False)
class Observed:
    """What the model needs to know of a curve; scores in hundredths of the metric's scale.

    Attributes:
        sizes: training examples, rising, ``[sizes]``.
        scores: mean over runs, ``[sizes]``.
        runs: how many runs each size has, ``[sizes]``.
        instances: covariance of the scores over test instances, ``[sizes, sizes]``.
        run_squares: sum of squared deviations of single runs from their mean, ``[sizes]``; 0 where a size has one run.
    """

    sizes: FloatArray
    scores: FloatArray
    runs: FloatArray
    instances: FloatArray
    run_squares: FloatArray


class Draws(NamedTuple):
    """What may come out, drawn from the posterior: every other draw on the very test instances at hand, the rest on others.

    Attributes:
        scores: of new runs, ``[draws, targets]``.
        gains: the same minus the score of the runs at hand that had the most examples, on the same instances.
    """

    scores: FloatArray
    gains: FloatArray


class CurveModel:
    """The posterior given a few points of a curve.

    Args:
        observed: three sizes or more.
        prior: of everything that the points do not settle.
    """

    def __init__(self, observed: Observed, prior: CurvePrior = PRIOR) -> None:
        self.observed = observed
        self.prior = prior
        noise = self._noise(observed.sizes, observed.runs)
        self._inverse = np.linalg.inv(noise + observed.instances)  # [noise, sizes, sizes]
        self._ones = self._inverse.sum(axis=-1)  # inverse times (1, .., 1)
        self._level_precision = self._ones.sum(axis=-1)  # [noise]
        self._solve(np.linalg.slogdet(noise + observed.instances)[1])

    @cached_property
    def shapes(self) -> list[tuple[float, float]]:
        """The pairs of c and k, k in examples."""
        return [(c, k * float(self.observed.sizes[0])) for c in self.prior.exponents for k in self.prior.offsets]

    @property
    def rising(self) -> float:
        """The probability that the trend rises and does not fall, both being as likely before anything was seen."""
        from scipy.special import ndtr

        upwards = ndtr(self._rise / self._rise_sd)
        either_way = self._weights / np.maximum(upwards, 1e-300)
        return float((either_way * upwards).sum() / either_way.sum())

    def typical_covariance(self) -> FloatArray:
        """Return the covariance of the scores where the noise is as large as is usual, ``[sizes, sizes]``."""
        return self._covariance(self.prior.sigma[0], _TYPICAL_TAU)

    def fit_p_value(self) -> float:
        """Return how likely the rising curve that fits best would be missed by so much, at worst, by chance.

        Runs are taken to vary as much as :data:`_LARGEST_SIGMA`, or as they were seen to, if that is more.
        """
        from scipy.stats import chi2

        squares, df = self._run_squares()
        seen = math.sqrt(squares / df) if df >= _LEAST_RUN_DF else 0.0
        inverse = np.linalg.inv(self._covariance(max(_LARGEST_SIGMA, seen), _TYPICAL_TAU))
        ones = inverse.sum(axis=0)
        contrast = inverse - np.outer(ones, ones) / ones.sum()
        scores, basis = self.observed.scores, self._basis(self.observed.sizes)
        weighted = basis @ contrast
        explained = np.maximum(weighted @ scores, 0.0) ** 2 / (weighted * basis).sum(axis=1)
        return float(chi2.sf(scores @ contrast @ scores - explained.max(), len(scores) - 2))

    def _covariance(self, sigma: float, tau: float) -> FloatArray:
        run, deviation = self._unit_noise(self.observed.sizes, self.observed.runs)
        return np.asarray(sigma**2 * run + tau**2 * deviation + self.observed.instances)

    def draw(self, targets: ArrayLike, *, draws: int, seed: int) -> Draws:
        """Return what runs on ``targets`` examples may score, as many runs for each as the largest size has.

        Args:
            targets: numbers of examples, ``[targets]``, none of them below the smallest size.
            draws: how many.
            seed: of the random numbers.
        """
        rng = np.random.default_rng(seed)
        sizes = np.concatenate([self.observed.sizes, np.asarray(targets, dtype=np.float64)])
        runs = np.concatenate([self.observed.runs, np.full(len(sizes) - len(self.observed.runs), self.observed.runs[-1])])
        trends, noise = self._trends(sizes, draws, rng)
        covariance, instances = self._noise(sizes, runs), self._instances(sizes)
        scores = np.empty_like(trends)
        here = np.arange(len(trends)) % 2 == 0
        for number in np.unique(noise):
            chosen = noise == number
            own, of_instances = self._around(trends[chosen], int(number), covariance[number], instances, rng)
            scores[chosen] = trends[chosen] + own + np.where(here[chosen, None], of_instances, 0.0)
        count = len(self.observed.sizes)
        return Draws(scores[:, count:], scores[:, count:] - scores[:, count - 1 : count])

    def _trends(self, sizes: FloatArray, draws: int, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.intp]]:
        """Draw level + rise * g(n), ``[draws, sizes]``, and the cell of the noise that each was drawn with.

        Trends that would leave the scale at :data:`_HORIZON` times the largest size are left out: they cannot be right.
        """
        from scipy.special import ndtr, ndtri

        cells = rng.choice(self._weights.size, size=draws, p=self._weights.ravel())
        shape, noise, scale = np.unravel_index(cells, self._weights.shape)
        mean, sd = self._rise[shape, noise, scale], self._rise_sd[shape, noise, scale]
        below = ndtr(-mean / sd)
        rises = np.maximum(mean + sd * ndtri(np.clip(below + (1 - below) * rng.random(draws), 1e-12, 1 - 1e-12)), 0.0)
        horizon = _HORIZON * self.observed.sizes[-1:]
        trends = rises[:, None] * self._basis(np.concatenate([sizes, horizon]))[shape]
        left = self.observed.scores - trends[:, : len(self.observed.sizes)]
        precision = self._level_precision[noise]
        trends += ((left * self._ones[noise]).sum(axis=1) / precision + rng.standard_normal(draws) / np.sqrt(precision))[:, None]
        inside = trends[:, -1] <= 100.0
        if inside.mean() < _LEAST_INSIDE:  # scores at the very end of the scale: nothing else is left to go by
            inside[:] = True
        return trends[inside, :-1], noise[inside]

    def _around(
        self, trends: FloatArray, number: int, noise: FloatArray, instances: FloatArray, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Draw what runs add to trends, and what the instances at hand add, two of ``[draws, sizes + targets]``."""
        count = len(self.observed.sizes)
        # Noise of runs and noise of instances together, given their sum at the known sizes.
        joint = np.block([[noise, np.zeros_like(noise)], [np.zeros_like(noise), instances]])
        to_sum = np.vstack([noise[:, :count], instances[:, :count]]) @ self._inverse[number]
        rest = joint - to_sum @ np.vstack([noise[:, :count], instances[:, :count]]).T
        values, vectors = np.linalg.eigh(rest)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        both = (self.observed.scores - trends[:, :count]) @ to_sum.T + rng.standard_normal((len(trends), len(rest))) @ root.T
        return both[:, : len(noise)], both[:, len(noise) :]

    def _solve(self, log_determinants: FloatArray) -> None:
        """Find weight of each cell of the grid, and mean and standard deviation of the rise there, ``[shape, noise, scale]``."""
        from scipy.special import log_ndtr

        prior, scores = self.prior, self.observed.scores
        basis = self._basis(self.observed.sizes)
        # The level is integrated out under a flat prior: what is left are differences.
        ones = self._ones
        contrast = self._inverse - ones[:, :, None] * ones[:, None, :] / self._level_precision[:, None, None]
        weighted = np.einsum("gi,nij->gnj", basis, contrast)
        squares, products = np.einsum("gnj,gj->gn", weighted, basis)[..., None], (weighted @ scores)[..., None]
        rises = np.array(prior.rises)
        precision = squares + rises**-2
        self._rise, self._rise_sd = products / precision, precision**-0.5
        fit = log_determinants + np.log(self._level_precision) + np.einsum("i,nij,j->n", scores, contrast, scores)
        fit = fit - 2 * self._spread_between_runs()
        evidence = -0.5 * fit[None, :, None] + 0.5 * products**2 / precision - 0.5 * np.log(precision) - np.log(rises)
        log_weights = evidence + log_ndtr(self._rise / self._rise_sd) + self._log_prior()
        weights = np.exp(log_weights - log_weights.max())
        self._weights = weights / weights.sum()

    def _log_prior(self) -> FloatArray:
        prior = self.prior
        exponent = -0.5 * ((np.array(prior.exponents) - prior.exponent[0]) / prior.exponent[1]) ** 2
        shape = (exponent[:, None] + np.log(prior.offset_weights)).ravel()
        sigma = -0.5 * (np.log(np.array(prior.sigmas) / prior.sigma[0]) / prior.sigma[1]) ** 2
        medians = prior.tau[0] * np.sqrt(prior.rises)
        tau = -0.5 * (np.log(np.array(prior.taus)[:, None] / medians) / prior.tau[1]) ** 2  # [taus, scales]
        noise = (sigma[:, None, None] + tau).reshape(-1, len(medians)) + np.log(prior.rise_weights)
        return np.asarray(shape[:, None, None] + noise)

    def _spread_between_runs(self) -> FloatArray:
        """Return the log-likelihood of the spread between runs of one size, ``[noise]``."""
        squares, df = self._run_squares()
        variance = np.repeat(self.prior.sigmas, len(self.prior.taus)) ** 2
        return np.asarray(-0.5 * (df * np.log(variance) + squares / variance))

    def _run_squares(self) -> tuple[float, float]:
        """Return squared deviations of single runs in terms of sigma at the largest size, and their degrees of freedom."""
        growth = self._growth(self.observed.sizes)
        squares = float((self.observed.run_squares / growth**2).sum()) / (1 - self.prior.shared)
        return squares, float((self.observed.runs - 1).sum())

    def _growth(self, sizes: FloatArray) -> FloatArray:
        return np.asarray((self.observed.sizes[-1] / sizes) ** self.prior.growth)

    def _basis(self, sizes: FloatArray) -> FloatArray:
        """Return g of each shape at each size, ``[shapes, sizes]``."""
        first, last = self.observed.sizes[0], self.observed.sizes[-1]

        def curve(c: float, k: float, n: FloatArray) -> FloatArray:
            ratio = np.log((n + k) / (last + k))
            return np.asarray(-np.expm1(-c * ratio) / c if c else ratio)

        return np.stack([curve(c, k, sizes) / -curve(c, k, np.array([first])) for c, k in self.shapes])

    def _noise(self, sizes: FloatArray, runs: FloatArray) -> FloatArray:
        """Return the covariance of run(n) + deviation(n) for each sigma and tau, ``[noise, sizes, sizes]``."""
        variances = np.array([(sigma**2, tau**2) for sigma in self.prior.sigmas for tau in self.prior.taus])
        run, deviation = self._unit_noise(sizes, runs)
        return np.asarray(variances[:, :1, None] * run + variances[:, 1:, None] * deviation)

    def _unit_noise(self, sizes: FloatArray, runs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the covariances of run(n) and deviation(n) for sigma = tau = 1, ``[sizes, sizes]`` each."""
        prior = self.prior
        doublings = np.log2(sizes / self.observed.sizes[0])
        growth = self._growth(sizes)
        of_subset = prior.shared * np.outer(growth, growth) * prior.kept ** np.abs(doublings[:, None] - doublings)
        run = of_subset + (1 - prior.shared) * np.diag(growth**2 / runs)
        return run, np.minimum(doublings[:, None], doublings)

    def _instances(self, sizes: FloatArray) -> FloatArray:
        """Return the covariance over test instances, continued beyond the largest size as it goes on between the last two.

        Between the known sizes it is that of the size below.
        """
        observed, covariance = self.observed.sizes, self.observed.instances
        sd = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
        kept = min(max(float(covariance[-1, -2] / (sd[-1] * sd[-2])), 0.0), 1.0) ** (1 / math.log2(observed[-1] / observed[-2]))
        # Each target is a step of a Markov chain away from the size that it is told by.
        below = np.maximum(np.searchsorted(observed, sizes, side="right") - 1, 0)
        away = kept ** np.log2(np.maximum(sizes / observed[below], 1.0))
        wide = covariance[np.ix_(below, below)] * np.outer(away, away)
        near = np.outer(sd[below], sd[below]) * kept ** np.abs(np.log2(sizes[:, None] / sizes))
        return np.asarray(np.where(below[:, None] == below, near, wide))
