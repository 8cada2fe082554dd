"""How a run tells of the steps of its training."""

from __future__ import annotations

from xeric.progress import Progress

__all__ = ["TrainingProgress"]


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

    def interrupted(self) -> None:
        """Say what happens now."""
        self._progress.note("interrupted: saving after this step; a second time stops at once")
