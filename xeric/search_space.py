"""What tuning tries: ranges and lists of values, by the dotted path of a setting.

A method states its space in its own file, and a study may state another. Methods load torch and studies do not, so what both use
stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from xeric.config import Config

__all__ = ["Range", "Space", "rates_around"]


class Range(Config):
    """A range of a setting.

    Attributes:
        low: its lower end.
        high: its upper end.
        log: whether draws are spread over its logarithm.
    """

    low: float = Field(ge=-1e30, le=1e30)
    high: float = Field(ge=-1e30, le=1e30)
    log: bool = True

    def at(self, share: float) -> float:
        """Return the value at a share (0 to 1) of the range, rounded to two digits, as one would publish it."""
        value = self.low * (self.high / self.low) ** share if self.log else self.low + (self.high - self.low) * share
        return float(f"{value:.2g}")


Space = Mapping[str, Range | tuple[Any, ...]]
"""A range, or the values to choose from, by the dotted path of the setting (``train.lr``, ``method.rank``)."""

_FACTOR = 10.0


def rates_around(default_lr: float) -> Space:
    """Return learning rates within a factor of ten of a method's default: the space of a method that states none."""
    return {"train.lr": Range(low=default_lr / _FACTOR, high=default_lr * _FACTOR)}
