"""Finished runs on tiny bases, their trained parts stirred by a few large steps, to be exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from xeric.run.config import run_config
from xeric.run.execute import execute

MakeRun = Callable[..., Path]
"""Makes a run of a method on a base; further settings by keyword. The same arguments give the same folder."""

SETTINGS: dict[str, Any] = {
    "train": {"max_steps": 4, "lr": 3e-2, "batch_size": 4, "warmup": 0.0, "schedule": "constant"},
    "decode": {"max_new_tokens": 12},
    "prompt": {"demonstrations": 1},
    "metrics": ["chrf"],
    "data": {"n_train": 20},
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    root = tmp_path_factory.mktemp("runs")
    for name, language in (("words", "English"), ("shabd", "Hindi")):
        tiny.write_task(root / "tasks", name, instances=60, language=language)
    made: dict[str, Path] = {}

    def get(base: Path | str, method: str | dict[str, Any], tasks: tuple[str, ...] = ("words",), **settings: Any) -> Path:
        key = repr((str(base), method, tasks, settings))
        if key not in made:
            named = {"base": str(base), "method": method, "tasks": list(tasks), "tasks_dirs": [str(root / "tasks")]}
            config, _ = run_config({**SETTINGS, **named, **settings})
            made[key] = root / str(len(made))
            assert execute(config, made[key]).record.status == "ok"
        return made[key]

    return get
