"""How work tells of its progress: a protocol for runs, one for studies on top of it, and one implementation that is silent."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent", "StudyProgress"]


class Progress(Protocol):
    """Is told how work proceeds; it cannot influence it."""

    def note(self, text: str) -> None:
        """Something the user should read."""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """A phase (``train``, ``decode test``) of ``total`` units begins, ``done`` of which were done before."""

    def advance(self, units: int, loss: float | None = None) -> None:
        """Units of the present phase are done."""


class StudyProgress(Progress, Protocol):
    """Is told how a study proceeds, and how each of its runs does."""

    def begin(self, what: str) -> None:
        """A run begins: the next phases belong to it."""

    def overall(self, done: int, total: int, seconds_left: float | None) -> None:
        """So many runs of all are done; the rest will take about so long, where that can be said yet."""


class Silent:
    """Tells nobody of a run or a study."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Say nothing."""

    def advance(self, units: int, loss: float | None = None) -> None:
        """Say nothing."""

    def begin(self, what: str) -> None:
        """Say nothing."""

    def overall(self, done: int, total: int, seconds_left: float | None) -> None:
        """Say nothing."""
