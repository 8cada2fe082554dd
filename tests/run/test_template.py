"""Which layout ``prompt.template: auto`` stands for, and that a run says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from xeric.progress import Silent
from xeric.record_io import read_predictions
from xeric.records import Record
from xeric.run.adapted import open_adapted
from xeric.run.config import run_config
from xeric.run.execute import execute

TUNED = tiny.chat_template()


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    tiny.write_task(folder, "one", instances=60)
    tiny.write_task(folder, "source", instances=60, seed=3)
    return folder


def go(tasks: Path, base: Path, folder: Path, **more: Any) -> tuple[Record, list[str]]:
    settings = {
        "tasks": ["one"],
        "tasks_dirs": [str(tasks)],
        "base": str(base),
        "method": "none",
        "data": {"n_train": 20, "max_test": 4},
        "prompt": {"setting": "few-shot"},
        "train": {"max_steps": 1},
        "decode": {"max_new_tokens": 4},
        "metrics": ["chrf"],
        "device": "cpu",
    }
    told = Told()
    record = execute(run_config({**settings, **more})[0], folder, progress=told).record
    return record, [note for note in told.notes if "prompt.template" in note]


def shown(folder: Path) -> str:
    """The full task prefix of a run, as its adaptation keeps it."""
    prompts = json.loads((folder / "adapter" / "adapted.json").read_text())["prompts"]
    return "".join(segment["text"] for segment in prompts["one"]["prefixes"][-1])


@pytest.mark.parametrize("setting", ["zero-shot", "few-shot"])
def test_an_instruction_tuned_base_is_asked_in_its_own_template(setting: str, tasks: Path, tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "base", chat_template=TUNED)
    record, notes = go(tasks, base, tmp_path / "auto", prompt={"setting": setting})
    assert record.resolved["prompt.template"] == "chat"
    assert record.resolved["decode.stop"] == ["</s>"]
    assert len(notes) == 1
    assert "in the base's own chat template" in notes[0]
    assert shown(tmp_path / "auto").startswith("<s>user: Say the words")
    rows = read_predictions(tmp_path / "auto" / "predictions.jsonl")
    adapted = open_adapted(tmp_path / "auto")
    assert adapted.generate([row.input for row in rows]) == [row.prediction for row in rows]
    asked, no_notes = go(tasks, base, tmp_path / "chat", prompt={"setting": setting, "template": "chat"})
    assert (asked.scores, no_notes) == (record.scores, [])
    plain, no_notes = go(tasks, base, tmp_path / "plain", prompt={"setting": setting, "template": "plain"})
    assert (plain.resolved["prompt.template"], no_notes) == ("plain", [])
    assert shown(tmp_path / "plain").startswith("Say the words")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "it has no chat template"),
        (tiny.chat_template("<s>"), "does not end its texts"),  # as families publish one tokenizer for all their models
        (tiny.chat_template("!"), "does not end its texts"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "does not keep every message's text"),
        ("{{ raise_exception('No tools, no talk') }}", "No tools, no talk"),
    ],
)
def test_any_other_base_is_asked_in_the_plain_layout_and_the_run_says_why(
    template: str | None, reason: str, tasks: Path, tmp_path: Path
) -> None:
    base = tiny.write_base(tmp_path / "base", chat_template=template)
    record, notes = go(tasks, base, tmp_path / "run")
    assert record.resolved["prompt.template"] == "plain"
    assert record.resolved["decode.stop"] == ["\nInput:", "\nOutput:"]
    assert len(notes) == 1
    assert reason in notes[0]


@pytest.mark.parametrize(
    "more",
    [
        {"method": {"name": "lora", "rank": 2}, "prompt": {}},
        {"stages": [{"tasks": ["source"], "method": {"name": "full"}, "data": {"n_train": 20}, "train": {"max_steps": 1}}]},
    ],
    ids=["trained", "after-a-stage"],
)
def test_what_is_trained_on_rows_has_the_plain_layout(more: dict[str, Any], tasks: Path, tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "base", chat_template=TUNED)
    record, notes = go(tasks, base, tmp_path / "run", **more)
    assert (record.resolved["prompt.template"], notes) == ("plain", [])
    if "method" in more:
        record, _ = go(tasks, base, tmp_path / "chat", **{**more, "prompt": {"template": "chat"}})
        assert record.resolved["prompt.template"] == "chat"
        assert record.resolved["decode.stop"] == []


def test_a_base_with_another_template_makes_another_run(tasks: Path, tmp_path: Path) -> None:
    templates = (None, TUNED, tiny.chat_template("<s>"))
    bases = [tiny.write_base(tmp_path / f"base-{n}", chat_template=template) for n, template in enumerate(templates)]
    ids = [go(tasks, base, tmp_path / f"run-{n}")[0].run_id for n, base in enumerate(bases)]
    assert len(set(ids)) == 3
    path = bases[0] / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [2, 70]}))
    assert go(tasks, bases[0], tmp_path / "ends")[0].run_id not in ids, "its end tokens decide where texts end"
