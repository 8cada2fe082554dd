"""What came of a training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from xeric.training.budget import TimeBudget

__all__ = ["TrainResult"]


@dataclass
class TrainResult:
    """How a training went.

    Attributes:
        status: ``ok`` or ``diverged``.
        planned_steps: optimiser steps planned.
        done_steps: optimiser steps taken (fewer after early stopping or divergence).
        best_step: the step whose weights were kept, or None where the last ones were.
        task_weights: lambda of each task after the last step.
        seconds: in steps, and in dev evaluations, over all processes that took part.
        time: what of the planned steps fits into the time given; None where none is.
        tokens: ``target`` tokens that carried loss and ``row`` tokens of instances (prefixes not counted), padding left out.
    """

    status: Literal["ok", "diverged"] = "ok"
    planned_steps: int = 0
    done_steps: int = 0
    best_step: int | None = None
    task_weights: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "dev": 0.0})
    time: TimeBudget | None = None
    tokens: dict[str, int] = field(default_factory=lambda: {"target": 0, "row": 0})
