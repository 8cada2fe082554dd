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
from xeric.data.rows import EncodedTask, InstanceRow, grouped_rows
from xeric.training.processes import ALONE, Processes

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
    processes: Processes = ALONE,
    seed: int | None = None,
) -> dict[str, float]:
    """Compute the losses of one optimiser step, micro-batch by micro-batch, and their gradients.

    Args:
        base: the base, a method attached.
        rows: micro-batches, as :mod:`xeric.data.batching` makes them; rows of several tasks or prefix rows may be in one.
        weights: lambda of each task; None is 1 for all.
        shared: compute each prefix once per micro-batch.
        backward: accumulate gradients of ``sum_j lambda_j L_j``.
        processes: that share the micro-batches out; gradients are of this process's part, losses of the whole step.
        seed: of everything random; each micro-batch then has random numbers of its own. None takes them as they come.

    Returns:
        L_j of every task in the step, in nats per target token.
    """
    counts: dict[str, int] = {}
    for batch in rows:
        for task, row in batch:
            counts[task.task] = counts.get(task.task, 0) + row.target_tokens
    shares = {task: (1.0 if weights is None else weights[task]) / count for task, count in counts.items()}
    sums = dict.fromkeys(counts, 0.0)
    for number in processes.share([_tokens(batch) for batch in rows]):
        if seed is not None:
            torch.manual_seed((seed + number) % 2**63)
        groups = grouped_rows(rows[number])
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
    totals = processes.total([sums[task] for task in counts])
    return {task: total / count for (task, count), total in zip(counts.items(), totals, strict=True)}


def _tokens(batch: Sequence[tuple[EncodedTask, InstanceRow]]) -> int:
    """Return the tokens of a micro-batch, each prefix once."""
    prefixes = {(task.task, row.prefix): len(task.prefix_of(row).ids) for task, row in batch}
    return sum(len(row.ids) for _, row in batch) + sum(prefixes.values())


@torch.no_grad()
def dev_loss(
    base: Base, tasks: Sequence[EncodedTask], *, batch_size: int, shared: bool = True, processes: Processes = ALONE
) -> float:
    """Return the mean over tasks of the loss in nats per target token, in evaluation mode; ``processes`` share the rows out."""
    rows = Rows.of(tasks)
    with base.mode(training=False):
        batches = rows.micro_batches(batch_size, base.batching(shared=shared))
        losses = step_loss(base, batches, shared=shared, backward=False, processes=processes)
    return sum(losses.values()) / len(losses)
