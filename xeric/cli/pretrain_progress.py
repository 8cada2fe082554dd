"""Progress of a pretraining on the terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.progress import BarColumn, TaskID, TextColumn

from xeric.cli.progress import TerminalBars
from xeric.training.pretrain_progress import Progress

__all__ = ["PretrainingProgress"]

# Where standard error is no terminal, a line so often: a training takes hours and its log should stay readable.
_LINE_EVERY = 60.0


class PretrainingProgress(TerminalBars):
    """Shows characters read, losses, tokens a second and time left; measurements above the bar."""

    def __init__(self) -> None:
        super().__init__(TextColumn("{task.description:10}"), BarColumn(), TextColumn("{task.fields[state]}"))
        self._task: TaskID | None = None
        self._line = float("-inf")

    def step(self, progress: Progress) -> None:
        """Move the bar; where standard error is no terminal, print a line a minute."""
        phase = "decay" if progress.decaying else "pretrain"
        if self._task is None:
            self._task = self._bar.add_task(phase, total=progress.total, state="")
        self._bar.update(
            self._task, description=phase, completed=progress.characters, total=progress.total, state=_state(progress)
        )
        if not self._console.is_terminal and time.monotonic() - self._line >= _LINE_EVERY:
            self._line = time.monotonic()
            self.note(f"{phase}, step {progress.step}: {_state(progress)}")

    def measured(self, step: int, values: Mapping[str, Any]) -> None:
        """Print what was measured on held-out text."""
        bits = ", ".join(f"{name} {value:.3f}" for name, value in values["bits_per_character"].items())
        self.note(f"step {step}, bits per character of held-out text: {bits}")


def _state(progress: Progress) -> str:
    read, total = (f"{characters / 1e6:.2f}M" for characters in (progress.characters, progress.total))
    losses = ", ".join(f"{part} {loss:.3f}" for part, loss in progress.losses.items())
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    left = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return f"{read} of {total} characters, loss {losses}, {progress.tokens_per_second:,.0f} tokens/s, {left} left"
