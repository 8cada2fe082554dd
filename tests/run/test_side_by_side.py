"""Runs beside each other: each base once, the texts that each run gives by itself, and the base unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny
from xeric.bases.base import Base
from xeric.errors import DataError, UserError
from xeric.run.adapted import open_adapted
from xeric.run.config import run_config
from xeric.run.execute import execute
from xeric.run.side_by_side import SideBySide

METHODS = ("lora", "prefix", "full")


@pytest.fixture(scope="module")
def runs(base_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run per method on one task, and one on two tasks with another base."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("words", "others"):
        tiny.write_task(root / "tasks", name, instances=60)
    settings = {
        "tasks_dirs": [str(root / "tasks")],
        "device": "cpu",
        "precision": "fp32",
        "data": {"n_train": 16},
        "prompt": {"demonstrations": 0},
        "train": {"max_steps": 4, "lr": 0.05},
        "decode": {"max_new_tokens": 5},
        "metrics": ["chrf"],
    }
    folders = []
    for name in METHODS:
        base, folder = str(base_folder("llama")), root / name / "out"
        execute(run_config({**settings, "tasks": ["words"], "base": base, "method": name})[0], folder)
        folders.append(folder)
    base = str(base_folder("gpt2"))
    execute(run_config({**settings, "tasks": ["words", "others"], "base": base, "method": "lora"})[0], root / "two")
    return [*folders, root / "two"]


def test_every_run_answers_as_it_does_alone_and_bases_are_opened_once(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from xeric.run import side_by_side

    opened: list[str] = []
    load = side_by_side.load_base

    def counted(name: str, **options: object) -> Base:
        opened.append(name)
        return load(name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(side_by_side, "load_base", counted)
    models = SideBySide(runs)
    assert len(opened) == 2
    assert models.tasks == ["words", "others"]
    assert [label for label in models.labels if "unadapted" not in label] == [
        "lora/out",
        "prefix/out",
        "full/out",
        f"{runs[-1].parent.name}/two",
    ]
    assert [label for label in models.labels if "unadapted" in label] == ["llama, unadapted", "gpt2, unadapted"]
    assert models.definition("others").startswith("Say the words")
    alone = [open_adapted(run).generate(["the red ferry"], task="words")[0] for run in runs]
    for _ in range(2):  # the second time shows that nothing of the first was left on the bases
        answers = list(models.answers("the red ferry", "words"))
        assert [answer.label for answer in answers] == models.labels
        adapted = [answer.text for answer in answers if "unadapted" not in answer.label]
        assert adapted == alone
        assert answers[0].text not in alone, "the base by itself answers differently"
    only = list(models.answers("the red ferry", "others"))
    assert [answer.note for answer in only] == ["was not trained on others"] * 4 + [""] * 2
    assert only[-1].text == open_adapted(runs[-1]).generate(["the red ferry"], task="others")[0]


def test_what_cannot_be_shown_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name each run once"):
        SideBySide([runs[0], runs[0] / ".." / runs[0].name])
    with pytest.raises(UserError, match="no run is given"):
        SideBySide([])
    with pytest.raises(DataError, match="holds no finished run"):
        SideBySide([runs[0], tmp_path])
