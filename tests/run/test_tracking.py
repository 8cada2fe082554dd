"""Trackers: what they are told, that they are no part of the run, and that a failing one does not lose it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate.tracking
import accelerate.utils
import pytest

from tests import tiny
from xeric.errors import UserError
from xeric.progress import Silent
from xeric.run.config import run_config
from xeric.run.execute import Run, execute


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def settings(tmp_path: Path, base_folder: Callable[[str], Path]) -> dict[str, Any]:
    for name in ("one", "two"):
        tiny.write_task(tmp_path / "tasks", name, instances=80)
    return {
        "tasks": ["one", "two"],
        "tasks_dirs": [str(tmp_path / "tasks")],
        "base": str(base_folder("llama")),
        "method": "lora",
        "data": {"n_train": 50},
        "prompt": {"demonstrations": 0},
        "train": {"max_steps": 4, "dev_every": 2, "select": "loss"},
        "decode": {"max_new_tokens": 4},
        "metrics": ["chrf", "rouge_l"],
        "device": "cpu",
        "precision": "fp32",
    }


def go(settings: dict[str, Any], folder: Path, notes: Notes | None = None, **more: Any) -> Run:
    return execute(run_config({**settings, **more})[0], folder, progress=notes)


def as_told(run: Run) -> dict[str, dict[int, float]]:
    """What a tracker should hold, by name and step, from the run's own log and record."""
    rows = [json.loads(line) for line in (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps, dev = [row for row in rows if "loss" in row], [row for row in rows if "dev" in row]
    told = {f"train/{key}": {row["step"]: row[key] for row in steps} for key in ("loss", "gradient_norm")}
    told |= {
        f"train/loss/{task}": {row["step"]: row["tasks"][task] for row in steps if task in row["tasks"]}
        for task in ("one", "two")
    }
    told |= {f"train/lr/{name}": {row["step"]: row["lr"][name] for row in steps} for name in steps[0]["lr"]}
    told["dev/loss"] = {row["step"]: -row["dev"] for row in dev}
    for metric, score in run.record.scores.items():
        told[f"test/{metric}"] = {4: score.score}
        told |= {f"test/{metric}/{task}": {4: result.scores[metric].score} for task, result in run.record.tasks.items()}
    return told


class Fake:
    """A tracker as Accelerate has them."""

    made: list[Fake] = []
    failing: str = ""

    def __init__(self, run_name: str, name: str) -> None:
        self.names, self.told, self.settings, self.finished = (run_name, name), {}, {}, False  # type: ignore[var-annotated]
        Fake.made.append(self)

    def _maybe(self, what: str) -> None:
        if self.failing == what:
            raise ConnectionError(f"no {what}\nhere")

    def start(self) -> None:
        self._maybe("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, float], step: int) -> None:
        self._maybe("log")
        for name, value in values.items():
            self.told.setdefault(name, {})[step] = value

    def finish(self) -> None:
        self._maybe("finish")
        self.finished = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    monkeypatch.setattr(Fake, "made", [])
    monkeypatch.setattr(Fake, "failing", "")
    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "wandb", Fake)
    monkeypatch.setattr(accelerate.utils, "is_wandb_available", lambda: True)
    return Fake


def test_a_tracker_is_told_losses_dev_scores_and_settings(settings: dict[str, Any], tmp_path: Path, fake: type[Fake]) -> None:
    run = go(settings, tmp_path / "out", track="wandb")
    (tracker,) = fake.made
    assert tracker.told == as_told(run)
    assert (tracker.names, tracker.finished) == (("xeric", "out"), True)
    assert (tracker.settings["method.name"], tracker.settings["train.max_steps"]) == ("lora", 4)
    assert tracker.settings["tasks"] == "['one', 'two']"
    plain = go(settings, tmp_path / "plain")
    assert plain.record.run_id == run.record.run_id
    assert (plain.folder / "log.jsonl").read_bytes() == (run.folder / "log.jsonl").read_bytes()
    assert not go(settings, tmp_path / "out").fresh


@pytest.mark.parametrize("failing", ["start", "log", "finish"])
def test_a_tracker_that_fails_does_not_lose_the_run(
    failing: str, settings: dict[str, Any], tmp_path: Path, fake: type[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fake, "failing", failing)
    notes = Notes()
    run = go(settings, tmp_path / "out", notes, track="wandb")
    assert run.record.status == "ok"
    told = [note for note in notes.notes if "wandb" in note]
    assert told == [f"wandb fails and is not told more of this run: ConnectionError: no {failing} here"]


def test_a_tracker_that_is_not_installed_is_refused_before_anything(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, install in (("mlflow", "mlflow"), ("tensorboard", "'xeric[track]'")):
        monkeypatch.setattr(accelerate.utils, f"is_{name}_available", lambda: False)
        with pytest.raises(UserError, match=f"{name} is not installed") as caught:
            run_config({**settings, "track": name})
        assert (caught.value.where, caught.value.hint) == ("track", f"pip install {install}")
    with pytest.raises(UserError, match="track"):
        run_config({**settings, "track": "notebook"})


def test_tensorboard_reads_it_back(settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `track` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = go(settings, tmp_path / "out", track="tensorboard")
    events = EventAccumulator(str(run.folder / "tracking")).Reload()
    told = {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}
    expected = as_told(run)
    assert told.keys() == expected.keys()
    for name, values in expected.items():
        assert told[name] == pytest.approx(values, rel=1e-6), name
    assert not go(settings, tmp_path / "out").fresh, "the folder with its files is still the run's"
