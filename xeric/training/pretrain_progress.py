"""What a pretraining tells while it runs, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

__all__ = ["PretrainObserver", "PretrainResult", "Progress"]


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        step: optimiser steps taken, over all sessions.
        losses: mean nats a target token of the last step, ``text`` and ``rows``.
        characters: read so far.
        total: that will have been read at the end.
        tokens_per_second: of this session.
        seconds_left: until the end, at this rate.
        decaying: whether the learning rate falls.
    """

    step: int
    losses: dict[str, float]
    characters: int
    total: int
    tokens_per_second: float
    seconds_left: float
    decaying: bool


class PretrainObserver(Protocol):
    """Watches a training; it cannot influence it."""

    def step(self, progress: Progress) -> None:
        """A step was taken."""

    def measured(self, step: int, values: Mapping[str, Any]) -> None:
        """Held-out text was measured."""


@dataclass(frozen=True)
class PretrainResult:
    """How a training went.

    Attributes:
        folder: the base.
        finished: whether the schedule was completed.
        parameters: of the model.
        steps: optimiser steps taken, over all sessions.
        characters: of text read, rows included.
        tokens: read, padding included.
        seconds: of training, over all sessions.
        best_step: the step whose weights were written; None where none were measured yet.
        measures: of those weights on held-out text.
    """

    folder: Path
    finished: bool
    parameters: int
    steps: int
    characters: int
    tokens: int
    seconds: float
    best_step: int | None
    measures: dict[str, Any]
