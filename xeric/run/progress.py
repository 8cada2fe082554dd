"""How a run tells of its progress."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent", "TrainingProgress"]


class Progress(Protocol):
    """Is told how a run proceeds; it cannot influence it."""

    def note(self, text: str) -> None:
        """Something the user should read."""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """A phase (``train``, ``decode dev``, ``decode test``) of ``total`` units begins, ``done`` of which were done before."""

    def advance(self, units: int, loss: float | None = None) -> None:
        """Units of the present phase are done."""


class Silent:
    """Tells nobody."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Say nothing."""

    def advance(self, units: int, loss: float | None = None) -> None:
        """Say nothing."""


class TrainingProgress:
    """Hands the training loop's steps on (:class:`xeric.training.loop.Observer`) under the name of a phase."""

    def __init__(self, progress: Progress, phase: str) -> None:
        self._progress, self._phase = progress, phase

    def started(self, total: int, done: int) -> None:
        """Begin the phase."""
        self._progress.start(self._phase, total, done)

    def step(self, loss: float) -> None:
        """Advance it."""
        self._progress.advance(1, loss)
