"""Attaching methods to tiny bases, and looking at what they compute: what the tests of single methods share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from tests import rows
from xeric.bases.base import Base
from xeric.data.batching import micro_batches
from xeric.data.rows import EncodedTask, InstanceRow
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, method_options
from xeric.training.loss import Rows, step_loss
from xeric.training.options import TrainOptions, TrainSetup
from xeric.training.result import TrainResult
from xeric.training.trainer import Trainer

DEFINITIONS = {"one": rows.task("one").definition}
# Where the defaults are for matrices larger than any here.
SMALL_TUNERS: dict[str, dict[str, Any]] = {
    "peft:c3a": {"block_size": 16},
    "peft:fourierft": {"n_frequency": 100},
    "peft:miss": {"r": 8},
    "peft:psoft": {"r": 8},
    "peft:road": {"group_size": 8},
    "peft:shira": {"r": 4},
    "peft:vblora": {"vector_length": 16, "num_vectors": 16},
    "peft:waveft": {"n_frequency": 64},
}


def attach(base: Base, name: str, *, seed: int = 1, definitions: Mapping[str, str] = DEFINITIONS, **options: Any) -> Adaptation:
    chosen = method_options({"name": name, **options})
    return METHODS.get(name).attach(base, chosen, seed=seed, definitions=definitions)


def stir(adaptation: Adaptation, scale: float = 0.3) -> None:
    """Move every parameter, so that nothing is what it was at the start."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adaptation.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)


def hooks_left(base: Base) -> list[torch.nn.Module]:
    """Return the modules that carry a hook beside the one that every base has: on its output layer, which it opens with."""
    own = base.output_embeddings
    return [m for m in base.model.modules() if m._forward_hooks or len(m._forward_pre_hooks) != (m is own)]


def numbers(adaptation: Adaptation) -> int:
    return sum(parameter.numel() for parameter in adaptation.trainable().values())


def train(
    base: Base,
    adaptation: Adaptation,
    tasks: Sequence[EncodedTask],
    options: TrainOptions,
    *,
    lr: float,
    order_seed: int = 0,
    dropout_seed: int = 0,
    **more: Any,
) -> TrainResult:
    setup = TrainSetup(options, lr, {"order": order_seed, "dropout": dropout_seed})
    return Trainer(base, adaptation, tasks, setup, **more).run()


def fit(base: Base, adaptation: Adaptation, *tasks: EncodedTask, steps: int = 3, lr: float = 1e-2) -> None:
    options = TrainOptions(max_steps=steps, batch_size=8, schedule="constant", warmup=0.0)
    assert train(base, adaptation, tasks, options, lr=lr, order_seed=0, dropout_seed=0).status == "ok"


def batches(*tasks: EncodedTask) -> list[list[tuple[EncodedTask, InstanceRow]]]:
    """Micro-batches of at most three rows, each of one task and one prefix row."""
    of = Rows.of(tasks)
    return [[of.items[i] for i in batch] for batch in micro_batches(range(len(of.items)), of.groups, of.lengths, 3)]


def slope(base: Base, task: EncodedTask, along: Mapping[nn.Parameter, torch.Tensor], step: float) -> float:
    """The slope of a loss along a direction, by finite differences; the parameters are as before afterwards."""
    size = math.sqrt(sum(float((direction**2).sum()) for direction in along.values()))

    def move(steps: float) -> None:
        with torch.no_grad():
            for parameter, direction in along.items():
                parameter.add_(direction * (steps * step / size))

    losses = []
    for steps in (1, -2):
        move(steps)
        losses.append(loss_of(base, task))
    move(1)
    return (losses[0] - losses[1]) / (2 * step)


@torch.no_grad()
def loss_of(base: Base, task: EncodedTask) -> float:
    return step_loss(base, batches(task), backward=False)[task.task]


@torch.no_grad()
def logits_of(base: Base, task: EncodedTask, *, shared: bool = True) -> list[torch.Tensor]:
    """Return the logits at the targets of each row; the rows of a task with one prefix row."""
    logits, _ = base.target_logits(task.prefixes[task.rows[0].prefix], task.rows, shared=shared)
    return list(logits.split([row.target_tokens for row in task.rows]))


def gradients(
    base: Base, adaptation: Adaptation, *tasks: EncodedTask, shared: bool = True
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Return losses and the gradient of every parameter that got one, in training mode."""
    for parameter in adaptation.trainable().values():
        parameter.grad = None
    with base.mode(training=True):
        losses = step_loss(base, batches(*tasks), shared=shared)
    return losses, {n: p.grad.clone() for n, p in adaptation.trainable().items() if p.grad is not None}


def assert_same_gradients(
    actual: tuple[dict[str, float], dict[str, torch.Tensor]], other: tuple[dict[str, float], dict[str, torch.Tensor]]
) -> None:
    """Losses and gradients agree to 1e-5, gradients relative to the largest of their parameter."""
    (losses, gradients), (expected_losses, expected) = actual, other
    assert set(gradients) == set(expected)
    for task, loss in expected_losses.items():
        assert abs(losses[task] - loss) < 1e-5 * loss
    for name, gradient in expected.items():
        assert (gradients[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max() + 1e-7, name
