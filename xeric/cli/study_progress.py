"""Progress of a study on the terminal: one bar over all runs with the time left, one for the current run of each worker."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from xeric.cli.progress import PlainLines, TerminalBars
from xeric.formatting import duration
from xeric.progress import Silent

__all__ = ["TerminalStudyProgress"]


class _RunBar(Silent):
    """The bar of the current run of one process.

    Args:
        bars: what it is one of.
        lines: reports instead where there are no bars.
        who: begins its description.
    """

    def __init__(self, bars: Bars, lines: PlainLines | None, who: str = "") -> None:
        self._bars, self._lines, self._who = bars, lines, who
        self._phase: TaskID | None = None
        self._run = ""

    def begin(self, what: str) -> None:
        """Remember which run the next phases belong to."""
        self._run = what

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Begin a phase of the current run; its bar replaces the last one."""
        if self._phase is not None:
            self._bars.remove_task(self._phase)
        name = " ".join(word for word in (self._who, self._run, phase) if word)
        self._phase = self._bars.add_task(name, total=total, completed=done, remark="")
        if self._lines:
            self._lines.start(name, total, done)

    def advance(self, units: int, loss: float | None = None) -> None:
        """Move the bar of the current phase."""
        if self._phase is not None:
            if loss is not None:
                self._bars.update(self._phase, remark=f"loss {loss:.3f}")
            self._bars.advance(self._phase, units)
        if self._lines:
            self._lines.advance(units, loss)


class TerminalStudyProgress(TerminalBars):
    """Shows the current run of a study and the study as a whole; see :class:`xeric.progress.StudyProgress`."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[remark]}", markup=False),
            tenths=False,
        )
        self._all: TaskID | None = None
        self._current = _RunBar(self._bar, self._lines)
        self._workers: dict[int, _RunBar] = {}
        self._position = ""

    def of_worker(self, number: int) -> _RunBar:
        """Return the bar of a worker's current run."""
        if number not in self._workers:
            lines = None if self._lines is None else PlainLines(self.note, tenths=False)
            self._workers[number] = _RunBar(self._bar, lines, f"worker {number + 1}:")
        return self._workers[number]

    def note(self, text: str) -> None:
        """Print a remark above the bars; without bars, preceded by the study's progress."""
        super().note(text if self._console.is_terminal or not self._position else f"[{self._position}] {text}")

    def begin(self, what: str) -> None:
        """Remember which run the next phases belong to."""
        self._current.begin(what)

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Begin a phase of the current run; its bar replaces the last one."""
        self._current.start(phase, total, done)

    def advance(self, units: int, loss: float | None = None) -> None:
        """Move the bar of the current phase."""
        self._current.advance(units, loss)

    def overall(self, done: int, total: int, seconds_left: float | None) -> None:
        """Move the bar over all runs."""
        left = "" if seconds_left is None or done >= total else f"about {duration(seconds_left)} left"
        self._position = f"{done} of {total}" + (f", {left}" if left else "")
        if self._all is None:
            self._all = self._bar.add_task("all runs", total=total, completed=done, remark=left)
        self._bar.update(self._all, total=total, completed=done, remark=left)
