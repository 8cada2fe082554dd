"""A training within a time is the training with so many steps, and an interrupted one keeps what was decided."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.cli.conftest import Xeric
from tests.cli.conftest import xeric as xeric_command  # noqa: F401 - a fixture
from xeric.bases.base import Base
from xeric.bases.batches import recomputes_activations
from xeric.errors import UserError
from xeric.formatting import seconds_of
from xeric.progress import Silent
from xeric.run.config import run_config
from xeric.run.execute import Run, execute
from xeric.training import budget, trainer


def ticking(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let every look at the clock find it so many seconds later."""
    ticks = itertools.count()
    monkeypatch.setattr(budget, "clock", lambda: next(ticks) * seconds)


class Interrupting(Silent):
    """Raises after so many steps, as Ctrl-C does, and keeps the notes."""

    def __init__(self, after: int | None = None) -> None:
        self.left, self.notes = after, list[str]()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advance(self, units: int, loss: float | None = None) -> None:
        if self.left is not None:
            self.left -= units
            if self.left <= 0:
                raise KeyboardInterrupt


@pytest.fixture
def settings(tmp_path: Path, base_folder: Callable[[str], Path]) -> dict[str, Any]:
    tiny.write_task(tmp_path / "tasks", "words", instances=90)
    return {
        "tasks": ["words"],
        "tasks_dirs": [str(tmp_path / "tasks")],
        "base": str(base_folder("llama")),
        "method": {"name": "lora", "dropout": 0.1},
        "data": {"n_train": 60},
        "prompt": {"demonstrations": 0},
        "train": {"epochs": 4, "select": "loss", "checkpoint_seconds": 0.0},
        "decode": {"max_new_tokens": 4},
        "metrics": ["chrf"],
        "device": "cpu",
        "precision": "fp32",
    }


def go(settings: dict[str, Any], folder: Path, progress: Interrupting | None = None, **train: Any) -> Run:
    config, _ = run_config({**settings, "train": {**settings["train"], **train}})
    return execute(config, folder, progress=progress)


def outcome(run: Run) -> list[bytes]:
    return [(run.folder / name).read_bytes() for name in ("log.jsonl", "predictions.jsonl", "adapter/adapter_model.safetensors")]


def test_steps_are_measured_as_they_are_computed(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticking(monkeypatch, 4.0)
    recomputed = []
    compute = trainer.step_loss

    def watched(base: Base, *args: Any, **more: Any) -> Any:
        recomputed.append(recomputes_activations(base.model))
        return compute(base, *args, **more)

    monkeypatch.setattr(trainer, "step_loss", watched)
    run = go(settings, tmp_path / "timed", seconds=100.0, gradient_checkpointing=True, select="last")
    assert len(recomputed) > run.record.done_steps
    assert all(recomputed)


def test_it_is_the_training_with_as_many_steps_as_fit(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A step or an evaluation takes 4 s; three steps are over a tenth of the time, so no fourth is measured; dev is every 7 steps.
    ticking(monkeypatch, 4.0)
    notes = Interrupting()
    run = go(settings, tmp_path / "timed", notes, seconds=100.0)
    assert run.record.planned_steps == run.record.done_steps == int((100 - 16) / (4 + 4 / 7)) == 18
    assert "18 of 28 planned steps fit into 1 min 40 s, at 4.6 s per step" in notes.notes
    assert run.record.resolved["train.max_steps"] == 18
    assert run.record.deterministic == "seeds"
    assert run.record.cost["time"] == {"budget": 100.0, "steps": 18, "planned": 28, "seconds_per_step": 4.5714}
    plain = go(settings, tmp_path / "plain", max_steps=18)
    assert outcome(plain) == outcome(run), "measuring moved nothing, and the schedule ends with the last step"
    assert "train.max_steps" not in plain.record.resolved
    rates = [row["lr"]["lora"] for row in map(json.loads, outcome(run)[0].splitlines()) if "lr" in row]
    assert rates[-1] < max(rates) / 10


def test_an_interrupted_training_keeps_what_was_decided(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticking(monkeypatch, 4.0)
    with pytest.raises(KeyboardInterrupt):
        go(settings, tmp_path / "timed", Interrupting(after=3), seconds=100.0)
    ticking(monkeypatch, 1000.0)
    run = go(settings, tmp_path / "timed", seconds=100.0)
    assert run.record.done_steps == 18
    assert outcome(run) == outcome(go(settings, tmp_path / "plain", max_steps=18))
    assert not (run.folder / "checkpoint").exists()


def test_too_little_time_is_one_step_and_enough_is_all(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticking(monkeypatch, 100.0)
    assert go(settings, tmp_path / "short", seconds=1.0).record.done_steps == 1
    ticking(monkeypatch, 0.001)
    notes = Interrupting()
    run = go(settings, tmp_path / "long", notes, seconds=1000.0, max_steps=5)
    assert run.record.done_steps == 5
    assert any(note.startswith("all 5 planned steps fit") for note in notes.notes)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("1h30m", 5400), ("1.5h", 5400), ("2min", 120)])
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "m", "0s", "1d", "-5m", "5m1h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a duration"):
        seconds_of(text)


def test_on_the_command_line(xeric_command: Xeric, settings: dict[str, Any], tmp_path: Path) -> None:  # noqa: F811
    given = ("train", "words", "--tasks-dir", settings["tasks_dirs"][0], "--base", settings["base"], "-o", tmp_path / "out")
    code, _, complaint = xeric_command(*given, "--for", "soon")
    assert (code, complaint) == (2, "xeric: 'soon' is not a duration\nhint: write it as 90s, 20m or 1h30m\n")
    code, _, notes = xeric_command(*given, "--for", "1h", "train.max_steps=2", "decode.max_new_tokens=2", "metrics=[chrf]")
    assert (code, "all 2 planned steps fit into 1 h" in notes) == (0, True), notes
    assert json.loads((tmp_path / "out" / "record.json").read_text())["cost"]["time"]["budget"] == 3600
