"""Stages of plain text: found again by their contents, carried on or merged like any stage, and never a leak."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.run.test_stages import carry_out, settings, stage_files
from xeric.bases.base import Base
from xeric.data.texts import TextOptions, prepare_texts
from xeric.errors import ConfigError, UserError
from xeric.run.adapted import open_adapted
from xeric.run.config import run_config
from xeric.training.loss import Rows, step_loss

SHARED = {"scope": "shared", "text": "Do it."}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    for name in ("target", "source"):
        tiny.write_task(folder, name, instances=90)
    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    write_texts(folder / "some.txt")
    return folder


def write_texts(path: Path, *more: str, documents: int = 30) -> None:
    """Sentences of the tiny tasks' words, some of them longer than a window."""
    instances = tiny.task_data("text", instances=4 * documents)["Instances"]
    outputs = [instance["output"][0] for instance in instances]
    made = [" ".join(outputs[4 * n : 4 * n + 1 + n % 4]) for n in range(documents)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join([*made, *more]), encoding="utf-8")


def with_texts(tasks: Path, base: Path, texts: Path, **more: Any) -> dict[str, Any]:
    stage = {"tasks": [], "texts": [str(texts)], "corpus": {"window": 24, "dev_fraction": 0.2}, **more.pop("stage", {})}
    return settings(tasks, base, stage=stage, **more)


def test_found_again_by_contents_wherever_the_files_lie(
    tasks: Path, texts: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    chosen = with_texts(tasks, base_folder("llama"), texts)
    first = carry_out(tmp_path / "a", chosen)
    (done,) = (tmp_path / "stages").rglob("stage.json")
    before = done.stat().st_mtime_ns
    (stage,) = first.record.stages
    counts = stage["texts"]
    assert "tasks" not in stage
    assert counts["documents"] == counts["train"] + counts["dev"] == 30
    assert counts["rows"]["train"] > counts["train"], "some documents are longer than a window"
    assert counts["tokens"]["dev"] > counts["rows"]["dev"] > 0
    # The same documents in other files of another folder.
    parts = (texts / "some.txt").read_text(encoding="utf-8").split("\n\n")
    moved = tmp_path / "moved" / "deeper"
    moved.mkdir(parents=True)
    for name, documents in (("z", parts[:7]), ("a", parts[7:])):
        (moved / f"{name}.txt").write_text("\r\n\r\n\r\n".join(documents), encoding="utf-8")
    again = carry_out(tmp_path / "b", with_texts(tasks, base_folder("llama"), tmp_path / "moved"))
    assert again.record.stages[0]["id"] == stage["id"]
    assert again.record.run_id == first.record.run_id
    assert done.stat().st_mtime_ns == before
    # And anew, the same bytes.
    anew = carry_out(tmp_path / "elsewhere" / "a", with_texts(tasks, base_folder("llama"), tmp_path / "moved"))
    assert stage_files(tmp_path / "elsewhere", anew) == stage_files(tmp_path, first)
    write_texts(texts / "some.txt", documents=29)
    other = carry_out(tmp_path / "c", chosen)
    assert other.record.stages[0]["id"] != stage["id"]
    assert other.record.run_id != first.record.run_id


METHODS: list[Any] = [
    "full",
    "lora",
    "bottleneck",
    "embedding",
    {"name": "prefix", **SHARED},
    {"name": "prefix", "level": "input", **SHARED},
    {"name": "combined", "prefix": SHARED},
    {"name": "combined", "prefix": False},
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: json.dumps(method))
def test_any_method_goes_on_from_it(
    method: Any, tasks: Path, texts: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """With no step of its own, the run is the stage's model."""
    still = {"max_steps": 0}
    run = carry_out(tmp_path / "out", with_texts(tasks, base_folder("llama"), texts, method=method, train=still))
    untrained = carry_out(
        tmp_path / "plain", {**with_texts(tasks, base_folder("llama"), texts, method=method, train=still), "stages": []}
    )
    opened = open_adapted(run.folder)
    state = opened.adaptation.state()
    (folder,) = (p.parent for p in (tmp_path / "stages").rglob("stage.json"))
    opened.adaptation.load(folder)
    assert all(torch.equal(state[n], t) for n, t in opened.adaptation.state().items())
    start = open_adapted(untrained.folder).adaptation.state()
    assert any(not torch.equal(state[n], start[n]) for n in state)


@pytest.mark.parametrize("method", ["prefix", "combined", "none"])
def test_another_method_starts_from_the_merged_text_stage(
    method: str, tasks: Path, texts: Path, base_folder: Callable[[str], Path], open_base: Callable[[str], Base], tmp_path: Path
) -> None:
    base = open_base("llama")
    before = {n: p.detach().clone() for n, p in base.model.named_parameters()}
    large = {"max_steps": 12, "batch_size": 8, "lr": 0.1}
    stage = {"method": {"name": "lora"}, "train": large}
    chosen = with_texts(tasks, base_folder("llama"), texts, method=method, stage=stage, train={"max_steps": 0})
    run = carry_out(tmp_path / "out", chosen, base)
    plain = carry_out(tmp_path / "plain", {**chosen, "stages": []}, base)
    assert (run.folder / "predictions.jsonl").read_bytes() != (plain.folder / "predictions.jsonl").read_bytes()
    assert all(torch.equal(p, before[n]) for n, p in base.model.named_parameters()), "an open base is left as it was found"
    rows = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    (tmp_path / "stages").rename(tmp_path / "gone")
    assert open_adapted(run.folder).generate([row["input"] for row in rows[:3]]) == [row["prediction"] for row in rows[:3]]


def test_text_comes_before_source_tasks(tasks: Path, texts: Path, base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    chosen = with_texts(tasks, base_folder("llama"), texts)
    chosen["stages"].append({"tasks": ["source"], "train": chosen["train"]})
    first, second = carry_out(tmp_path / "out", chosen).record.stages
    assert (set(first) & {"texts", "tasks"}, set(second) & {"texts", "tasks"}) == ({"texts"}, {"tasks"})
    alone = carry_out(tmp_path / "alone", {**chosen, "stages": chosen["stages"][1:]}).record.stages[0]
    assert second["id"] != alone["id"], "it goes on from the text"


def test_a_document_that_gives_a_test_output_away_is_not_trained_on(
    tasks: Path, texts: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    target = tiny.task_data("target", instances=60)
    for number, instance in enumerate(target["Instances"]):
        instance["output"] = [" ".join(f"{number}w{position}" for position in range(14))]
    (tasks / "target.json").write_text(json.dumps(target), encoding="utf-8")
    write_texts(texts / "some.txt", *(f"It is said: {instance['output'][0]}" for instance in target["Instances"]))
    record = carry_out(tmp_path / "out", with_texts(tasks, base_folder("llama"), texts)).record
    (stage,) = record.stages
    tested = len((tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines())
    assert stage["texts"]["leaks_removed"] == stage["leaks"]["leaks"] == tested == 12
    assert stage["texts"]["documents"] == 90
    assert stage["texts"]["train"] + stage["texts"]["dev"] == 90 - tested
    assert stage["leaks"]["between"][0]["test_task"] == "target"


def test_the_loss_of_text_is_the_models_own(texts: Path, open_base: Callable[[str], Base]) -> None:
    """Document by document through the library's labels, BOS in front: an independent path to the same number."""
    base = open_base("gemma3")
    documents = [(d.id, d.text) for d in prepare_texts([texts], TextOptions(dev_fraction=0)).train[:7]]
    encoded = base.encoder("text").text_rows("text", documents, 200)
    total, count = 0.0, 0
    for _, text in documents:
        ids = torch.tensor([[base.bos, *base.tokenize(text), base.eos[0]]])
        with torch.no_grad():
            total += float(base.model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    loss = step_loss(base, [Rows.of([encoded]).items], backward=False)["text"]
    assert loss == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "where", "match"),
    [
        ({"stage": {"texts": []}}, "stages.0", "neither tasks nor texts"),
        ({"stage": {"tasks": ["source"]}}, "stages.0", "both tasks and texts"),
        ({"stage": {"tasks": ["source"], "texts": []}}, "stages.0.corpus", "belongs to a stage of texts"),
        ({"stage": {"data": {"n_train": 20}}}, "stages.0.data", "belongs to a stage of tasks"),
        ({"stage": {"prompt": {"setting": "zero-shot"}}}, "stages.0.prompt", "belongs to a stage of tasks"),
        ({"stage": {"corpus": {"windows": 8}}}, "stages.0.corpus.windows", "unknown setting"),
        ({"stage": {"corpus": {"window": 1}}}, "stages.0.corpus.window", "from 8 to 1000000"),
        ({"stage": {"train": {"select": "chrf"}}}, "stages.0.train.select", "no outputs"),
        ({"method": "prefix"}, "stages.0.method", "text has none"),
        ({"method": "combined"}, "stages.0.method", "text has none"),
        ({"method": {"name": "prefix", "scope": "shared"}}, "stages.0.method", "text has none"),
        ({"method": "none"}, "stages.0.method", "trains"),
        ({"stage": {"method": {"name": "bottleneck"}}}, "stages.0.method", "cannot be merged"),
        ({"stage": {"texts": ["/nowhere"]}}, "/nowhere", "no such file"),
        ({"stage": {"texts": [""]}}, "stages.0.texts.0", "at least 1 letter"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_computed(
    changes: dict[str, Any], where: str, match: str, tasks: Path, texts: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=match) as caught:
        carry_out(tmp_path / "out", with_texts(tasks, base_folder("llama"), texts, **changes))
    assert caught.value.where == where
    assert isinstance(caught.value, ConfigError) or where == "/nowhere"
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "stages").exists()


def test_a_written_configuration_reads_back(tasks: Path, texts: Path, base_folder: Callable[[str], Path]) -> None:
    config, _ = run_config(with_texts(tasks, base_folder("llama"), texts))
    assert run_config(config.model_dump(mode="json"))[0] == config
