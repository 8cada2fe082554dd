"""Going on from a finished run: what carries over, that nothing it was trained on is tested, and what is refused."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import xeric
from tests import tiny
from tests.attached import hooks_left
from tests.cli.conftest import Xeric
from tests.cli.conftest import xeric as xeric_command  # noqa: F401 - a fixture
from xeric.bases.loading import load_base
from xeric.data.preparing import input_digest
from xeric.errors import ConfigError, DataError, UserError
from xeric.record_io import read_predictions
from xeric.run.adapted import adapted_on, open_adapted
from xeric.run.config import run_config
from xeric.run.execute import Run, execute, prepare_run
from xeric.run.source import read_source


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    tiny.write_task(tmp_path / "tasks", "words", instances=60)
    tiny.write_task(tmp_path / "tasks", "others", instances=60, seed=1)
    return tmp_path / "tasks"


@pytest.fixture
def settings(tasks: Path, base_folder: Callable[[str], Path]) -> dict[str, Any]:
    return {
        "tasks": ["words"],
        "tasks_dirs": [str(tasks)],
        "base": str(base_folder("llama")),
        "method": {"name": "lora", "rank": 3},
        "data": {"n_train": 20},
        "prompt": {"demonstrations": 1},
        "train": {"max_steps": 4, "lr": 5e-3},
        "decode": {"max_new_tokens": 5},
        "metrics": ["chrf"],
        "device": "cpu",
        "precision": "fp32",
    }


def go(settings: dict[str, Any], folder: Path) -> Run:
    return execute(run_config(settings)[0], folder)


def onward(source: Path, **more: Any) -> dict[str, Any]:
    return {"from_run": str(source), "device": "cpu", "train": {"max_steps": 3, "lr": 5e-3}, **more}


def adapter_state(folder: Path, base: Path) -> dict[str, torch.Tensor]:
    with adapted_on(folder, load_base(str(base), device="cpu", precision="fp32")) as adapted:
        return adapted.adaptation.state()


def grown(tasks: Path, name: str, more: int) -> None:
    path = tasks / f"{name}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["Instances"] += tiny.task_data("grown", instances=more, seed=9)["Instances"]
    path.write_text(json.dumps(data), encoding="utf-8")


def test_it_goes_on_with_more_rows_and_tests_nothing_seen(settings: dict[str, Any], tasks: Path, tmp_path: Path) -> None:
    first = go(settings, tmp_path / "first")
    source = read_source(first.folder)
    data = prepare_run(first.config)
    assert source.inputs >= {input_digest(i.input) for i in (*data.tasks[0].train, *data.tasks[0].dev)}
    assert not source.inputs & {input_digest(i.input) for i in data.tasks[0].test}
    grown(tasks, "words", 60)
    config, _ = run_config(onward(first.folder))
    assert (config.tasks, config.base, config.method, config.decode) == (
        first.config.tasks,
        first.config.base,
        first.config.method,
        first.config.decode,
    )
    assert (config.data.n_train, config.train.max_steps, config.seed) == (None, 3, 0)
    second = execute(config, tmp_path / "second")
    assert second.record.tasks["words"].data["train"] > 60
    tested = read_predictions(second.folder / "predictions.jsonl")
    assert len(tested) > 15
    assert not {input_digest(row.input) for row in tested} & source.inputs
    assert second.record.source == {"run_id": first.record.run_id, "adapter": source.identity, "how": "parameters"}
    again = read_source(second.folder)
    assert again.inputs > source.inputs, "what was seen adds up"


def test_what_the_source_has_seen_selects_only_where_nothing_else_is_left(
    settings: dict[str, Any], tasks: Path, tmp_path: Path
) -> None:
    first = go({**settings, "data": {}, "train": {"max_steps": 1}}, tmp_path / "first")
    seen = read_source(first.folder).inputs
    for more, unseen_suffice in ((8, False), (80, True)):
        grown(tasks, "words", more)
        (task,) = xeric.prepare(xeric.load_task("words", tasks_dir=tasks), from_run=first.folder).tasks
        unseen = [i for i in (*task.train, *task.dev) if input_digest(i.input) not in seen]
        selecting = [i for i in task.dev if input_digest(i.input) not in seen]
        assert len(task.dev) >= 10
        assert (len(unseen) >= len(task.dev)) is unseen_suffice, "else this shows nothing"
        assert len(selecting) == (len(task.dev) if unseen_suffice else len(unseen))


def test_no_step_is_the_source_and_steps_go_on_from_there(
    settings: dict[str, Any], tmp_path: Path, base_folder: Callable[[str], Path]
) -> None:
    first = go(settings, tmp_path / "first")
    base = base_folder("llama")
    still = go(onward(first.folder, train={"max_steps": 0}), tmp_path / "still")
    before, same = (adapter_state(folder, base) for folder in (first.folder, still.folder))
    assert all(torch.equal(before[name], same[name]) for name in before)
    assert still.record.scores == first.record.scores, "the test set is the same, too"
    moved = adapter_state(go(onward(first.folder), tmp_path / "moved").folder, base)
    assert any(not torch.equal(before[name], moved[name]) for name in before)
    one, other = (go(onward(first.folder), tmp_path / name).folder for name in "ab")
    assert (one / "predictions.jsonl").read_bytes() == (other / "predictions.jsonl").read_bytes()
    assert (one / "adapter" / "adapted.json").read_bytes() == (other / "adapter" / "adapted.json").read_bytes()


def test_the_sources_adaptation_is_part_of_the_identity(settings: dict[str, Any], tmp_path: Path) -> None:
    first, other = go(settings, tmp_path / "first"), go({**settings, "seed": 1}, tmp_path / "other")
    ids = {go(onward(run.folder), tmp_path / f"from-{run.folder.name}").record.run_id for run in (first, other)}
    moved = first.folder.rename(tmp_path / "moved")
    ids.add(go(onward(moved), tmp_path / "from-moved").record.run_id)
    assert len(ids) == 2, "another source is another run, another path is not"


def test_another_method_starts_on_the_merged_source(
    settings: dict[str, Any], tmp_path: Path, base_folder: Callable[[str], Path]
) -> None:
    first = go(settings, tmp_path / "first")
    prefix = {"name": "prefix", "length": 2, "start": "random"}
    second = go(onward(first.folder, method=prefix, train={"max_steps": 2}), tmp_path / "second")
    assert second.record.source["how"] == "merged"
    third = go(onward(second.folder, tasks=["others"], method=prefix | {"length": 2}), tmp_path / "third")
    base = load_base(str(base_folder("llama")), device="cpu", precision="fp32")
    run = execute(third.config, tmp_path / "open", base=base)
    assert run.record.scores == third.record.scores, "an open base gives the same, and is restored"
    inputs = [row.input for row in read_predictions(third.folder / "predictions.jsonl")]
    predicted = [row.prediction for row in read_predictions(third.folder / "predictions.jsonl")]
    for folder in (first.folder, second.folder):
        folder.rename(tmp_path / f"gone-{folder.name}")
    assert open_adapted(third.folder).generate(inputs) == predicted, "the folder needs nothing but the base"


def test_what_does_not_fit_is_refused_in_a_sentence(
    settings: dict[str, Any], tasks: Path, tmp_path: Path, base_folder: Callable[[str], Path]
) -> None:
    first = go(settings, tmp_path / "first")
    with pytest.raises(DataError, match="other weights than the base that this run adapted"):
        go(onward(first.folder, base=str(base_folder("gpt2"))), tmp_path / "x")
    bottleneck = go({**settings, "method": "bottleneck"}, tmp_path / "bottleneck")
    with pytest.raises(ConfigError, match="bottleneck cannot be merged into the base's weights, and another method follows"):
        go(onward(bottleneck.folder, method="lora"), tmp_path / "x")
    with pytest.raises(ConfigError, match="this run goes on from another"):
        go(onward(first.folder, stages=[{"tasks": ["others"]}]), tmp_path / "x")
    with pytest.raises(ConfigError, match="nothing is trained, so nothing goes on"):
        go(onward(first.folder, prompt={"setting": "few-shot"}), tmp_path / "x")
    untrained = go({**settings, "method": "none"}, tmp_path / "untrained")
    with pytest.raises(ConfigError, match="trained nothing"):
        go(onward(untrained.folder, method="lora"), tmp_path / "x")
    with pytest.raises(DataError, match="holds no finished run"):
        go(onward(tmp_path / "nowhere"), tmp_path / "x")
    (first.folder / "adapter" / "trained_on.json").unlink()
    with pytest.raises(DataError, match="an earlier version made it"):
        go(onward(first.folder), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_data_prepared_without_the_source_are_refused(settings: dict[str, Any], tasks: Path, tmp_path: Path) -> None:
    first = go(settings, tmp_path / "first")
    grown(tasks, "words", 5)
    task = xeric.load_task("words", tasks_dir=tasks)
    options = {"prompt": {"demonstrations": 1}, "split_seed": 7}
    with pytest.raises(DataError, match="was trained on the test instance") as caught:
        xeric.train(settings["base"], xeric.prepare(task, **options), from_run=str(first.folder), output=tmp_path / "x")
    assert "from_run=" in str(caught.value.hint)
    data = xeric.prepare(task, from_run=first.folder, **options)
    run = xeric.train(
        settings["base"], data, from_run=str(first.folder), output=tmp_path / "y", train={"max_steps": 1}, device="cpu"
    )
    assert run.config.method == first.config.method


def test_on_the_command_line(xeric_command: Xeric, settings: dict[str, Any], tasks: Path, tmp_path: Path) -> None:  # noqa: F811
    first = go(settings, tmp_path / "first")
    code, _, notes = xeric_command(
        "train", "--from", first.folder, "--device", "cpu", "-o", tmp_path / "next", "train.max_steps=2"
    )
    assert code == 0, notes
    assert "instances were trained on by the run that this one goes on from, and are not tested" in notes
    record = json.loads((tmp_path / "next" / "record.json").read_text(encoding="utf-8"))
    assert (record["method"], record["done_steps"]) == ("lora", 2)
    again = ("train", "--config", tmp_path / "next" / "config.yaml", "-o", tmp_path / "next")
    assert "this run was done already" in xeric_command(*again)[1]
    with pytest.raises(UserError):
        run_config({"from_run": 3})


@pytest.mark.parametrize("way", ["adapted_on", "from_run"])
def test_an_adapter_that_cannot_be_read_leaves_nothing_on_an_open_base(
    way: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    first = go({**settings, "method": {"name": "bottleneck", "size": 4}}, tmp_path / "first")
    config, _ = run_config(onward(first.folder))
    base = load_base(settings["base"], device="cpu", precision="fp32")
    names = {name for name, _ in base.model.named_parameters()}
    (first.folder / "adapter" / "bottleneck.safetensors").unlink()
    with pytest.raises(DataError, match="bottleneck"), contextlib.ExitStack() as stack:
        execute(config, tmp_path / "on", base=base) if way == "from_run" else stack.enter_context(adapted_on(first.folder, base))
    assert not hooks_left(base)
    assert {name for name, _ in base.model.named_parameters()} == names
