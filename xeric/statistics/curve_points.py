"""The points that a learning curve goes through: scores on nested subsets of one training set, and how they vary together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xeric.errors import UserError
from xeric.statistics.arrays import FloatArray
from xeric.statistics.resampling import DEFAULT_SEED, Sample, point, replicates

__all__ = ["CurvePoints"]


@dataclass(frozen=True, eq=False)
class CurvePoints:
    """Scores of one method after training on n examples, for several n; higher is better.

    Every subset of the training set lies in the next larger one, and all scores are on the same test instances.

    Attributes:
        sizes: training examples, rising.
        scores: of each run, by size; one run or several, of other seeds.
        instances: covariance over test instances of the mean scores over runs, ``[sizes, sizes]``.
        rows: test instances that the covariance was estimated from; None where it was given.

    Raises:
        UserError: sizes do not rise, or something is no finite number or does not fit together.
    """

    sizes: tuple[int, ...]
    scores: tuple[tuple[float, ...], ...]
    instances: FloatArray
    rows: int | None = None

    def __post_init__(self) -> None:
        if not self.sizes or self.sizes[0] < 1 or any(b <= a for a, b in zip(self.sizes, self.sizes[1:], strict=False)):
            raise UserError(
                f"the sizes of a learning curve must rise from 1 on, got {list(self.sizes)}", hint="give each size once, in order"
            )
        if len(self.scores) != len(self.sizes) or not all(self.scores):
            raise UserError("a size of the learning curve has no score", hint="give at least one score for each size")
        if self.instances.shape != (len(self.sizes), len(self.sizes)):
            raise UserError(f"the covariance of {len(self.sizes)} sizes has the shape {self.instances.shape}")
        if not all(np.isfinite(runs).all() for runs in self.scores) or not np.isfinite(self.instances).all():
            raise UserError("a score or a standard error of the learning curve is not a finite number")
        eigenvalues = np.linalg.eigvalsh(self.instances)
        if not np.allclose(self.instances, self.instances.T) or eigenvalues.min() < -1e-6 * max(eigenvalues.max(), 1.0):
            raise UserError(
                "what was given as covariance over test instances is none", hint="it is symmetric, without negative variances"
            )

    @property
    def means(self) -> FloatArray:
        """Mean scores over runs, ``[sizes]``."""
        return np.array([np.mean(runs) for runs in self.scores])

    @property
    def runs(self) -> FloatArray:
        """How many runs each size has, ``[sizes]``."""
        return np.array([len(runs) for runs in self.scores], dtype=np.float64)

    @staticmethod
    def of_samples(
        runs: Mapping[int, Sequence[Sequence[Sample]]], *, resamples: int = 1000, seed: int = DEFAULT_SEED
    ) -> CurvePoints:
        """Return points whose covariance is that of a bootstrap over test instances, the same draw for all sizes and runs.

        Args:
            runs: by size, the samples of each run, of one metric (``Measured.only([metric]).samples()``).
            resamples: of the bootstrap.
            seed: of the bootstrap.

        Raises:
            UserError: runs were not scored on the same test instances by one metric.
        """
        ordered = dict(sorted(runs.items()))
        every = [samples for of_size in ordered.values() for samples in of_size]
        if not every:
            raise UserError("a learning curve without any run")
        if len({tuple((sample.key, len(sample.rows)) for sample in samples) for samples in every}) > 1:
            raise UserError("the runs of a learning curve were not scored on the same test instances")
        scores = tuple(tuple(_single(point(samples)) for samples in of_size) for of_size in ordered.values())
        covariance = np.zeros((len(ordered), len(ordered)))
        total = sum(float(np.squeeze(sample.weight)) for sample in every[0])
        for number, sample in enumerate(every[0]):
            drawn = [
                np.mean([_drawn(samples[number], resamples, seed) for samples in of_size], axis=0) for of_size in ordered.values()
            ]
            rows = len(sample.rows)
            # A bootstrap variance has n - 1 of n parts; n - 3 for n - 1: the variance of t, as it is known from n rows only.
            unsure = rows / max(rows - 3, 1)
            covariance += np.atleast_2d(np.cov(drawn)) * (float(np.squeeze(sample.weight)) / total) ** 2 * unsure
        return CurvePoints(tuple(ordered), scores, covariance, sum(len(sample.rows) for sample in every[0]))

    @staticmethod
    def of_scores(scores: Mapping[int, float | Sequence[float]], standard_errors: Mapping[int, float]) -> CurvePoints:
        """Return points from scores alone, their errors over test instances taken as independent of each other.

        On the same test instances they are not: a gain is then known better than these points can tell, and its interval is wider
        than it need be.

        Args:
            scores: by size, one or several runs.
            standard_errors: by size, over test instances, of the mean over runs.

        Raises:
            UserError: a size has a score and no error, or the numbers do not make a curve; see :class:`CurvePoints`.
        """
        sizes = tuple(sorted(scores))
        if set(standard_errors) != set(sizes):
            raise UserError("each size of a learning curve needs one score and one standard error")
        errors = np.array([standard_errors[size] for size in sizes], dtype=np.float64)
        if (errors < 0).any():
            raise UserError("a standard error of the learning curve is negative")
        runs = (scores[size] for size in sizes)
        return CurvePoints(
            sizes,
            tuple(tuple(map(float, np.atleast_1d(values))) for values in runs),
            np.diag(errors**2),
        )


def _single(score: FloatArray) -> float:
    if score.size != 1:
        raise UserError(f"a learning curve is of one metric, and these samples have {score.size}", hint="choose one before")
    return float(score.reshape(()))


def _drawn(sample: Sample, resamples: int, seed: int) -> FloatArray:
    return replicates([replace(sample, weight=1.0)], resamples=resamples, seed=seed).reshape(resamples)
