"""Which cells are measured: a centre, and one factor varied at a time around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

Factors = Mapping[str, Sequence[Any]]
"""The levels of each factor; the first is that of the centre."""

TRAINING: Factors = {"demonstrations": (2, 0, 4), "batch": (8, 4, 16), "rows": ("short", "long")}
DECODING: Factors = {"demonstrations": (2, 0, 4), "batch": (32, 8)}

STUDY: dict[str, Any] = {
    "methods": ("lora", "full"),
    "demonstrations": 2,
    "n_train": 24,
    "max_test": 12,
    "batch": 8,
    "epochs": 1,
    "new": 32,
}
"""The whole small study: one run per method and task."""

JOINED = 3
"""Instances of a task that a long row is made of, one behind the other."""


@dataclass(frozen=True)
class Cell:
    """What the engines do at once with the same rows.

    Attributes:
        demonstrations: in the prompt.
        batch: rows in an optimiser step, or decoded together.
        rows: ``short``: a task's instances as they are; ``long``: of several instances each.
    """

    demonstrations: int = 2
    batch: int = 8
    rows: str = "short"

    @property
    def label(self) -> str:
        return f"{self.demonstrations} demonstrations, batch {self.batch}, {self.rows} rows"


Extent = Literal["centre", "around", "all"]
"""The centre alone; with one factor varied at a time around it; every combination of levels."""


def cells(factors: Factors, extent: Extent = "around") -> list[Cell]:
    """Return the cells, the centre first."""
    centre = {name: levels[0] for name, levels in factors.items()}
    if extent == "centre":
        return [Cell(**centre)]
    if extent == "all":
        return [Cell(**dict(zip(factors, levels, strict=True))) for levels in product(*factors.values())]
    varied = [{**centre, name: level} for name, levels in factors.items() for level in levels[1:]]
    return [Cell(**levels) for levels in (centre, *varied)]
