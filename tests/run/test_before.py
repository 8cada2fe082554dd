"""The base before it is adapted: what it answers, and that this is no part of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.cli.conftest import Xeric
from tests.cli.conftest import xeric as xeric_command  # noqa: F401 - a fixture
from xeric.metrics import score_predictions
from xeric.record_io import read_predictions
from xeric.run.config import run_config
from xeric.run.execute import Run, execute


@pytest.fixture
def settings(tmp_path: Path, base_folder: Callable[[str], Path]) -> dict[str, Any]:
    for name in ("words", "others"):
        tiny.write_task(tmp_path / "tasks", name, instances=60)
    return {
        "tasks": ["words"],
        "tasks_dirs": [str(tmp_path / "tasks")],
        "base": str(base_folder("llama")),
        "method": "lora",
        "data": {"n_train": 20},
        "prompt": {"demonstrations": 1},
        "train": {"max_steps": 3, "lr": 0.05},
        "decode": {"max_new_tokens": 5},
        "metrics": ["chrf"],
        "device": "cpu",
        "precision": "fp32",
    }


def go(settings: dict[str, Any], folder: Path, **more: Any) -> Run:
    return execute(run_config({**settings, **more})[0], folder)


def test_it_is_the_zero_shot_run_and_no_part_of_the_run(settings: dict[str, Any], tmp_path: Path) -> None:
    run = go(settings, tmp_path / "run", before="scores")
    zero_shot = go(settings, tmp_path / "zero", prompt={"setting": "zero-shot"})
    assert (run.folder / "before.jsonl").read_bytes() == (zero_shot.folder / "predictions.jsonl").read_bytes()
    plain = go(settings, tmp_path / "plain")
    assert not (plain.folder / "before.jsonl").exists()
    assert plain.record.run_id == run.record.run_id
    for name in ("predictions.jsonl", "log.jsonl", "adapter/adapter_model.safetensors"):
        assert (plain.folder / name).read_bytes() == (run.folder / name).read_bytes()
    assert not go(settings, tmp_path / "run").fresh


def test_three_texts_of_the_first_tasks(settings: dict[str, Any], tmp_path: Path) -> None:
    run = go(settings, tmp_path / "run", before="texts", tasks=["words", "others"])
    rows = read_predictions(run.folder / "before.jsonl")
    tested = read_predictions(run.folder / "predictions.jsonl")
    first = [[row.id for row in tested if row.task == task][:3] for task in ("words", "others")]
    assert [row.id for row in rows] == [*first[0], *first[1]]
    assert not (go(settings, tmp_path / "none", method="none", before="texts").folder / "before.jsonl").exists()


def test_on_the_command_line(xeric_command: Xeric, settings: dict[str, Any], tmp_path: Path) -> None:  # noqa: F811
    given = ["train", "words", "--tasks-dir", settings["tasks_dirs"][0], "--base", settings["base"], "--n-train", "20"]
    given += ["--device", "cpu", "train.max_steps=2", "decode.max_new_tokens=5", "metrics=[chrf]", "prompt.demonstrations=0"]
    code, printed, notes = xeric_command(*given, "-o", tmp_path / "texts")
    assert code == 0, notes
    before = read_predictions(tmp_path / "texts" / "before.jsonl")
    after = {row.id: row for row in read_predictions(tmp_path / "texts" / "predictions.jsonl")}
    assert len(before) == 3
    for row in before:
        block = printed.partition(f"words, {row.id}\n")[2].splitlines()[:4]
        texts = [row.input, row.prediction, after[row.id].prediction, row.references[0]]
        assert [line.split(maxsplit=1)[0] for line in block] == ["input", "before", "after", "reference"]
        assert [" ".join(line.split()[1:]) for line in block] == [" ".join(text.split()) for text in texts]
    assert "the base before" not in printed
    code, printed, _ = xeric_command(*given, "--before", "scores", "-o", tmp_path / "scores")
    score = score_predictions(read_predictions(tmp_path / "scores" / "before.jsonl"), ["chrf"], resamples=0).scores["chrf"].score
    line = next(line for line in printed.splitlines() if "the base before, zero-shot" in line)
    assert f"{score:.1f}" in line
    code, printed, _ = xeric_command(*given, "--before", "none", "-o", tmp_path / "none")
    assert (code, "before" in printed) == (0, False)
    code, _, complaint = xeric_command(*given, "--before", "all", "-o", tmp_path / "x")
    assert (code, "before: expected" in complaint, "Traceback" in complaint) == (2, True, False), complaint
    assert json.loads((tmp_path / "none" / "record.json").read_text())["status"] == "ok"
