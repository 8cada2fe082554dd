"""How long work tells of its progress: one protocol for everything that takes minutes, and one implementation that is silent."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Is told how work proceeds; it cannot influence it."""

    def note(self, text: str) -> None:
        """Something the user should read."""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """A phase (``train``, ``decode test``) of ``total`` units begins, ``done`` of which were done before."""

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
