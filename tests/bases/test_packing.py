"""Rows of several tasks in one sequence give the losses and gradients of rows computed whole, whatever a method adds to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests import rows
from tests.attached import assert_same_gradients, attach, batches, stir
from xeric.bases.base import Base
from xeric.data.rows import EncodedTask
from xeric.methods.base import Adaptation
from xeric.training.loss import Rows, step_loss

DEFINITIONS = {"one": "Turn the words around.", "two": "Say the last word first."}


def two_tasks(base: Base) -> list[EncodedTask]:
    """Rows of two tasks, those of the first behind all of its prefix rows, with and without demonstrations."""
    first = rows.over_several_prefixes(rows.training_rows(base, rows.task("one"), 6))
    return [first, rows.training_rows(base, rows.task("two", language="Hindi"), 3)]


def gradients(
    base: Base, adaptation: Adaptation, micro_batches: list[Any], *, shared: bool
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    for parameter in adaptation.trainable().values():
        parameter.grad = None
    losses = step_loss(base, micro_batches, weights={"one": 0.5, "two": 1.5}, shared=shared)
    return losses, {name: p.grad.clone() for name, p in adaptation.trainable().items() if p.grad is not None}


@pytest.mark.parametrize("shape", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("full", {}),
        ("lora", {}),
        ("bottleneck", {}),
        ("prefix", {}),
        ("prefix", {"level": "input"}),
        ("embedding", {}),
        ("combined", {}),
    ],
)
def test_a_step_of_two_tasks_in_one_micro_batch(
    name: str, options: dict[str, Any], shape: str, open_base: Callable[[str], Base]
) -> None:
    base = open_base(shape)
    tasks = two_tasks(base)
    adaptation = attach(base, name, definitions=DEFINITIONS, **options)
    stir(adaptation, 0.05)
    tasks = two_tasks(base)  # a learned prefix may stand for their BOS
    assert base.batching() == "packed"
    assert_same_gradients(
        gradients(base, adaptation, [Rows.of(tasks).items], shared=True),
        gradients(base, adaptation, batches(*tasks), shared=False),
    )


def test_the_models_attention_is_put_back(open_base: Callable[[str], Base]) -> None:
    base = open_base("gemma3")
    tasks = two_tasks(base)
    before, _ = base.target_logits(tasks[1].prefixes[-1], tasks[1].rows)
    step_loss(base, [Rows.of(tasks).items], backward=False)
    assert base.model.config._attn_implementation == "sdpa"
    after, _ = base.target_logits(tasks[1].prefixes[-1], tasks[1].rows)
    assert torch.equal(before, after)


def test_a_model_that_ignores_positions_is_found_out(open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch) -> None:
    base = open_base("llama")
    forward = base.model.model.forward

    def deaf(*args: object, position_ids: object = None, **kwargs: object) -> object:
        return forward(*args, **kwargs)

    monkeypatch.setattr(base.model.model, "forward", deaf)
    assert base.batching() == "shared"


def test_eager_attention_is_not_packed(open_base: Callable[[str], Base]) -> None:
    """It has a function of its own in every family: caps on scores, sinks."""
    base = open_base("llama")
    base.model.set_attn_implementation("eager")
    assert base.batching() == "shared"


def test_a_target_that_opens_its_row_is_predicted_by_the_prefix(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    task = rows.training_rows(base, rows.task("one"), 2)
    bare = EncodedTask(
        task.task,
        task.prefixes,
        tuple(type(row)(row.id, row.prefix, row.ids[row.target_start :], row.kinds[row.target_start :], 0) for row in task.rows),
    )
    loss = step_loss(base, [Rows.of([bare]).items], backward=False)["one"]
    total = 0.0
    for row in bare.rows:
        prefix = bare.prefix_of(row).ids
        logits = base.model(input_ids=torch.tensor([[*prefix, *row.ids]])).logits[0, len(prefix) - 1 : -1]
        total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(row.ids), reduction="sum").detach())
    assert loss == pytest.approx(total / sum(len(row.ids) for row in bare.rows), rel=1e-5)
