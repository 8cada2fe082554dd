"""The rows of every training step, a function of rows, options and a seed: a resumed training takes the same."""

from __future__ import annotations

from collections.abc import Sequence

from xeric.bases.base import Base
from xeric.data.batching import Batching, epoch_steps, step_at, steps_per_epoch
from xeric.data.rows import EncodedTask, InstanceRow
from xeric.training.loss import Rows
from xeric.training.options import TrainOptions, planned_steps

__all__ = ["MicroBatch", "StepPlan", "batching_of"]

MicroBatch = list[tuple[EncodedTask, InstanceRow]]
"""Rows that are computed together."""

_EPOCHS_EXAMINED = 10


def batching_of(base: Base, options: TrainOptions) -> Batching:
    """Return how a base computes the rows of a training's micro-batches."""
    return base.batching(shared=options.shared_prefix and not options.gradient_checkpointing)


class StepPlan:
    """The steps of a training.

    Args:
        tasks: training rows, one entry per task.
        options: how to train.
        seed: of the order of instances; which rows a step holds depends on nothing else.
        batching: how the base computes the rows of a micro-batch.
        processes: that share a step's micro-batches out; a micro-batch holds no more than one process's part of the rows.
    """

    def __init__(
        self, tasks: Sequence[EncodedTask], options: TrainOptions, seed: int, batching: Batching, processes: int = 1
    ) -> None:
        self.rows = Rows.of(tasks)
        self.per_epoch = steps_per_epoch(len(self.rows.items), options.batch_size)
        self._options, self._seed, self._batching = options, seed, batching
        self._micro_batch_size = min(options.micro_batch_size or options.batch_size, -(-options.batch_size // processes))
        self._epoch: tuple[int, list[list[list[int]]]] | None = None

    def batches(self, step: int) -> list[MicroBatch]:
        """Return the micro-batches of a step, counted from 0."""
        epoch, index = step_at(self.per_epoch, step)
        return [[self.rows.items[row] for row in batch] for batch in self._steps_of(epoch)[index]]

    def largest(self) -> MicroBatch:
        """Return the micro-batch with most tokens, in the first epochs; empty where there are no steps."""
        planned = planned_steps(self._options, len(self.rows.items)) if self.rows.items else 0
        epochs = range(min(-(-planned // self.per_epoch), _EPOCHS_EXAMINED)) if planned else ()
        batches = (batch for epoch in epochs for step in self._steps_of(epoch) for batch in step)
        lengths, prefixes, groups = self.rows.lengths, self.rows.prefix_lengths, self.rows.groups

        def tokens(batch: list[int]) -> int:
            if self._batching != "packed":
                return len(batch) * max(lengths[index] for index in batch)
            once = {groups[index]: prefixes[index] for index in batch}
            return sum(lengths[index] for index in batch) + sum(once.values())

        largest = max(batches, key=tokens, default=[])
        return [self.rows.items[index] for index in largest]

    def _steps_of(self, epoch: int) -> list[list[list[int]]]:
        if self._epoch is None or self._epoch[0] != epoch:
            steps = epoch_steps(
                self.rows.groups,
                self.rows.lengths,
                batch_size=self._options.batch_size,
                micro_batch_size=self._micro_batch_size,
                seed=self._seed,
                epoch=epoch,
                batching=self._batching,
                prefixes=self.rows.prefix_lengths,
            )
            self._epoch = (epoch, steps)
        return self._epoch[1]
