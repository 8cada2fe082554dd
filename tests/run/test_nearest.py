"""Runs whose rows each have demonstrations of their own: every engine computes the same, and a saved run finds them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.attached import assert_same_gradients, attach, batches, stir
from xeric.bases.base import Base
from xeric.data.preparing import DataOptions, prepare
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import build_prompt
from xeric.data.rows import EncodedTask
from xeric.data.tasks import load_task
from xeric.decoding import DecodeOptions, decode
from xeric.record_io import read_predictions
from xeric.run.adapted import open_adapted
from xeric.run.config import run_config
from xeric.run.execute import execute
from xeric.run.source import read_source
from xeric.training.loss import Rows, step_loss

NEAREST = PromptOptions(demonstrations=2, demonstration_choice="nearest")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    tiny.write_task(folder, "one", instances=80)
    return folder


def rows_of(base: Base, tasks: Path, *, decoding: bool = False, chat: bool = False) -> EncodedTask:
    options = NEAREST.model_copy(update={"template": "chat" if chat else "plain"})
    own = prepare([load_task(tasks / "one.json")], DataOptions(n_train=20), options).tasks[0]
    render = base.render_chat if chat else None
    prompt = build_prompt(own.task, (), options, render_chat=render, retrievable=own.retrievable)
    encoder = base.encoder("one")
    if decoding:
        return encoder.decoding_rows(prompt, [(i.id, i.input) for i in own.test[:8]], 8)
    return encoder.training_rows(prompt, [(i.id, i.input, i.outputs[0]) for i in own.train[:8]])


@pytest.mark.parametrize("shape", ["llama", "gemma3"])
@pytest.mark.parametrize("name", ["lora", "combined"])
def test_losses_and_gradients_are_the_same_in_every_engine(
    shape: str, name: str, open_base: Callable[[str], Base], tasks: Path
) -> None:
    base = open_base(shape)
    adaptation = attach(base, name)
    stir(adaptation, 0.05)
    encoded = rows_of(base, tasks)
    assert len(encoded.prefixes) == 1
    assert len({row.ids[: row.target_start] for row in encoded.rows}) == 8

    def computed(micro_batches: list[Any], *, shared: bool) -> Any:
        for parameter in adaptation.trainable().values():
            parameter.grad = None
        losses = step_loss(base, micro_batches, shared=shared)
        return losses, {key: p.grad.clone() for key, p in adaptation.trainable().items() if p.grad is not None}

    assert base.batching() == "packed"
    plain = computed(batches(encoded), shared=False)
    assert_same_gradients(computed([Rows.of([encoded]).items], shared=True), plain)
    base.packs_rows = False  # padded behind one prefix, as on a GPU
    assert base.batching() == "shared"
    assert_same_gradients(computed(batches(encoded), shared=True), plain)


@pytest.mark.parametrize(("shape", "chat"), [("llama", False), ("llama", True), ("gpt2", False), ("t5", False), ("bert", False)])
def test_texts_are_the_same_over_the_shared_prefix_plainly_and_one_by_one(
    shape: str, chat: bool, tasks: Path, tmp_path: Path
) -> None:
    base = tiny.open_base(tmp_path, shape, chat_template=tiny.chat_template() if chat else None)
    encoded = rows_of(base, tasks, decoding=True, chat=chat)
    texts = decode(base, encoded, DecodeOptions(batch_size=8), max_new_tokens=8)
    assert decode(base, encoded, DecodeOptions(batch_size=8), max_new_tokens=8, shared=False) == texts
    assert decode(base, encoded, DecodeOptions(batch_size=1), max_new_tokens=8) == texts
    assert len(set(texts)) > 1


@pytest.mark.parametrize("setting", ["few-shot", "instruction"])
def test_a_saved_run_finds_the_same_demonstrations(
    setting: str, tasks: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "tasks": ["one"],
        "tasks_dirs": [str(tasks)],
        "base": str(base_folder("llama")),
        "method": {"name": "lora", "rank": 2},
        "data": {"n_train": 20, "max_test": 6},
        "prompt": {"setting": setting, "demonstrations": 1, "demonstration_choice": "nearest"},
        "train": {"max_steps": 2},
        "decode": {"max_new_tokens": 8},
        "metrics": ["chrf"],
        "device": "cpu",
        "before": "texts",
    }
    config, _ = run_config(settings)
    run = execute(config, tmp_path / "run")
    predictions = read_predictions(tmp_path / "run" / "predictions.jsonl")
    texts = open_adapted(tmp_path / "run").generate([row.input for row in predictions])
    assert texts == [row.prediction for row in predictions]
    assert run.record.tasks["one"].data["train"] == 20
    fixed, _ = run_config({**settings, "prompt": {"setting": setting, "demonstrations": 1}})
    assert execute(fixed, tmp_path / "fixed").record.run_id != run.record.run_id
    if setting == "instruction":
        # What was shown counts as trained on: the positive examples, too.
        assert len(read_source(str(tmp_path / "run")).inputs) == 20 + len(load_task(tasks / "one.json").positive_examples)
