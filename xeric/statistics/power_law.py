"""The power law a - b n^(-c) that fits scores best, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from xeric.statistics.arrays import FloatArray

__all__ = ["EXPONENTS", "PowerLaw", "fit_power_law"]

EXPONENTS = (0.05, 2.0)
"""Range of c. Below it a curve cannot be told from a line in log n; above it, from one that has ended."""


class PowerLaw(NamedTuple):
    """The curve a - b n^(-c), which never falls: b >= 0.

    Attributes:
        a: the score that it approaches, at most the end of the scale.
        b: how far below that it begins, at n = 1.
        c: how fast it approaches, within :data:`EXPONENTS`.
    """

    a: float
    b: float
    c: float

    def __call__(self, sizes: ArrayLike) -> FloatArray:
        """Return the score at so many training examples, of the same shape."""
        return np.asarray(self.a - self.b * np.asarray(sizes, dtype=np.float64) ** -self.c)


def fit_power_law(sizes: Sequence[int], scores: ArrayLike, covariance: FloatArray, *, upper: float = 100.0) -> PowerLaw:
    """Return the power law with the least squared distance from the scores, weighed by their covariance.

    For each exponent the rest is linear and solved exactly, within 0 <= a <= upper and b >= 0, so only c is searched for.

    Args:
        sizes: training examples, three or more.
        scores: ``[sizes]``.
        covariance: of the scores, ``[sizes, sizes]``, positive definite.
        upper: end of the scale.
    """
    from scipy.optimize import lsq_linear, minimize_scalar

    n, y = np.asarray(sizes, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    factor = np.linalg.cholesky(covariance)
    target = np.linalg.solve(factor, y)

    def fitted(log_c: float) -> tuple[float, FloatArray]:
        columns = np.stack([np.ones_like(n), -((n / n[0]) ** -np.exp(log_c))], axis=1)
        solved = lsq_linear(np.linalg.solve(factor, columns), target, bounds=([0.0, 0.0], [upper, np.inf]), method="bvls")
        return float(solved.cost), solved.x

    grid = np.linspace(np.log(EXPONENTS[0]), np.log(EXPONENTS[1]), 25).tolist()
    best = int(np.argmin([fitted(log_c)[0] for log_c in grid]))
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    log_c = float(minimize_scalar(lambda x: fitted(x)[0], bounds=around, method="bounded", options={"xatol": 1e-9}).x)
    log_c = min((log_c, *around), key=lambda x: fitted(x)[0])
    a, b = fitted(log_c)[1].tolist()
    c = float(np.exp(log_c))
    return PowerLaw(a, b * float(n[0]) ** c, c)
