"""The training loop: accumulation, order, selection, divergence, and going on after a kill."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import rows
from tests.attached import train
from xeric.bases.base import Base
from xeric.data.rows import EncodedTask
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, method_options
from xeric.training.checkpoint import CheckpointFile
from xeric.training.loss import Rows, dev_loss, step_loss
from xeric.training.options import TrainOptions, planned_steps
from xeric.training.result import TrainResult


def attach(base: Base, **options: Any) -> Adaptation:
    return METHODS.get("lora").attach(base, method_options({"name": "lora", "rank": 4, **options}), seed=0)


def two_tasks(base: Base) -> list[EncodedTask]:
    return [rows.training_rows(base, rows.task("one"), 9), rows.training_rows(base, rows.task("two", language="Hindi"), 4)]


def go(base: Base, adaptation: Adaptation, tasks: list[EncodedTask], options: TrainOptions, **more: Any) -> TrainResult:
    return train(base, adaptation, tasks, options, **{"lr": 2e-3, "order_seed": 0, "dropout_seed": 0, **more})


def log_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_accumulation_equals_the_big_batch(open_base: Callable[[str], Base]) -> None:
    """One step over both tasks in micro-batches of 2 has the losses and gradients of the step taken whole."""
    base = open_base("llama")
    items = Rows.of(two_tasks(base)).items
    base.model.requires_grad_(True)

    def gradients(batches: list[Any]) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        base.model.zero_grad()
        losses = step_loss(base, batches)
        return losses, {n: p.grad.clone() for n, p in base.model.named_parameters() if p.grad is not None}

    whole, expected = gradients([items[:9], items[9:]])
    parts, accumulated = gradients([items[0:2], items[9:11], items[2:4], items[4:6], items[6:8], items[11:13], items[8:9]])
    assert parts == pytest.approx(whole, rel=1e-5)
    for name, gradient in expected.items():
        assert (accumulated[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-8, name


def test_micro_batch_size_moves_memory_and_not_the_result(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    tasks = two_tasks(base)
    states = []
    for size in (None, 1, 3):
        adaptation = attach(base)
        go(base, adaptation, tasks, TrainOptions(max_steps=4, batch_size=8, micro_batch_size=size))
        states.append(adaptation.state())
        adaptation.detach()
    for other in states[1:]:
        for name, tensor in states[0].items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-5)


def test_losses_by_hand_for_two_tasks(open_base: Callable[[str], Base]) -> None:
    """L_j divides by the target tokens of its own task in the whole step; lambda multiplies, tasks add up."""
    base = open_base("llama")
    tasks = two_tasks(base)
    expected = {}
    for task in tasks:
        total = 0.0
        for row in task.rows:
            ids = torch.tensor([[*task.prefix_of(row).ids, *row.ids]])
            with torch.no_grad():
                logs = torch.log_softmax(base.model(ids).logits[0].double(), -1)
            start = len(task.prefix_of(row).ids) + row.target_start
            total -= sum(float(logs[at - 1, int(ids[0, at])]) for at in range(start, ids.shape[1]))
        expected[task.task] = total / sum(row.target_tokens for row in task.rows)
    items = Rows.of(tasks).items
    adaptation = attach(base)
    losses = step_loss(base, [items[:9], items[9:]], weights={"one": 0.5, "two": 1.5})
    assert losses == pytest.approx(expected, rel=1e-5)
    weighted = {n: p.grad.clone() for n, p in adaptation.trainable().items() if p.grad is not None}
    by_task = []
    for batch in (items[:9], items[9:]):
        base.model.zero_grad()
        step_loss(base, [batch])
        by_task.append({n: p.grad.clone() for n, p in adaptation.trainable().items() if p.grad is not None})
    for name, gradient in weighted.items():
        torch.testing.assert_close(gradient, 0.5 * by_task[0][name] + 1.5 * by_task[1][name], rtol=1e-4, atol=1e-7)


class Killed(Exception):
    pass


class KillAfter:
    """A progress that ends the training as a kill would: between two steps, without a word."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def note(self, text: str) -> None: ...

    def start(self, phase: str, total: int, done: int = 0) -> None: ...

    def advance(self, units: int, loss: float | None = None) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


@pytest.mark.parametrize("kills", [[0], [3], [5, 4], [11]])
def test_killed_and_resumed_equals_undisturbed(kills: list[int], open_base: Callable[[str], Base], tmp_path: Path) -> None:
    """With dropout, two tasks, several epochs, dev selection and a checkpoint after every step: the same bytes."""
    base = open_base("llama")
    tasks = two_tasks(base)
    dev = [rows.training_rows(base, rows.task("one", seed=5), 4)]
    options = TrainOptions(max_steps=12, batch_size=4, checkpoint_seconds=0, dev_every=2, select="loss", patience=9)

    def run(folder: Path, progress: KillAfter | None = None) -> TrainResult:
        adaptation = attach(base, dropout=0.3)
        try:
            result = go(
                base,
                adaptation,
                tasks,
                options,
                evaluate=lambda: -dev_loss(base, dev, batch_size=4),
                checkpoint=CheckpointFile(folder / "checkpoint" / "training.safetensors", "key"),
                log=folder / "log.jsonl",
                progress=progress,
            )
            (folder / "adapter").mkdir()
            adaptation.save(folder / "adapter")
            return result
        finally:
            adaptation.detach()

    undisturbed = run(tmp_path / "a")
    for steps in kills:
        with pytest.raises(Killed):
            run(tmp_path / "b", KillAfter(steps))
    resumed = run(tmp_path / "b")
    assert resumed.done_steps == undisturbed.done_steps == 12
    assert resumed.best_step == undisturbed.best_step
    assert resumed.tokens == undisturbed.tokens
    for file in ("log.jsonl", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    times = log_of(tmp_path / "b" / "times.jsonl")
    assert [row["step"] for row in times] == list(range(1, 13))
    assert [row["seconds"] for row in times] == sorted(row["seconds"] for row in times)


def test_a_torn_or_foreign_checkpoint_is_as_good_as_none(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "c.safetensors", "ours")
    assert file.load() is None
    file.save({"a": torch.ones(3)}, {"step": 4})
    state = file.load()
    assert state is not None
    assert state[1] == {"step": 4}
    assert torch.equal(state[0]["a"], torch.ones(3))
    assert CheckpointFile(file.path, "theirs").load() is None
    file.path.write_bytes(file.path.read_bytes()[:40])
    assert file.load() is None
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_a_log_cut_short_by_a_crash_is_cut_back_to_the_checkpoint(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")
    tasks = two_tasks(base)
    options = TrainOptions(max_steps=6, batch_size=4, checkpoint_seconds=0)
    checkpoint = CheckpointFile(tmp_path / "c.safetensors", "key")
    adaptation = attach(base)
    with pytest.raises(Killed):
        go(base, adaptation, tasks, options, checkpoint=checkpoint, log=tmp_path / "log", progress=KillAfter(3))
    with (tmp_path / "log").open("a") as file:
        file.write('{"step": 99, "lo')
    go(base, adaptation, tasks, options, checkpoint=checkpoint, log=tmp_path / "log")
    assert [row["step"] for row in log_of(tmp_path / "log")] == [1, 2, 3, 4, 5, 6]


def test_a_loss_that_is_not_finite_ends_as_diverged(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")
    adaptation = attach(base)
    options = TrainOptions(max_steps=20, batch_size=4, warmup=0.0, clip=0.0)
    result = go(base, adaptation, two_tasks(base), options, lr=1e30, log=tmp_path / "log")
    assert result.status == "diverged"
    assert 0 < result.done_steps < 20
    assert "diverged" in log_of(tmp_path / "log")[-1]


def test_selection_keeps_the_best_weights_and_stops(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")
    adaptation = attach(base)
    values = iter([1.0, 3.0, 2.0, float("nan"), 2.5, 9.0])
    states: list[dict[str, torch.Tensor]] = []

    def evaluate() -> float:
        states.append(adaptation.state())
        return next(values)

    options = TrainOptions(max_steps=50, batch_size=4, dev_every=1, select="loss", patience=3)
    result = go(base, adaptation, two_tasks(base), options, evaluate=evaluate, log=tmp_path / "log")
    assert (result.done_steps, result.best_step) == (5, 2)
    assert all(torch.equal(adaptation.state()[name], tensor) for name, tensor in states[1].items())
    assert [row["dev"] for row in log_of(tmp_path / "log") if "dev" in row] == [1.0, 3.0, 2.0, None, 2.5]


def test_unless_dev_selects_the_weights_of_the_last_planned_step_are_kept(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")

    def never() -> float:
        raise AssertionError("dev must not be looked at")

    options = TrainOptions(max_steps=6, batch_size=4, dev_every=1, patience=1)
    result = go(base, attach(base), two_tasks(base), options, evaluate=never)
    assert (result.done_steps, result.best_step) == (6, None)


def test_more_steps_than_examples_and_more_batch_than_examples(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")
    task = rows.training_rows(base, rows.task("one"), 3)
    result = go(base, attach(base), [task], TrainOptions(max_steps=7, batch_size=16), log=tmp_path / "log")
    assert result.done_steps == 7
    assert result.tokens["target"] == 7 * sum(row.target_tokens for row in task.rows)
    assert len(log_of(tmp_path / "log")) == 7


def test_planned_steps() -> None:
    assert planned_steps(TrainOptions(epochs=3, batch_size=16), 33) == 9
    assert planned_steps(TrainOptions(epochs=3, max_steps=5), 33) == 5
    assert planned_steps(TrainOptions(max_steps=0), 33) == 0


@pytest.mark.parametrize(
    ("schedule", "last"), [("cosine", 0.5 * (1 + math.cos(math.pi * 8 / 9))), ("linear", 1 / 9), ("constant", 1.0)]
)
def test_schedules(schedule: str, last: float, open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")
    task = rows.training_rows(base, rows.task("one"), 2)
    options = TrainOptions(max_steps=12, batch_size=2, warmup=0.25, schedule=schedule)  # type: ignore[arg-type]
    go(base, attach(base), [task], options, lr=1.0e-3, log=tmp_path / "log")
    rates = [row["lr"]["lora"] for row in log_of(tmp_path / "log")]
    assert rates[:4] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3])
    assert rates[-1] == pytest.approx(1e-3 * last)


def test_order_and_dropout_seeds_are_apart(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")

    def losses(order: int, dropout: int, rate: float) -> list[float]:
        adaptation = attach(base, dropout=rate)
        log = tmp_path / f"{order}{dropout}{rate}"
        go(
            base,
            adaptation,
            two_tasks(base),
            TrainOptions(max_steps=3, batch_size=4),
            order_seed=order,
            dropout_seed=dropout,
            log=log,
        )
        adaptation.detach()
        return [row["loss"] for row in log_of(log)]

    assert losses(0, 0, 0.0) == losses(0, 7, 0.0) != losses(1, 0, 0.0)
    assert losses(0, 0, 0.5) != losses(0, 7, 0.5)


def test_training_leaves_the_callers_random_state_alone(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    go(base, attach(base, dropout=0.1), two_tasks(base), TrainOptions(max_steps=1))
    assert torch.equal(torch.rand(2), expected)


def test_bf16_trains_and_keeps_what_trains_in_float32(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    from xeric.bases.loading import load_base

    for name in ("lora", "full"):
        base = load_base(str(base_folder("llama")), device="cpu", precision="bf16")
        task = rows.training_rows(base, rows.task("one"))
        adaptation = METHODS.get(name).attach(base, method_options(name), seed=0)
        assert {p.dtype for p in adaptation.trainable().values()} == {torch.float32}
        log = tmp_path / name
        go(base, adaptation, [task], TrainOptions(max_steps=12, batch_size=8, schedule="constant"), lr=5e-3, log=log)
        losses = [row["loss"] for row in log_of(log)]
        assert losses[-1] < losses[0]
        adaptation.detach()
        assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}
