"""A text in use is brought into the form of the texts that the run was trained on, and what comes out keeps that form."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from xeric.data.tasks import load_task
from xeric.data.text_form import one_form
from xeric.run.adapted import open_adapted
from xeric.run.config import run_config
from xeric.run.execute import Run, execute
from xeric.studies.config import ArmKey, StudyConfig
from xeric.studies.folder import PlannedArm, PlannedRun
from xeric.studies.paraphrases import paraphrases_of


def code_task() -> dict[str, Any]:
    """Methods out of a class: the first line is indented, and so is the answer's."""
    rng, data = random.Random(5), tiny.task_data("code")
    data["Positive Examples"] = data["Positive Examples"][:1]
    for instance in data["Instances"]:
        names = [rng.choice("abcdefghij") + str(rng.randrange(1000)) for _ in range(5)]
        instance["input"] = f"    def {names[0]}({names[1]}):\n\tif {names[1]} == {names[2]}:\n        {names[3]}({names[4]})"
        instance["output"] = [f"    return {names[0]}"]
    return data


@pytest.fixture
def run(tmp_path: Path, base_folder: Callable[[str], Path]) -> Callable[[bool], Run]:
    (tmp_path / "code.json").write_text(json.dumps(code_task()), encoding="utf-8")

    def carried_out(keep: bool) -> Run:
        settings: dict[str, Any] = {
            "tasks": ["code"],
            "tasks_dirs": [str(tmp_path)],
            "base": str(base_folder("llama")),
            "method": {"name": "full"},
            "data": {"n_train": 20, "cleaning": {"keep_indentation": keep}},
            "prompt": {"demonstrations": 0},
            "train": {"max_steps": 60, "batch_size": 8, "lr": 5e-3, "warmup": 0.0},
            "decode": {"max_new_tokens": 24},
            "metrics": ["chrf"],
            "device": "cpu",
            "precision": "fp32",
        }
        return execute(run_config(settings)[0], tmp_path / f"run-{keep}")

    return carried_out


@pytest.mark.parametrize("keep", [True, False])
def test_generate_gives_the_texts_of_the_run(keep: bool, run: Callable[[bool], Run], tmp_path: Path) -> None:
    done = run(keep)
    rows = [json.loads(line) for line in (done.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    source = {one_form(i.input): i.input for i in load_task(tmp_path / "code.json").instances}
    # As a user has them: out of the file, in the form that they have there, Windows line ends and all.
    inputs = [source[one_form(row["input"])].replace("\n", "\r\n") for row in rows]
    assert len(set(inputs)) == len(rows) > 10
    assert all(text.startswith("    def") for text in inputs)
    assert open_adapted(done.folder).generate(inputs) == [row["prediction"] for row in rows]
    indented = sum(row["prediction"].startswith("    ") for row in rows)
    assert indented > len(rows) / 2 if keep else indented == 0


def test_an_adapter_that_says_nothing_of_its_form_has_the_usual_one(run: Callable[[bool], Run]) -> None:
    """Adapters saved before the form was kept with them open as before."""
    folder = run(False).folder
    path = folder / "adapter" / "adapted.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    assert description["prompts"]["code"].pop("keep_indentation") is False
    path.write_text(json.dumps(description), encoding="utf-8")
    opened = open_adapted(folder)
    assert opened.generate(["   a\n   b"]) == opened.answer(["a\nb"], "code")


@pytest.mark.parametrize("keep", [True, False])
def test_paraphrases_of_a_definition_have_its_form(keep: bool) -> None:
    study = StudyConfig.model_construct(
        seeds=(0,),
        methods={"lora": {"name": "lora"}},
        paraphrases={"code": ("Do:\n    this",)},
        run={"data": {"cleaning": {"keep_indentation": keep}}},
    )
    arm = PlannedArm(id="tiny-lora", label="lora", key=ArmKey(base="tiny", method="lora"))
    run = PlannedRun(id="tiny-lora-s0", arm=arm, seed=0, tasks=("code",))
    assert paraphrases_of(study, run) == ({"code": "Do:\n    this" if keep else "Do:\nthis"},)
