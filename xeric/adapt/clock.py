"""The clock of an adaptation, over all starts of the command; and progress that saves it, or leaves remarks out."""

from __future__ import annotations

import time
from pathlib import Path

from xeric.errors import DataError
from xeric.json_io import read_json, write_json
from xeric.progress import StudyProgress

__all__ = ["Clock", "Quiet", "Ticking"]

_WRITTEN_EVERY = 2.0
"""Seconds between two writings of the file."""


class Clock:
    """Counts the seconds that a command has worked, over all its starts.

    Args:
        path: where the seconds are kept.
        total: seconds that were given.

    Raises:
        DataError: the file is damaged.
    """

    def __init__(self, path: Path, total: float) -> None:
        self._path, self.total = path, total
        self._begun = self._written = time.monotonic()
        self._before = 0.0
        if path.is_file():
            content = read_json(path)
            if not isinstance(content, dict) or not isinstance(content.get("seconds"), int | float):
                raise DataError("is no account of time", where=str(path), hint="delete it")
            self._before = float(content["seconds"])

    @property
    def spent(self) -> float:
        """Seconds that were worked, this start included."""
        return self._before + time.monotonic() - self._begun

    @property
    def left(self) -> float:
        """Seconds left; below 0 where the time was not enough."""
        return self.total - self.spent

    def tick(self, *, now: bool = False) -> None:
        """Write the seconds to the file, at most every two seconds unless ``now``."""
        if now or time.monotonic() - self._written >= _WRITTEN_EVERY:
            self._written = time.monotonic()
            write_json(self._path, {"seconds": round(self.spent, 1)})


class Ticking:
    """Passes progress on, and saves the clock as it does; see :class:`xeric.progress.StudyProgress`."""

    def __init__(self, progress: StudyProgress, clock: Clock) -> None:
        self._progress, self._clock = progress, clock

    def note(self, text: str) -> None:
        """Pass a remark on."""
        self._progress.note(text)

    def begin(self, what: str) -> None:
        """Pass the beginning of a run on."""
        self._progress.begin(what)

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Pass the start of a phase on."""
        self._clock.tick()
        self._progress.start(phase, total, done)

    def advance(self, units: int, loss: float | None = None) -> None:
        """Pass progress on."""
        self._clock.tick()
        self._progress.advance(units, loss)

    def overall(self, done: int, total: int, seconds_left: float | None) -> None:
        """Pass progress on; where no time left is estimated, it is the rest of the time given."""
        self._progress.overall(done, total, max(self._clock.left, 0.0) if seconds_left is None else seconds_left)


class Quiet:
    """Passes progress on, without remarks."""

    def __init__(self, progress: StudyProgress) -> None:
        self._progress = progress

    def note(self, text: str) -> None:
        """Drop a remark."""

    def begin(self, what: str) -> None:
        """Pass the beginning of a run on."""
        self._progress.begin(what)

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Pass the start of a phase on."""
        self._progress.start(phase, total, done)

    def advance(self, units: int, loss: float | None = None) -> None:
        """Pass progress on."""
        self._progress.advance(units, loss)

    def overall(self, done: int, total: int, seconds_left: float | None) -> None:
        """Pass progress on."""
        self._progress.overall(done, total, seconds_left)
