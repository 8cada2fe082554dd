"""The settings of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from xeric.config import Config
from xeric.data.batching import steps_per_epoch
from xeric.training.weighting import WeightingOptions

__all__ = ["TrainOptions", "TrainSetup", "planned_steps"]


class TrainOptions(Config):
    """How to train (``train.*``).

    Attributes:
        lr: peak learning rate; None takes the method's documented default.
        epochs: passes over the training instances.
        max_steps: optimiser steps; if given, it replaces ``epochs``.
        seconds: time for the training, dev evaluations included; where the planned steps take longer, as many as fit are taken,
            and the schedule is that of so many steps (:mod:`xeric.training.budget`). None is no limit.
        batch_size: instances in an optimiser step.
        micro_batch_size: the most instances computed at once; None is ``batch_size``. It affects memory, not the result.
        schedule: of the learning rate after warm-up.
        warmup: share of the steps over which the learning rate rises from 0.
        weight_decay: of AdamW (Loshchilov & Hutter 2019), on the groups that take it.
        clip: largest norm of the gradient; 0 is no clipping.
        select: which weights are kept: those of the ``last`` planned step, or those with the best dev ``loss`` or ``chrf``
            (chrF++ of decoded dev instances, slower). Without a dev set (under 50 examples) the last ones are.
        dev_every: optimiser steps between evaluations, where dev selects; None is once per epoch.
        patience: evaluations without improvement before stopping, where dev selects; None takes all planned steps.
        weighting: of the tasks in the joint loss; see :mod:`xeric.training.weighting`.
        shared_prefix: compute the task prefix once per micro-batch; false computes it for every row, for comparison.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them: less memory, more time,
            and the task prefix is computed for every row.
        checkpoint_seconds: shortest time between checkpoints; it does not affect the result.
    """

    lr: float | None = Field(default=None, gt=0, le=1e30)
    epochs: int = Field(default=3, ge=1, le=1_000_000)
    max_steps: int | None = Field(default=None, ge=0, le=1_000_000_000)
    seconds: float | None = Field(default=None, gt=0, le=1e9)
    batch_size: int = Field(default=8, ge=1, le=1_000_000)
    micro_batch_size: int | None = Field(default=None, ge=1, le=1_000_000)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0, le=1e6)
    clip: float = Field(default=1.0, ge=0, le=1e30)
    select: Literal["last", "loss", "chrf"] = "last"
    dev_every: int | None = Field(default=None, ge=1, le=1_000_000_000)
    patience: int | None = Field(default=3, ge=1, le=1_000_000_000)
    weighting: WeightingOptions = WeightingOptions()
    shared_prefix: bool = True
    gradient_checkpointing: bool = False
    checkpoint_seconds: float = Field(default=60.0, ge=0, le=1e9)

    @property
    def selects(self) -> bool:
        """Whether dev decides which weights are kept."""
        return self.select != "last"

    @property
    def deciding(self) -> dict[str, Any]:
        """The settings that decide a result; newer ones only where they are used, so that the ids of older runs hold."""
        unused = {"checkpoint_seconds"} | ({"seconds"} if self.seconds is None else set())
        return self.model_dump(mode="json", exclude=unused)


@dataclass(frozen=True)
class TrainSetup:
    """How one training is done, with every unset setting filled in.

    Attributes:
        options: the settings.
        lr: peak learning rate.
        seeds: at least ``order`` (of instances) and ``dropout``.
        where: dotted path of ``options`` in the run's settings, for messages.
    """

    options: TrainOptions
    lr: float
    seeds: Mapping[str, int]
    where: str = "train"


def planned_steps(options: TrainOptions, instances: int) -> int:
    """Return how many optimiser steps the options plan for a number of training instances."""
    if options.max_steps is not None:
        return options.max_steps
    return options.epochs * steps_per_epoch(instances, options.batch_size)
