"""How many more examples would help: scores on nested subsets of the training set, continued to twice and four times its size.

A forecast's interval is meant to hold what a new training on the larger set reaches in :data:`COVERAGE` of cases; how often it
did on real curves whose continuation was known stands in docs/concepts/learning-curves.md, with the command that counts it. Where
the points do not support a forecast there is a reason in its place. What is modelled: :mod:`xeric.statistics.curve_model`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from xeric import formatting
from xeric.errors import UserError
from xeric.statistics.arrays import FloatArray
from xeric.statistics.curve_model import CurveModel, Observed
from xeric.statistics.curve_points import CurvePoints
from xeric.statistics.power_law import PowerLaw, fit_power_law
from xeric.statistics.resampling import DEFAULT_SEED

__all__ = ["COVERAGE", "FARTHEST", "CurveInterval", "Forecast", "LearningCurve"]

COVERAGE = 0.8
"""Share of forecasts whose interval is meant to hold what is then reached."""

FARTHEST = 4
"""How many times the largest size a forecast may reach."""

LEAST_SIZES = 3
LEAST_SPAN = 4
"""The largest size over the smallest."""

LEAST_ROWS = 20
"""Test instances."""

_SURE_TO_RISE = 0.8
_LEAST_FIT = 0.01
_USEFUL_WIDTH = 5.0
_USEFUL_WIDTH_OF_A_GAIN = 15.0
_DRAWS = 4000


class CurveInterval(NamedTuple):
    """The middle of what may come out, and the ends between which it lies in :data:`COVERAGE` of cases."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """What training on so many examples would bring.

    Attributes:
        size: training examples.
        more: examples beyond those at hand.
        score: that new runs would reach, as many as the largest size has.
        gain: over the runs at hand on the same test instances; both are None where there are too few points for any interval.
        refusal: why the points do not support this forecast, as a clause; empty where they do. Where it is not empty, the numbers
            are not to be shown as an estimate.
        unlikely: the gain that would be a surprise; known also where a forecast is refused because nothing rises yet.
    """

    size: int
    more: int
    score: CurveInterval | None
    gain: CurveInterval | None
    refusal: str = ""
    unlikely: float | None = None

    @property
    def sentence(self) -> str:
        """The forecast as a sentence for its user."""
        if self.refusal or self.gain is None:
            most = (
                f" A gain of more than {formatting.number(self.unlikely)} points is unlikely."
                if self.unlikely is not None
                else ""
            )
            return f"What {self.more} more examples would bring cannot be told: {self.refusal}.{most}"
        low, high = formatting.number(self.gain.low), formatting.number(self.gain.high)
        return f"{self.more} more examples would bring {low} to {high} points ({COVERAGE:.0%} interval)."


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """A curve through points, and what lies beyond them.

    Attributes:
        points: what was measured.
        upper: the highest score that there can be; the lowest is 0.
        seed: of the random numbers that intervals are drawn by: the same points give the same intervals.

    Raises:
        UserError: a score is outside the scale.
    """

    points: CurvePoints
    upper: float = 100.0
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if not (math.isfinite(self.upper) and self.upper > 0):
            raise UserError(
                f"the scale of a learning curve cannot end at {self.upper}", hint="it goes from 0 to upper, such as 100"
            )
        if any(not 0 <= score <= self.upper for runs in self.points.scores for score in runs):
            raise UserError(f"a score of the learning curve is not between 0 and {self.upper:g}")

    @cached_property
    def power_law(self) -> PowerLaw | None:
        """The power law that fits best; None for fewer than three sizes. Forecasts weigh other forms too."""
        if len(self.points.sizes) < LEAST_SIZES:
            return None
        assert self._model is not None
        covariance = self._model.typical_covariance() * (self.upper / 100) ** 2
        return fit_power_law(self.points.sizes, self.points.means, covariance, upper=self.upper)

    @cached_property
    def refusal(self) -> str:
        """Why no forecast at all can be made, as a clause; empty where some can."""
        sizes, rows = self.points.sizes, self.points.rows
        if len(sizes) < LEAST_SIZES:
            return f"a learning curve needs {LEAST_SIZES} sizes of the training set, and there {_are(len(sizes))}"
        if sizes[-1] < LEAST_SPAN * sizes[0]:
            return f"a learning curve needs sizes that span a factor of {LEAST_SPAN}, and these go from {sizes[0]} to {sizes[-1]}"
        if rows is not None and rows < LEAST_ROWS:
            return f"{rows} test instances are too few to tell a rise from noise (at least {LEAST_ROWS})"
        assert self._model is not None
        if self._model.fit_p_value() < _LEAST_FIT:
            return "the scores jump by more than chance explains, so something else than the number of examples moves them"
        return self._not_rising

    def forecast(self, size: int) -> Forecast:
        """Return what training on ``size`` examples would bring.

        Args:
            size: of the training set, above the largest that was tried.

        Raises:
            UserError: it is not.
        """
        largest = self.points.sizes[-1]
        if size <= largest:
            raise UserError(f"a forecast is of more than the {largest} examples at hand, not of {size}")
        if self._model is None:
            return Forecast(size, size - largest, None, None, self.refusal)
        score, gain = self._drawn(size)
        refusal = self.refusal or self._too_far(size) or self._too_wide(gain)
        flat = bool(refusal) and refusal == self._not_rising and not self._too_far(size) and not self._too_wide(gain)
        return Forecast(size, size - largest, score, gain, refusal, max(gain.high, 0.0) if flat else None)

    def score(self, size: int) -> CurveInterval | None:
        """Return the score that new runs on ``size`` examples would reach; None for fewer than three sizes.

        Args:
            size: of the training set, from the smallest that was tried on; it may lie between them.

        Raises:
            UserError: it is below.
        """
        if size < self.points.sizes[0]:
            raise UserError(f"{size} examples are below the learning curve, which begins at {self.points.sizes[0]}")
        return None if self._model is None else self._drawn(size)[0]

    def _drawn(self, size: int) -> tuple[CurveInterval, CurveInterval]:
        """Return score and gain at a size."""
        assert self._model is not None
        scale, at_hand = self.upper / 100, float(self.points.means[-1])
        draws = self._model.draw([size], draws=_DRAWS, seed=self.seed)
        gain = np.clip(scale * draws.gains[:, 0], -at_hand, self.upper - at_hand)
        return _interval(np.clip(scale * draws.scores[:, 0], 0.0, self.upper)), _interval(gain)

    @cached_property
    def _not_rising(self) -> str:
        if self._model is None or self._model.rising >= _SURE_TO_RISE:
            return ""
        sizes, means = self.points.sizes, self.points.means
        rise = formatting.signed(float(means[-1] - means[0]))
        return f"the scores do not rise by more than their noise ({rise} points from {sizes[0]} to {sizes[-1]} examples)"

    def _too_far(self, size: int) -> str:
        largest = self.points.sizes[-1]
        return f"{size} is more than {FARTHEST} times the {largest} examples at hand" if size > FARTHEST * largest else ""

    def _too_wide(self, gain: CurveInterval) -> str:
        width = 100 / self.upper * (gain.high - gain.low)
        if width <= (_USEFUL_WIDTH if gain.low <= 0 else _USEFUL_WIDTH_OF_A_GAIN):
            return ""
        low, high = formatting.number(gain.low), formatting.number(gain.high)
        return f"anything from {low} to {high} points is possible"

    @cached_property
    def _model(self) -> CurveModel | None:
        points = self.points
        if len(points.sizes) < LEAST_SIZES:
            return None
        scale = 100 / self.upper
        deviations = [scale**2 * float(np.var(runs) * len(runs)) for runs in points.scores]
        return CurveModel(
            Observed(
                np.array(points.sizes, dtype=np.float64),
                scale * points.means,
                points.runs,
                scale**2 * points.instances,
                np.array(deviations),
            )
        )


def _interval(draws: FloatArray) -> CurveInterval:
    low, value, high = np.quantile(draws, [(1 - COVERAGE) / 2, 0.5, (1 + COVERAGE) / 2]).tolist()
    return CurveInterval(value, low, high)


def _are(count: int) -> str:
    return f"is {count}" if count == 1 else f"are {count}"
