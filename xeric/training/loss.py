"""The joint objective: losses of tasks, accumulated over micro-batches, equal to those of the whole batch.

The loss of task j in an optimiser step is L_j = - sum over target tokens of log P(y | x, I_j, D_j), divided by the
number of target tokens of that task in the *whole* step, so that accumulating micro-batches equals one large batch; the
step's loss is sum_j lambda_j L_j (the paper's joint objective). Prompt tokens carry no loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from xeric.bases.base import Base
from xeric.data.batching import Batching, micro_batches
from xeric.data.encoding import EncodedTask, InstanceRow, grouped_rows

__all__ = ["Rows", "dev_loss", "step_loss"]


@dataclass(frozen=True)
class Rows:
    """Rows of several tasks as one list of indices, the form that batching works on."""

    tasks: Sequence[EncodedTask]
    items: list[tuple[EncodedTask, InstanceRow]]

    @classmethod
    def of(cls, tasks: Sequence[EncodedTask]) -> Rows:
        """Return the rows of tasks, task by task."""
        return cls(tasks, [(task, row) for task in tasks for row in task.rows])

    @cached_property
    def groups(self) -> list[tuple[str, int]]:
        """Task and prefix row of each row."""
        return [(task.task, row.prefix) for task, row in self.items]

    @cached_property
    def prefix_lengths(self) -> list[int]:
        """Tokens of the prefix row of each row."""
        return [len(task.prefix_of(row).ids) for task, row in self.items]

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(row.ids) for _, row in self.items]

    def micro_batches(self, size: int, batching: Batching) -> list[list[tuple[EncodedTask, InstanceRow]]]:
        """Return all rows in micro-batches of at most ``size``."""
        batches = micro_batches(range(len(self.items)), self.groups, self.lengths, size, batching, self.prefix_lengths)
        return [[self.items[index] for index in batch] for batch in batches]


def step_loss(
    base: Base,
    rows: Sequence[Sequence[tuple[EncodedTask, InstanceRow]]],
    *,
    weights: Mapping[str, float] | None = None,
    shared: bool = True,
    backward: bool = True,
) -> dict[str, float]:
    """Compute the losses of one optimiser step, micro-batch by micro-batch, and their gradients.

    Args:
        base: the base, a method attached.
        rows: micro-batches, as :mod:`xeric.data.batching` makes them; rows of several tasks or prefix rows may be in one.
        weights: lambda of each task; None is 1 for all.
        shared: compute each prefix once per micro-batch.
        backward: accumulate gradients of ``sum_j lambda_j L_j``.

    Returns:
        L_j of every task in the step, in nats per target token.
    """
    counts: dict[str, int] = {}
    for batch in rows:
        for task, row in batch:
            counts[task.task] = counts.get(task.task, 0) + row.target_tokens
    shares = {task: (1.0 if weights is None else weights[task]) / count for task, count in counts.items()}
    sums = dict.fromkeys(counts, 0.0)
    for batch in rows:
        groups = grouped_rows(batch)
        sizes = [sum(row.target_tokens for row in group.rows) for group in groups]
        repeats = torch.tensor(sizes, device=base.device)
        coefficients = torch.tensor([shares[group.prefix.task] for group in groups], device=base.device).repeat_interleave(
            repeats
        )
        with base.autocast():
            total, losses = base.target_losses(groups, coefficients, shared=shared)
        if backward:
            total.backward()
        for group, of_group in zip(groups, losses.split(sizes), strict=True):
            sums[group.prefix.task] += float(of_group.sum())
    return {task: sums[task] / count for task, count in counts.items()}


@torch.no_grad()
def dev_loss(base: Base, tasks: Sequence[EncodedTask], *, batch_size: int, shared: bool = True) -> float:
    """Return the mean over tasks of the loss in nats per target token, in evaluation mode."""
    rows = Rows.of(tasks)
    with base.mode(training=False):
        losses = step_loss(base, rows.micro_batches(batch_size, base.batching(shared=shared)), shared=shared, backward=False)
    return sum(losses.values()) / len(losses)
