"""Resampling and corrections, from rows of statistics and a formula over their sums.

Nothing here knows what a metric is. A :class:`Sample` is a set of rows that are exchanged among themselves (the test rows of one
task); what is estimated is the weighted mean of the samples' scores. Resampling is *within* each sample: the samples themselves
(the tasks) are given, so an interval speaks of these tasks and of other rows like theirs.

Sources: Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation" (bootstrap); Holm 1979.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from xeric.errors import UserError
from xeric.statistics.arrays import FloatArray

__all__ = [
    "DEFAULT_SEED",
    "LEVEL",
    "Correction",
    "Sample",
    "correct",
    "paired",
    "point",
    "replicates",
    "resampling",
]

DEFAULT_SEED = 12345
"""Of all resampling, unless another is given; any integer from 0 on is a seed."""

LEVEL = 0.95
"""Coverage of intervals."""

Correction = Literal["holm", "bonferroni", "fdr_bh"]

_CHUNK = 1 << 22  # numbers in a matrix of resamples at a time: 32 MB


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows that are exchanged among themselves.

    Attributes:
        rows: ``[n_rows, n_columns]``.
        score: sums of rows to scores, ``[..., n_columns]`` -> ``[...]``, or ``[..., n_scores]`` for several scores at once.
        weight: of this sample's score in the mean over samples; one for each score where several scores are not weighted alike.
        key: names the sample, and seeds it: its resamples are the same whatever other samples stand beside it.
    """

    rows: FloatArray
    score: Callable[[FloatArray], FloatArray]
    weight: float | tuple[float, ...] = 1.0
    key: str = ""

    @staticmethod
    def of_values(values: ArrayLike, *, weight: float = 1.0, key: str = "") -> Sample:
        """Return a sample whose score is the plain mean of ``values``, ``[n_rows]``."""
        column = np.asarray(values, dtype=np.float64)
        return Sample(np.stack([column, np.ones_like(column)], axis=1), _mean_of_sums, weight, key)


def _mean_of_sums(sums: FloatArray) -> FloatArray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def point(samples: Sequence[Sample]) -> FloatArray:
    """Return the weighted mean of the samples' scores on the rows as they are."""
    return _mean(samples, [sample.score(sample.rows.sum(axis=0)) for sample in samples])


def replicates(samples: Sequence[Sample], *, resamples: int = 1000, seed: int = DEFAULT_SEED) -> FloatArray:
    """Return the weighted mean of the samples' scores on rows drawn with replacement, ``[resamples, ...]``.

    Raises:
        UserError: ``resamples`` is below 1 or ``seed`` below 0.
    """
    _check(samples, resamples, seed)
    return _mean(samples, [sample.score(_resampled_sums(sample, resamples, seed)) for sample in samples])


def resampling(resamples: int, seed: int) -> dict[str, object]:
    """Return the part of a signature that an interval depends on."""
    return {"ci": f"{LEVEL:.0%}-t", "bs": resamples, "seed": seed}


def correct(p_values: Sequence[float], method: Correction = "holm") -> list[float]:
    """Return p values corrected for having been tested together, in the same order; see ``statsmodels.stats.multitest``.

    Raises:
        ValueError: a p value is not between 0 and 1.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p values must be between 0 and 1, got {list(p_values)}")
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method=method)[1]]


def _mean(samples: Sequence[Sample], scores: Sequence[FloatArray]) -> FloatArray:
    weights = [np.asarray(sample.weight) for sample in samples]
    return np.asarray(sum(weight * score for weight, score in zip(weights, scores, strict=True)) / sum(weights))


def paired(a: Sequence[Sample], b: Sequence[Sample]) -> list[Sample]:
    """Return samples whose score is that of one system minus that of another, the same rows drawn for both (Koehn 2004).

    Args:
        a: samples of one system.
        b: those of the other: row by row the same items.

    Raises:
        ValueError: the samples are not paired.
    """
    if [(x.rows.shape, x.key, x.weight) for x in a] != [(y.rows.shape, y.key, y.weight) for y in b]:
        raise ValueError("the samples are not paired: number, keys, weights or numbers of rows differ")
    return [_difference(x, y) for x, y in zip(a, b, strict=True)]


def _difference(x: Sample, y: Sample) -> Sample:
    width = x.rows.shape[1]
    return Sample(
        np.hstack([x.rows, y.rows]),
        lambda sums: np.subtract(x.score(sums[..., :width]), y.score(sums[..., width:])),
        x.weight,
        x.key,
    )


def _resampled_sums(sample: Sample, resamples: int, seed: int) -> FloatArray:
    """Return sums over as many rows as there are, drawn with replacement, ``[resamples, n_columns]``."""
    n = len(sample.rows)
    rng = _generator("bootstrap", sample.key, seed)
    return np.concatenate([_counts(rng, size, n) @ sample.rows for size in _chunks(resamples, n)])


def _counts(rng: np.random.Generator, size: int, n: int) -> FloatArray:
    drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _chunks(total: int, n: int) -> Iterator[int]:
    step = max(1, _CHUNK // n)
    for start in range(0, total, step):
        yield min(step, total - start)


def _generator(purpose: str, key: str, seed: int) -> np.random.Generator:
    name = hashlib.sha256(f"{purpose}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(name[:8], "big")])


def _check(samples: Sequence[Sample], times: int, seed: int) -> None:
    if times < 1:
        raise UserError(f"{times} resamples say nothing", hint="give a positive number, such as 1000")
    if seed < 0:
        raise UserError(f"{seed} is no seed", hint="a seed is an integer from 0 on")
    if not samples or any(not len(sample.rows) for sample in samples):
        raise ValueError("there are no rows to resample")
    if len({sample.key for sample in samples}) < len(samples):
        # Equal keys would draw the same row numbers in both, as if the samples moved together.
        raise ValueError("two samples have the same key")
