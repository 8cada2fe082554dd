"""Stages before a run's own tasks: computed once, carried on or merged, and never a way for a test instance to leak."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.attached import hooks_left
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.errors import ConfigError, RunError, UserError
from xeric.run.adapted import open_adapted
from xeric.run.config import run_config
from xeric.run.execute import Run, execute, prepare_run
from xeric.run.stages import plan_stages


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name in ("target", "source", "other"):
        (folder / f"{name}.json").write_text(json.dumps(tiny.task_data(name, instances=90)), encoding="utf-8")
    return folder


def settings(tasks: Path, base: Path, *, method: Any = "lora", **more: Any) -> dict[str, Any]:
    training = {"max_steps": 4, "batch_size": 8, "lr": 5e-3}
    stage = {"tasks": ["source"], "train": training, **more.pop("stage", {})}
    return {
        "tasks": ["target"],
        "tasks_dirs": [str(tasks)],
        "base": str(base),
        "method": {"name": method} if isinstance(method, str) else method,
        "stages": [stage],
        "data": {"n_train": 20},
        "train": training,
        "decode": {"max_new_tokens": 6},
        "metrics": ["chrf"],
        "device": "cpu",
        "precision": "fp32",
        **more,
    }


def carry_out(folder: Path, chosen: dict[str, Any], base: Base | None = None) -> Run:
    return execute(run_config(chosen)[0], folder, base=base)


def stage_files(root: Path, run: Run) -> dict[str, bytes]:
    folder = root / "stages" / run.record.stages[0]["id"]
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in ("stage.json", "times.jsonl")}


def test_a_stage_is_computed_once_and_found_again(tasks: Path, base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    chosen = settings(tasks, base_folder("llama"))
    first = carry_out(tmp_path / "a", chosen)
    (done,) = (tmp_path / "stages").rglob("stage.json")
    before = done.stat().st_mtime_ns
    second = carry_out(tmp_path / "b", {**chosen, "decode": {"max_new_tokens": 3}})
    assert done.stat().st_mtime_ns == before
    assert first.record.stages == second.record.stages
    assert first.record.stages[0]["tasks"].keys() == {"source"}
    assert first.record.run_id != second.record.run_id
    other = carry_out(tmp_path / "c", settings(tasks, base_folder("llama"), seed=1))
    assert other.record.stages[0]["id"] != first.record.stages[0]["id"]
    # The same stage anew gives the same bytes.
    again = carry_out(tmp_path / "elsewhere" / "a", chosen)
    assert stage_files(tmp_path / "elsewhere", again) == stage_files(tmp_path, first)
    assert (again.folder / "predictions.jsonl").read_bytes() == (first.folder / "predictions.jsonl").read_bytes()
    assert again.record.model_copy(update={"cost": {}}) == first.record.model_copy(update={"cost": {}})


def test_a_stage_chosen_by_decoded_texts_belongs_to_the_options_they_are_decoded_with(
    tasks: Path, base_folder: Callable[[str], Path]
) -> None:
    def stage_id(select: str, new: int) -> str:
        training = {"max_steps": 4, "dev_every": 2, "select": select}
        chosen = settings(tasks, base_folder("llama"), stage={"train": training}, decode={"max_new_tokens": new})
        config = run_config(chosen)[0]
        return plan_stages(config, prepare_run(config), {"weights": "a"}, {})[0].id

    assert stage_id("chrf", 6) != stage_id("chrf", 3)
    assert stage_id("loss", 6) == stage_id("loss", 3)


@pytest.mark.parametrize("method", ["full", "lora", {"name": "combined", "prefix": {"scope": "shared", "text": "Do it."}}])
def test_the_same_method_goes_on_from_the_stage(
    method: Any, tasks: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """With no step of its own, the run is the stage's model."""
    still = {"max_steps": 0}
    run = carry_out(tmp_path / "out", settings(tasks, base_folder("llama"), method=method, train=still))
    name = method if isinstance(method, str) else method["name"]
    untrained = carry_out(tmp_path / "plain", settings(tasks, base_folder("llama"), method=method, train=still, stages=[]))
    opened = open_adapted(run.folder)
    state = opened.adaptation.state()
    (folder,) = (p.parent for p in (tmp_path / "stages").rglob("stage.json"))
    opened.adaptation.load(folder)
    assert all(torch.equal(state[n], t) for n, t in opened.adaptation.state().items()), name
    start = open_adapted(untrained.folder).adaptation.state()
    assert any(not torch.equal(state[n], start[n]) for n in state)


def test_a_prefix_of_one_task_is_not_carried_to_another(tasks: Path, base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    still = {"max_steps": 0}
    chosen = settings(tasks, base_folder("llama"), method="combined", train=still)
    state = open_adapted(carry_out(tmp_path / "out", chosen).folder).adaptation.state()
    start = open_adapted(carry_out(tmp_path / "plain", {**chosen, "stages": []}).folder).adaptation.state()
    moved = {name.split(".")[0] for name in state if not torch.equal(state[name], start[name])}
    assert "fused_embedding" in moved
    assert "prompt_prefix" not in moved


@pytest.mark.parametrize("method", ["bottleneck", "combined", "none"])
def test_another_method_starts_from_the_merged_stage(
    method: str, tasks: Path, base_folder: Callable[[str], Path], open_base: Callable[[str], Base], tmp_path: Path
) -> None:
    base = open_base("llama")
    before = {n: p.detach().clone() for n, p in base.model.named_parameters()}
    large = {"max_steps": 12, "batch_size": 8, "lr": 0.1}
    chosen = settings(
        tasks, base_folder("llama"), method=method, stage={"method": {"name": "lora"}, "train": large}, train={"max_steps": 0}
    )
    run = carry_out(tmp_path / "out", chosen, base)
    after = dict(base.model.named_parameters())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[n], before[n]) for n in before), "an open base is left as it was found"
    plain = carry_out(tmp_path / "plain", {**chosen, "stages": []}, base)
    assert (run.folder / "predictions.jsonl").read_bytes() != (plain.folder / "predictions.jsonl").read_bytes()
    # The adapter's folder needs nothing but the base: the store of stages may go.
    rows = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    (tmp_path / "stages").rename(tmp_path / "gone")
    assert open_adapted(run.folder).generate([row["input"] for row in rows[:3]]) == [row["prediction"] for row in rows[:3]]


@pytest.mark.parametrize("targets", [["lm_head"], ["lm_head", "embed_tokens"]])
def test_a_stage_on_tied_weights_is_merged_whole(targets: list[str], tasks: Path, tmp_path: Path) -> None:
    """What the next method starts from is the stage's model: untrained beyond it, the run says what the stage's model says."""
    folder = tiny.write_base(tmp_path / "tied", "llama", tie_word_embeddings=True)
    base = load_base(str(folder), device="cpu", precision="fp32")
    lora = {"name": "lora", "targets": targets}
    large = {"max_steps": 12, "batch_size": 8, "lr": 0.1}
    chosen = settings(tasks, folder, method=lora, stage={"method": lora, "train": large}, train={"max_steps": 0})
    same = carry_out(tmp_path / "same", chosen, base)  # the same method goes on, so nothing is merged
    merged = carry_out(tmp_path / "merged", {**chosen, "method": {"name": "none"}}, base)
    texts = (same.folder / "predictions.jsonl").read_bytes()
    assert (merged.folder / "predictions.jsonl").read_bytes() == texts
    assert base.output_embeddings.weight is base.input_embeddings.weight
    rows = [json.loads(line) for line in texts.decode().splitlines()]
    assert open_adapted(merged.folder).generate([row["input"] for row in rows[:3]]) == [row["prediction"] for row in rows[:3]]


@pytest.mark.parametrize("method", ["bottleneck", "prefix", "combined"])
def test_after_a_failed_stage_an_open_base_is_as_it_was(
    method: str, tasks: Path, base_folder: Callable[[str], Path], open_base: Callable[[str], Base], tmp_path: Path
) -> None:
    base = open_base("llama")
    plain = settings(tasks, base_folder("llama"), method="none", stages=[])
    before = carry_out(tmp_path / "before", plain, base)
    parameters = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    exploding = {"train": {"max_steps": 4, "lr": 1e20, "warmup": 0.0}}
    with pytest.raises(RunError, match="stage 1 diverged"):
        carry_out(tmp_path / "failed", settings(tasks, base_folder("llama"), method=method, stage=exploding), base)
    assert not hooks_left(base)
    assert (base.learned_prefix, base.embedding_addition, base.instance_vectors) == (None, None, None)
    left = dict(base.model.named_parameters())
    assert left.keys() == parameters.keys()
    assert all(torch.equal(left[name], parameter) for name, parameter in parameters.items())
    after = carry_out(tmp_path / "after", plain, base)
    assert (after.folder / "predictions.jsonl").read_bytes() == (before.folder / "predictions.jsonl").read_bytes()


@pytest.mark.parametrize("fails", ["load", "merge"])
def test_a_stage_that_cannot_be_followed_leaves_nothing_on_an_open_base(
    fails: str,
    tasks: Path,
    base_folder: Callable[[str], Path],
    open_base: Callable[[str], Base],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when memory runs out: between a trained stage and what follows it, by parameters or by merging."""
    base = open_base("llama")

    def fail(*_: Any) -> None:
        raise MemoryError

    if fails == "load":
        chosen = settings(tasks, base_folder("llama"), method="bottleneck")
        monkeypatch.setattr("xeric.methods.base.Adaptation.load_state", fail)
        monkeypatch.setattr("xeric.methods.module_adaptation.ModuleAdaptation.load", lambda *_: None)
    else:
        chosen = settings(tasks, base_folder("llama"), method="bottleneck", stage={"method": {"name": "lora"}})
        monkeypatch.setattr("xeric.methods.lora._LoraAdaptation.merge", fail)
    names = {name for name, _ in base.model.named_parameters()}
    with pytest.raises(MemoryError):
        carry_out(tmp_path / "failed", chosen, base)
    assert not hooks_left(base)
    assert {name for name, _ in base.model.named_parameters()} == names


SHARED: list[dict[str, Any]] = [
    {"name": "prefix", "scope": "shared"},
    {"name": "prefix", "scope": "shared", "level": "input"},
    {"name": "adaptive_prefix", "scope": "shared"},
    {"name": "adaptive_prefix", "scope": "shared", "kind": "generated"},
    {"name": "combined", "prefix": {"scope": "shared"}},
]


@pytest.fixture
def longer(tasks: Path) -> Path:
    """The tasks, the run's own with a longer definition than that of the others."""
    path = tasks / "target.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["Definition"] = ["Write the words of the input once more, the last one of them first, and add nothing else to them."]
    path.write_text(json.dumps(data), encoding="utf-8")
    return tasks


@pytest.mark.parametrize("method", SHARED)
def test_a_shared_prefix_goes_on_with_the_length_of_the_definition_that_it_started_from(
    method: dict[str, Any], longer: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """Untrained beyond the stage, the run has the stage's prefix, and is opened again with it."""
    chosen = settings(longer, base_folder("llama"), method=method, train={"max_steps": 0})
    run = carry_out(tmp_path / "out", chosen)
    opened = open_adapted(run.folder)
    plain = open_adapted(carry_out(tmp_path / "plain", {**chosen, "stages": []}).folder)
    learned, own = opened.base.learned_prefix, plain.base.learned_prefix
    assert learned is not None
    assert own is not None
    assert learned.length("target") < own.length("target")
    from_run = carry_out(
        tmp_path / "on", settings(longer, base_folder("llama"), method=method, stages=[], from_run=str(run.folder))
    )
    assert from_run.record.status == "ok"
    state = {name: tensor for name, tensor in opened.adaptation.state().items() if name.startswith("prompt_prefix")}
    (folder,) = (p.parent for p in (tmp_path / "stages").rglob("stage.json"))
    opened.adaptation.load(folder)
    assert all(torch.equal(tensor, opened.adaptation.state()[name]) for name, tensor in state.items())
    rows = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert open_adapted(run.folder).generate([row["input"] for row in rows[:3]]) == [row["prediction"] for row in rows[:3]]


@pytest.mark.parametrize("method", SHARED[:3:2])
def test_a_shared_prefix_of_a_run_goes_on_on_another_task(
    method: dict[str, Any], longer: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    chosen = settings(longer, base_folder("llama"), method=method, stages=[])
    first = carry_out(tmp_path / "first", {**chosen, "tasks": ["source"]})
    on = carry_out(tmp_path / "on", {**chosen, "from_run": str(first.folder), "train": {"max_steps": 0}})
    (state, expected) = (open_adapted(run.folder).adaptation.state() for run in (on, first))
    assert state.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


def test_a_stage_gives_no_test_instance_of_the_run_away(tasks: Path, base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    """The source task holds the target's instances with other words at the front."""
    target = tiny.task_data("target", instances=60)
    leaking = tiny.task_data("source", instances=60)
    for instance, secret in zip(leaking["Instances"], target["Instances"], strict=True):
        words = " ".join(f"{secret['id'][7:]}w{n}" for n in range(14))
        secret["output"] = [words]
        instance["output"] = [f"As I said: {words}"]
    for name, data in (("target", target), ("source", leaking)):
        (tasks / f"{name}.json").write_text(json.dumps(data), encoding="utf-8")
    config, _ = run_config(settings(tasks, base_folder("llama")))
    data = prepare_run(config)
    (stage,) = plan_stages(config, data, {}, {})
    number = {
        task.name: {part: {i.id.rpartition("-")[2] for i in getattr(task, part)} for part in ("train", "dev", "test")}
        for task in (*data.tasks, *stage.data.tasks)
    }
    trained = number["source"]["train"] | number["source"]["dev"]
    assert len(trained) > 20
    assert trained.isdisjoint(number["target"]["test"])
    assert trained & number["target"]["train"], "what leaks no test instance is trained on"
    assert stage.data.leaks["between"][0]["test_task"] == "target"


@pytest.mark.parametrize(
    ("changes", "where", "match"),
    [
        ({"stage": {"method": {"name": "bottleneck"}}}, "stages.0.method", "cannot be merged"),
        ({"method": "none"}, "stages.0.method", "trains"),
        ({"stage": {"tasks": ["target"]}}, "stages", "which is scored"),
        ({"stage": {"tasks": ["nowhere"]}}, None, "nowhere"),
        ({"stage": {"method": {"name": "lora", "rank": 0}}}, "stages.N.method.rank", ""),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_computed(
    changes: dict[str, Any], where: str | None, match: str, tasks: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=match) as caught:
        carry_out(tmp_path / "out", settings(tasks, base_folder("llama"), **changes))
    if where is not None:
        assert isinstance(caught.value, ConfigError)
        assert caught.value.where == where
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "stages").exists()


def test_dev_predictions_stand_beside_and_test_may_stay_untouched(
    tasks: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    chosen = {**settings(tasks, base_folder("llama")), "stages": [], "data": {"n_train": 60, "dev_fraction": 0.25}}
    both = carry_out(tmp_path / "both", {**chosen, "predict": ["test", "dev"]})
    dev = carry_out(tmp_path / "dev", {**chosen, "predict": ["dev"]})
    assert dev.record.scores == {}
    assert not (dev.folder / "predictions.jsonl").exists()
    name = "dev_predictions.jsonl"
    assert (dev.folder / name).read_bytes() == (both.folder / name).read_bytes()
    ids = [
        {json.loads(line)["id"] for line in (both.folder / file).read_text(encoding="utf-8").splitlines()}
        for file in (name, "predictions.jsonl")
    ]
    assert ids[0]
    assert ids[0].isdisjoint(ids[1])
