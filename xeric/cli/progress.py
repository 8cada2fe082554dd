"""Progress on standard error: on a terminal a bar with loss, rate and time left, else plain lines at intervals."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from xeric.formatting import duration

__all__ = ["PlainLines", "TerminalBars", "TerminalProgress"]

_LINE_SECONDS = 30.0
_LINE_SHARES = 10


class _Rate(TextColumn):
    """Units per second over about the last minute."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: object) -> Text:
        speed = getattr(task, "finished_speed", None) or getattr(task, "speed", None)
        return Text(f"{speed:.1f}/s" if speed else "", style="progress.data.speed")


class PlainLines:
    """Reports a phase's progress in lines, for a log file: every 30 seconds, and at every tenth of the phase.

    Args:
        say: prints a line.
        tenths: whether there is a line for every tenth, even within 30 seconds.
        clock: seconds.
    """

    def __init__(self, say: Callable[[str], None], *, tenths: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._tenths, self._clock = say, tenths, clock
        self.start("", 0)

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Begin a phase of ``total`` units, ``done`` of which were done before."""
        self._phase, self._total, self._before, self._done = phase, total, done, done
        self._began = self._told = self._clock()

    def advance(self, units: int, loss: float | None = None) -> None:
        """Count units that are done, and print a line where one is due."""
        now, tenth = self._clock(), self._done * _LINE_SHARES // max(self._total, 1)
        self._done += units
        reached = self._tenths and self._done * _LINE_SHARES // max(self._total, 1) > tenth
        if not reached and now - self._told < _LINE_SECONDS:
            return
        self._told = now
        parts = [f"{self._phase}: {self._done:,} of {self._total:,}"]
        parts += [] if loss is None else [f"loss {loss:.3f}"]
        left = (now - self._began) / max(self._done - self._before, 1) * (self._total - self._done)
        parts.append(f"about {duration(left)} left" if left > 0 else f"in {duration(now - self._began)}")
        self._say(", ".join(parts))


class TerminalBars:
    """Bars on standard error, plain lines where that is no terminal, and remarks above them. Use it as a context.

    Args:
        columns: of every bar, between the spinner and the end of the line.
        tenths: as in :class:`PlainLines`.
    """

    def __init__(self, *columns: ProgressColumn, tenths: bool = True) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
        self._bar = Progress(SpinnerColumn(), *columns, console=self._console, disable=not self._console.is_terminal)
        self._lines = None if self._console.is_terminal else PlainLines(self.note, tenths=tenths)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Print a remark above the bars."""
        self._console.print(Text(text))


class TerminalProgress(TerminalBars):
    """Shows the phases of a run one after the other; see :class:`xeric.progress.Progress`."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description:12}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TextColumn("{task.fields[loss]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._task: TaskID | None = None

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Begin a phase; where standard error is no terminal, one line says so."""
        if self._lines:
            self.note(f"{phase}: {total - done:,} of {total:,} to do" if done else f"{phase}: {total:,}")
            self._lines.start(phase, total, done)
        self._task = self._bar.add_task(phase, total=total, completed=done, loss="")

    def advance(self, units: int, loss: float | None = None) -> None:
        """Move the bar of the current phase."""
        if self._task is not None:
            if loss is not None:
                self._bar.update(self._task, loss=f"loss {loss:.3f}")
            self._bar.advance(self._task, units)
        if self._lines:
            self._lines.advance(units, loss)
