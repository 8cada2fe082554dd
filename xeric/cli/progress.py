"""Progress on the terminal: a bar with loss, rate and time left, on standard error."""

from __future__ import annotations

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

__all__ = ["TerminalBars", "TerminalProgress"]


class _Rate(TextColumn):
    """Units a second over the last minute or so."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: object) -> Text:
        speed = getattr(task, "finished_speed", None) or getattr(task, "speed", None)
        return Text(f"{speed:.1f}/s" if speed else "", style="progress.data.speed")


class TerminalBars:
    """Bars on standard error, none where that is no terminal, and remarks above them. Use it as a context.

    Args:
        columns: of every bar, between the spinner and the end of the line.
    """

    def __init__(self, *columns: ProgressColumn) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Progress(SpinnerColumn(), *columns, console=self._console, disable=not self._console.is_terminal)

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
            TextColumn("{task.description:12}"),
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
        if not self._console.is_terminal:
            self.note(f"{phase}: {total - done} of {total} to do" if done else f"{phase}: {total}")
        self._task = self._bar.add_task(phase, total=total, completed=done, loss="")

    def advance(self, units: int, loss: float | None = None) -> None:
        """Move the bar of the present phase."""
        if self._task is not None:
            if loss is not None:
                self._bar.update(self._task, loss=f"loss {loss:.3f}")
            self._bar.advance(self._task, units)
