"""The work of an arm's runs, counted before they start: tokens of rows, steps, texts.

Tokens are counted on the first instances of each task, which stand for the rest.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import NamedTuple

from xeric.bases.base import Base
from xeric.data.batching import Batching
from xeric.data.demonstrations import choose_demonstrations, retrievable_examples
from xeric.data.preparing import Prepared, PreparedTask
from xeric.data.rows import EncodedTask
from xeric.data.splits import MIN_FOR_DEV
from xeric.decoding import DecodeOptions, default_limit
from xeric.execution.operations import Parts, Row, Size, Speed, Work, batch_work, epoch_batches, reading_operations
from xeric.execution.probe import Shape
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.progress import Silent
from xeric.run.config import RunConfig
from xeric.run.task_session import TaskSession
from xeric.training.options import TrainOptions, planned_steps

__all__ = ["Counts", "Decoding", "Training", "counts_of", "decoding_of", "encoded_sample", "training_of"]

_SAMPLE = 64
"""Instances of a task whose tokens are counted."""


class Counts(NamedTuple):
    """Instances of a task."""

    train: int
    dev: int
    test: int


@dataclass(frozen=True)
class Training:
    """The training of one run.

    Attributes:
        steps: of the optimiser, as planned, without early stopping.
        step: mean work of a step.
        looks: evaluations on dev.
        look: work of one evaluation.
        shape: its usual micro-batch.
        largest: rows of the micro-batch with most tokens.
    """

    steps: int
    step: Work
    looks: int
    look: Work
    shape: Shape
    largest: tuple[Row, ...]

    def seconds(self, speed: Speed, size: Size, parts: Parts, trainable: int, *, recomputing: bool) -> float:
        """Return how long the steps take, the optimiser included."""
        step = speed.training(size, self.step, parts, recomputing=recomputing) + speed.parameter * trainable
        return self.steps * step

    def looking(self, speed: Speed, size: Size, parts: Parts) -> float:
        """Return how long the evaluations by dev loss take."""
        return self.looks * speed.evaluating(size, self.look, parts)


@dataclass(frozen=True)
class Decoding:
    """The decoding of one split of the data.

    Attributes:
        prompts: work of reading the prompts.
        batches: how many batches the texts are decoded in.
        sequences: mean number decoded together in a batch.
        new: limit of new tokens per text; trained models often stop earlier.
    """

    prompts: Work
    batches: int
    sequences: float
    new: int

    def seconds(self, speed: Speed, size: Size, parts: Parts) -> float:
        """Return how long it takes."""
        reading = speed.reading * reading_operations(size, self.prompts, parts.added)
        return reading + self.batches * self.new * speed.token(size, parts, self.sequences)


def encoded_sample(base: Base, config: RunConfig, data: Prepared) -> dict[str, EncodedTask]:
    """Return the rows of the first instances of each task, encoded as in a run on a base without a method.

    Args:
        base: the base.
        config: of the run; its prompts may show other demonstrations than the data were prepared with.
        data: the run's tasks.

    Raises:
        ConfigError: a task has fewer demonstrations than the prompt is to show.
        DataError: a definition leaves no room in the base's context.
    """
    options = config.prompt

    def cut(task: PreparedTask) -> PreparedTask:
        demonstrations, _ = choose_demonstrations(task.task, task.train, options.demonstration_count, options.demonstration_seed)
        shown, retrievable = tuple(demonstrations), retrievable_examples(task.task, task.train)
        sample = (task.train or task.test)[:_SAMPLE]
        return replace(task, demonstrations=shown, retrievable=retrievable, train=sample, dev=(), test=())

    session = TaskSession(
        base,
        METHODS.get("none").attach(base, method_options("none"), seed=0),
        replace(data, tasks=tuple(cut(task) for task in data.tasks)),
        config.train_setup,
        prompt=options,
        decoding=config.decode,
        progress=Silent(),
    )
    return {rows.data.name: rows.train for rows in session.rows if rows.train.rows}


def counts_of(task: PreparedTask, n_train: int | None) -> Counts:
    """Return the instances of an arm that uses ``n_train`` examples; None is as the task was prepared."""
    examples = len(task.train) + len(task.dev)
    if n_train is None or not examples:
        return Counts(len(task.train), len(task.dev), len(task.test))
    dev = round(n_train * len(task.dev) / examples) if n_train >= MIN_FOR_DEV else 0
    return Counts(n_train - dev, dev, len(task.test))


def training_of(
    encoded: Mapping[str, EncodedTask],
    counts: Mapping[str, Counts],
    options: TrainOptions,
    *,
    batching: Batching,
    learned: int = 0,
) -> Training | None:
    """Return the training of a run; None where there is nothing to train on.

    Args:
        encoded: first rows of its tasks.
        counts: instances of its tasks.
        options: how it trains.
        batching: how the rows of a micro-batch are computed.
        learned: length of a learned prefix of keys and values.
    """
    train = [row for task, task_rows in encoded.items() for row in _repeated(task_rows, counts[task].train)]
    dev = [row for task, task_rows in encoded.items() for row in _repeated(task_rows, counts[task].dev)]
    steps = planned_steps(options, len(train)) if train else 0
    if not steps:
        return None
    size = options.batch_size

    def batches_of(rows: list[Row], micro_batch_size: int) -> list[list[Row]]:
        return epoch_batches(rows, batch_size=size, micro_batch_size=micro_batch_size, batching=batching)

    def work_of(batch: Sequence[Row]) -> Work:
        return batch_work(batch, batching, learned=learned)

    epoch = batches_of(train, options.micro_batch_size or size)
    steps_per_epoch = math.ceil(len(train) / size)
    looks, look = 0, Work()
    if dev and options.selects:
        looks = math.ceil(steps / (options.dev_every or steps_per_epoch))
        look = sum(map(work_of, batches_of(dev, size)), Work())
    shape = Shape(
        prefix=round(statistics.fmean(row.prefix for row in train)),
        rows=max(round(len(train) / len(epoch)), 1),
        tokens=round(statistics.fmean(row.tokens for row in train)),
        targets=max(round(statistics.fmean(row.targets for row in train)), 1),
    )
    step = sum(map(work_of, epoch), Work()) * (1 / steps_per_epoch)
    largest: list[Row] = max(epoch, key=lambda batch: work_of(batch).tokens)
    return Training(steps, step, looks, look, shape, tuple(largest))


def decoding_of(
    encoded: Mapping[str, EncodedTask],
    texts: Mapping[str, int],
    options: DecodeOptions,
    *,
    context: int,
    shared: bool,
    learned: int = 0,
) -> Decoding:
    """Return the decoding of ``texts`` texts of each task; see :func:`training_of`.

    Args:
        encoded: first rows of the tasks.
        texts: number of texts of each task.
        options: how to decode.
        context: of the base.
        shared: whether the prefix is computed once per task.
        learned: length of a learned prefix.
    """
    copies = options.candidates if options.strategy == "mbr" else 1
    size, beams = max(options.batch_size // copies, 1), options.beams if options.strategy == "beam" else 1
    prompts, batches, sequences = Work(), 0, 0
    targets = [row.targets for task_rows in encoded.values() for row in _rows(task_rows)]
    for task, task_rows in encoded.items():
        rows, count = _rows(task_rows), texts.get(task, 0)
        if not count:
            continue
        prefix = round(statistics.fmean(row.prefix for row in rows))
        input_tokens = round(statistics.fmean(row.tokens - row.targets for row in rows))
        read = [Row(task, prefix, input_tokens, 1)] * (count * copies)
        prompts += batch_work(read, "shared" if shared else "plain", learned=learned)
        batches += math.ceil(count / size)
        sequences += count * copies * beams
    new = options.max_new_tokens or default_limit(targets, context)
    return Decoding(prompts, batches, sequences / max(batches, 1), new)


def _rows(encoded: EncodedTask) -> list[Row]:
    return [Row(encoded.task, len(encoded.prefix_of(row).ids), len(row.ids), row.target_tokens) for row in encoded.rows]


def _repeated(encoded: EncodedTask, count: int) -> list[Row]:
    """Return ``count`` rows: the first ones, repeated."""
    return list(islice(cycle(_rows(encoded)), count))
