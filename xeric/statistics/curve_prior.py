"""What is taken for granted about learning curves before one is seen.

A few points cannot show how much runs vary where each size has one run, nor by which formula a curve goes on. The numbers below
stand in for that. They were chosen on real curves; docs/concepts/learning-curves.md says which, and how intervals made with them
did on others. Coverage depends little on them: half or double a scale, one at a time, changed it by 3 points at most.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PRIOR", "CurvePrior"]


class CurvePrior(NamedTuple):
    """Values of the grid, and the prior over them; sigma, tau and rise are in hundredths of the metric's scale.

    What the letters mean stands in :mod:`xeric.statistics.curve_model`.

    Attributes:
        exponents: values of c.
        exponent: mean and standard deviation of a normal prior on c.
        offsets: values of k, in units of the smallest size.
        offset_weights: prior of each.
        sigmas: values of sigma.
        sigma: median, and standard deviation of its logarithm.
        taus: values of tau.
        tau: median where the scale of the rise is 1, and standard deviation of its logarithm; the median grows as the root of
            that scale, as curves that rise more also stray more from their formula.
        rises: scales of half-normal priors on the rise from the smallest to the largest size.
        rise_weights: prior of each.
        growth: how sigma grows towards smaller sizes: as n^-growth.
        shared: share of the variance of run(n) that the choice of examples makes, and not initialisation or order.
        kept: correlation of what the choice of examples makes in two subsets, one twice as large as the other.
    """

    exponents: tuple[float, ...] = (-0.25, 0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.4, 2.0)
    exponent: tuple[float, float] = (0.35, 0.5)
    offsets: tuple[float, ...] = (0.0, 1.0, 4.0)
    offset_weights: tuple[float, ...] = (0.3, 0.3, 0.4)
    sigmas: tuple[float, ...] = (0.15, 0.3, 0.5, 0.9, 1.5, 2.5, 4.5)
    sigma: tuple[float, float] = (0.8, 1.0)
    taus: tuple[float, ...] = (0.05, 0.15, 0.35, 0.7, 1.4, 2.8)
    tau: tuple[float, float] = (0.15, 1.0)
    rises: tuple[float, ...] = (1.0, 4.0, 16.0)
    rise_weights: tuple[float, ...] = (0.2, 0.3, 0.5)
    growth: float = 0.2
    shared: float = 0.5
    kept: float = 0.6


PRIOR = CurvePrior()
