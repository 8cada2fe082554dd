"""A run with gates: its record says what they learned, the same each time, and the terminal shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from xeric.cli.show_run import show_run
from xeric.errors import ConfigError
from xeric.run.adapted import open_adapted
from xeric.run.config import run_config
from xeric.run.execute import execute


@pytest.fixture
def settings(tmp_path: Path, base_folder: Callable[[str], Path]) -> dict[str, Any]:
    tiny.write_task(tmp_path / "tasks", "one", instances=60)
    return {
        "tasks": ["one"],
        "tasks_dirs": [str(tmp_path / "tasks")],
        "base": str(base_folder("llama")),
        "method": {"name": "combined", "gate": "token"},
        "data": {"n_train": 40},
        "train": {"max_steps": 4},
        "decode": {"max_new_tokens": 6},
        "metrics": ["chrf"],
        "device": "cpu",
    }


def test_the_record_says_what_the_gates_learned(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, _ = run_config(settings)
    run, again = execute(config, tmp_path / "a"), execute(config, tmp_path / "b")
    gates = run.record.gates
    assert gates == again.record.gates
    assert {part: [gate.layer for gate in values] for part, values in gates.items()} == {
        "prefix": ["model.layers.0", "model.layers.1"],
        "embedding": ["embedding"],
        "lora": ["model.layers.0", "model.layers.1"],
    }
    assert all(gate.low < gate.mean < gate.high and gate.mean not in (0, 1) for values in gates.values() for gate in values)
    show_run(run.record, run.folder, fresh=True)
    first = gates["lora"][0]
    assert f"gates of lora, by layer: {first.mean:.2f} [{first.low:.2f}, {first.high:.2f}]" in capsys.readouterr().out
    assert all(isinstance(text, str) for text in open_adapted(run.folder, device="cpu").generate(["a b"]))


def test_gradient_checkpointing_is_refused_before_anything_is_trained(settings: dict[str, Any], tmp_path: Path) -> None:
    config, _ = run_config({**settings, "train": {"max_steps": 4, "gradient_checkpointing": True}})
    with pytest.raises(ConfigError, match="what gates depend on") as caught:
        execute(config, tmp_path / "run")
    assert caught.value.where == "train.gradient_checkpointing"
    assert not (tmp_path / "run" / "config.yaml").exists()
