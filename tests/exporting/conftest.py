"""Runs on tiny bases to export: trained ones, and folders that hold nothing but an adaptation with parameters moved at random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import rows, tiny
from tests.attached import SMALL_TUNERS, stir
from xeric.bases.loading import load_base
from xeric.decoding import DecodeOptions
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.run.adapter_files import save_adapted
from xeric.run.config import run_config
from xeric.run.execute import execute

MakeRun = Callable[..., Path]
"""Base, method, tasks, further settings in; the folder of the finished run out. The same arguments give the same folder."""

SaveRun = Callable[..., Path]
"""Base, method, tasks, options of the method in; a run's folder out, with an adaptation and neither record nor predictions."""

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
            assert execute(config, root / str(len(made))).record.status == "ok"
            made[key] = root / str(len(made))
        return made[key]

    return get


@pytest.fixture
def save_run(tmp_path: Path) -> SaveRun:
    def save(base: Path | str, method: str, tasks: tuple[str, ...] = ("words",), scale: float = 0.3, **options: Any) -> Path:
        opened = load_base(str(base), device="cpu", precision="fp32")
        given = {"name": method, **({"options": SMALL_TUNERS[method]} if method in SMALL_TUNERS else {}), **options}
        chosen = method_options(given)
        prompts = {name: rows.prompt(rows.task(name)) for name in tasks}
        definitions = {name: rows.task(name).definition for name in tasks}
        adaptation = METHODS.get(method).attach(opened, chosen, seed=1, definitions=definitions)
        stir(adaptation, scale)
        folder = tmp_path / f"run-{method.replace(':', '-')}"
        save_adapted(
            folder / "adapter",
            adaptation,
            base=str(base),
            method=chosen.model_dump(mode="json"),
            prompts=prompts,
            max_new_tokens=12,
            options=DecodeOptions(),
            seed=0,
            definitions=definitions,
        )
        return folder

    return save
