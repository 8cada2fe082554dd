"""The joint objective: losses of tasks, accumulated over micro-batches, equal to those of the whole batch.

The loss of task j in an optimiser step is L_j = - sum over target tokens of log P(y | x, I_j, D_j), divided by the
number of target tokens of that task in the *whole* step, so that accumulating micro-batches equals one large batch; the
step's loss is sum_j lambda_j L_j (the paper's joint objective). Prompt tokens carry no loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from xeric.bases.base import Base
from xeric.data.batching import micro_batches
from xeric.data.encoding import EncodedTask, InstanceRow
from xeric.training.cross_entropy import summed_cross_entropy

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

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Task and prefix row of each row; a micro-batch holds rows of one group."""
        return [(task.task, row.prefix) for task, row in self.items]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(row.ids) for _, row in self.items]


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
        rows: micro-batches; the rows of each share one task and one prefix row.
        weights: lambda of each task; None is 1 for all.
        shared: compute the prefix once per micro-batch.
        backward: accumulate gradients of ``sum_j lambda_j L_j``.

    Returns:
        L_j of every task in the step, in nats per target token.
    """
    counts: dict[str, int] = {}
    for batch in rows:
        for task, row in batch:
            counts[task.task] = counts.get(task.task, 0) + row.target_tokens
    losses = dict.fromkeys(counts, 0.0)
    for batch in rows:
        task = batch[0][0]
        with base.autocast():
            logits, targets = base.target_logits(task.prefix_of(batch[0][1]), [row for _, row in batch], shared=shared)
        total = summed_cross_entropy(logits, targets) / counts[task.task]
        del logits
        if backward:
            (total * (1.0 if weights is None else weights[task.task])).backward()
        losses[task.task] += float(total.detach())
    return losses


@torch.no_grad()
def dev_loss(base: Base, tasks: Sequence[EncodedTask], *, batch_size: int, shared: bool = True) -> float:
    """Return the mean over tasks of the loss in nats per target token, in evaluation mode."""
    rows = Rows.of(tasks)
    batches = micro_batches(range(len(rows.items)), rows.groups, rows.lengths, batch_size)
    with base.mode(training=False):
        losses = step_loss(base, [[rows.items[i] for i in batch] for batch in batches], shared=shared, backward=False)
    return sum(losses.values()) / len(losses)
