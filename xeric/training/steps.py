"""The rows of every training step, a function of rows, options and a seed: a resumed training takes the same."""

from __future__ import annotations

from collections.abc import Sequence

from xeric.data.batching import epoch_steps, step_at, steps_per_epoch
from xeric.data.encoding import EncodedTask, InstanceRow
from xeric.training.loss import Rows
from xeric.training.options import TrainOptions, planned_steps

__all__ = ["StepPlan"]

Step = list[list[tuple[EncodedTask, InstanceRow]]]
"""The micro-batches of a step; the rows of each share one task and one prefix row."""

_EPOCHS_EXAMINED = 10


class StepPlan:
    """The steps of a training.

    Args:
        tasks: training rows, one entry per task.
        options: how to train.
        seed: of the order of instances.
    """

    def __init__(self, tasks: Sequence[EncodedTask], options: TrainOptions, seed: int) -> None:
        self.rows = Rows.of(tasks)
        self.per_epoch = steps_per_epoch(len(self.rows.items), options.batch_size)
        self._options, self._seed = options, seed
        self._epoch: tuple[int, list[list[list[int]]]] | None = None

    def batches(self, step: int) -> Step:
        """Return the micro-batches of a step, counted from 0."""
        epoch, index = step_at(self.per_epoch, step)
        return [[self.rows.items[row] for row in batch] for batch in self._steps_of(epoch)[index]]

    def rows_together(self) -> int:
        """Return how many rows the largest micro-batch has, in the first epochs; 0 where there are no steps."""
        planned = planned_steps(self._options, len(self.rows.items)) if self.rows.items else 0
        epochs = range(min(-(-planned // self.per_epoch), _EPOCHS_EXAMINED)) if planned else ()
        return max((len(batch) for epoch in epochs for step in self._steps_of(epoch) for batch in step), default=0)

    def _steps_of(self, epoch: int) -> list[list[list[int]]]:
        if self._epoch is None or self._epoch[0] != epoch:
            steps = epoch_steps(
                self.rows.groups,
                self.rows.lengths,
                batch_size=self._options.batch_size,
                micro_batch_size=self._options.micro_batch_size or self._options.batch_size,
                seed=self._seed,
                epoch=epoch,
            )
            self._epoch = (epoch, steps)
        return self._epoch[1]
