"""Progress where no terminal is: lines with the time left, now and then."""

from __future__ import annotations

import re

import pytest

from xeric.cli.progress import PlainLines, TerminalProgress
from xeric.cli.study_progress import TerminalStudyProgress


def _told(seconds: float, units: int, *, tenths: bool = True, done: int = 0) -> list[str]:
    """Return what is told of a phase whose units take so many seconds each."""
    notes: list[str] = []
    now = [0.0]
    lines = PlainLines(notes.append, tenths=tenths, clock=lambda: now[0])
    lines.start("train", units, done)
    for _ in range(units - done):
        now[0] += seconds
        lines.advance(1, 2.5)
    return notes


def test_a_quick_phase_is_told_of_at_every_tenth() -> None:
    notes = _told(0.5, 40)
    assert len(notes) == 10
    assert notes[0] == "train: 4 of 40, loss 2.500, about 18 s left"
    assert notes[-1] == "train: 40 of 40, loss 2.500, in 20 s"


def test_a_slow_phase_is_told_of_every_half_minute() -> None:
    notes = _told(10.0, 1000)
    assert 333 <= len(notes) <= 343
    assert notes[0] == "train: 3 of 1,000, loss 2.500, about 2 h 46 min left"


def test_time_left_goes_by_what_was_done_now_not_before() -> None:
    assert _told(6.0, 20, done=10)[0] == "train: 12 of 20, loss 2.500, about 48 s left"


def test_runs_of_a_study_are_told_of_by_time_alone() -> None:
    assert _told(1.0, 25, tenths=False) == []
    assert len(_told(1.0, 100, tenths=False)) == 3


@pytest.mark.parametrize("kind", [TerminalProgress, TerminalStudyProgress])
def test_names_are_shown_as_they_are(kind: type[TerminalProgress], capfd: pytest.CaptureFixture[str]) -> None:
    with kind() as progress:
        progress.note("mail [v2] [/old] :smile:")
        progress.start("train [bold]", 1)
        progress.advance(1, 1.0)
    printed = capfd.readouterr().err
    assert "mail [v2] [/old] :smile:" in printed
    assert kind is TerminalStudyProgress or re.search(r"train \[bold\]: 1 of 1, loss 1\.000, in (< 0\.1|[0-9.]+) s", printed)
