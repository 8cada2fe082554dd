"""A run from config to record, and again from its folder, on bases that are not causal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from xeric.errors import ConfigError
from xeric.record_io import read_predictions, read_record
from xeric.run.adapted import open_adapted
from xeric.run.config import run_config
from xeric.run.execute import execute

BASES = [("t5", "seq2seq"), ("bart", "seq2seq"), ("bert", "encoder"), ("roberta", "encoder")]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    tiny.write_task(folder, "one", instances=100)
    return folder


def settings(tasks: Path, base: Path, **more: Any) -> dict[str, Any]:
    return {
        "tasks": ["one"],
        "tasks_dirs": [str(tasks)],
        "base": str(base),
        "method": {"name": "combined"},
        "data": {"n_train": 60},
        "prompt": {"demonstrations": 1},
        "train": {"max_steps": 6, "checkpoint_seconds": 0.0, "select": "loss", "dev_every": 3},
        "decode": {"max_new_tokens": 8},
        "metrics": ["chrf"],
        "device": "cpu",
        **more,
    }


@pytest.mark.parametrize(("shape", "architecture"), BASES)
def test_a_run_and_its_folder_give_the_same_texts(
    shape: str, architecture: str, tasks: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    config, _ = run_config(settings(tasks, base_folder(shape)))
    run = execute(config, tmp_path / "run")
    record = read_record(run.folder)
    assert (record.status, record.base["architecture"]) == ("ok", architecture)
    log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log if "dev" in row] == [3, 6]
    rows = read_predictions(run.folder / "predictions.jsonl")
    opened = open_adapted(run.folder)
    assert opened.generate([row.input for row in rows], task="one") == [row.prediction for row in rows]


def test_an_untrained_setting_takes_the_plain_layout(tasks: Path, base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    chosen = settings(tasks, base_folder("bert"), method={"name": "none"}, prompt={"setting": "few-shot"})
    config, _ = run_config({key: value for key, value in chosen.items() if key != "train"})
    record = read_record(execute(config, tmp_path / "run").folder)
    assert record.resolved["prompt.template"] == "plain"


@pytest.mark.parametrize("shape", ["t5", "bert"])
def test_a_stage_of_plain_text_is_refused_in_a_sentence(
    shape: str, tasks: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("\n\n".join(f"the river {number} leaves at dawn" for number in range(40)))
    stage = {"tasks": [], "texts": [str(tmp_path / "texts.txt")], "train": {"max_steps": 2}}
    config, _ = run_config(settings(tasks, base_folder(shape), method={"name": "lora"}, stages=[stage]))
    with pytest.raises(ConfigError, match="only causal bases are trained on plain text"):
        execute(config, tmp_path / "run")
