"""How many operations training and decoding take, and how many seconds at a measured speed. Numbers only, no torch.

A token that passes through N parameters takes 2 N operations forward, as many again for the gradients of activations, and as many
again for the gradients of those parameters that train (Kaplan et al. 2020, arXiv 2001.08361, section 2.1). To these come
attention, 4 operations for each pair of positions and each unit of its width, and the output layer, computed only for positions
that predict something: with a vocabulary of 262,144 it is larger than a small model's body.

A base is timed once; what another method takes on it follows from its operations. bench/plan_estimate.py
measures ratios against this model (docs/concepts/estimates.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

from xeric.data.batching import Batching, epoch_steps

__all__ = [
    "Parts",
    "Row",
    "Size",
    "Speed",
    "Work",
    "batch_work",
    "epoch_batches",
    "fitted",
    "reading_operations",
    "training_operations",
]


@dataclass(frozen=True)
class Size:
    """The sizes of a base that determine its operations.

    Attributes:
        body: parameters that every token passes through (not the embeddings, which are looked up).
        head: parameters of the output layer, hidden size times vocabulary.
        attention: layers times width of attention.
    """

    body: int
    head: int
    attention: int


@dataclass(frozen=True)
class Parts:
    """The trained parameters of a model.

    Attributes:
        own: parameters of the base.
        added: parameters of linear maps that the method adds to every layer.
    """

    own: int = 0
    added: int = 0


@dataclass(frozen=True)
class Work:
    """What is computed, padding included.

    Attributes:
        tokens: that pass through the body.
        pairs: of a position and one that it attends to.
        outputs: positions whose logits are computed.
        batches: micro-batches.
        copies: positions of a prefix that are copied for the rows that continue it.
    """

    tokens: float = 0.0
    pairs: float = 0.0
    outputs: float = 0.0
    batches: float = 0.0
    copies: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*(mine + others for mine, others in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: float) -> Work:
        return Work(*(times * number for number in astuple(self)))


class Row(NamedTuple):
    """The tokens of one row: of its prefix, of the row itself (target included), and of its target."""

    task: str
    prefix: int
    tokens: int
    targets: int


def batch_work(rows: Sequence[Row], batching: Batching, *, learned: int = 0) -> Work:
    """Return the work of one micro-batch, forward.

    Args:
        rows: of one prefix, or of any where they are packed.
        batching: how they are computed.
        learned: positions in front of the prefix that are attended to and not computed (a learned prefix of keys and values).
    """
    count, width, prefix = len(rows), max(row.tokens for row in rows), rows[0].prefix
    outputs = sum(row.targets for row in rows)
    if batching == "packed":
        prefixes = [prefix for _, prefix in {(row.task, row.prefix) for row in rows}]
        pairs = sum(prefix * (learned + prefix) for prefix in prefixes)
        pairs += sum(row.tokens * (learned + row.prefix + row.tokens) for row in rows)
        copies = sum(learned + row.prefix for row in rows)
        return Work(sum(prefixes) + sum(row.tokens for row in rows), pairs, outputs, 1, copies)
    if batching == "shared":
        pairs = prefix * (learned + prefix) + count * width * (learned + prefix + width)
        return Work(prefix + count * width, pairs, outputs, 1, count * (prefix + learned) if count > 1 else 0)
    length = prefix + width
    return Work(count * length, count * length * (learned + length), outputs, 1)


def epoch_batches(rows: Sequence[Row], *, batch_size: int, micro_batch_size: int, batching: Batching) -> list[list[Row]]:
    """Return the micro-batches of the training loop in which every row comes once."""
    steps = epoch_steps(
        [(row.task, row.prefix) for row in rows],
        [row.tokens for row in rows],
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        seed=0,
        epoch=0,
        batching=batching,
        prefixes=[row.prefix for row in rows],
    )
    return [[rows[index] for index in batch] for step in steps for batch in step]


def reading_operations(size: Size, work: Work, added: int = 0) -> float:
    """Return the operations of a forward pass; ``added`` is as in :class:`Parts`."""
    return 2 * (size.body + added) * work.tokens + 4 * size.attention * work.pairs + 2 * size.head * work.outputs


def training_operations(size: Size, work: Work, trained: Parts, *, recomputing: bool = False) -> float:
    """Return the operations of a forward and a backward pass.

    Args:
        size: of the base.
        work: forward.
        trained: what trains.
        recomputing: whether activations are computed a second time (gradient checkpointing).
    """
    passes = 3 if recomputing else 2
    weights = 2 * (min(trained.own, size.body) + trained.added) * work.tokens
    # More than the body trains: the embeddings, which are also the output layer's weights, or the output layer beside them.
    weights += 2 * size.head * work.outputs if trained.own > size.body else 0
    return passes * reading_operations(size, work, trained.added) + weights


@dataclass(frozen=True)
class Speed:
    """How fast a base is on this machine.

    Attributes:
        batch: fixed seconds per micro-batch of training.
        operation: seconds per operation of training.
        parameter: seconds of the optimiser per trained parameter.
        reading: seconds per operation of reading prompts, when decoding.
        writing: seconds per new token of all sequences that are decoded together.
        together: the number of these sequences.
    """

    batch: float = 0.0
    operation: float = 0.0
    parameter: float = 0.0
    reading: float = 0.0
    writing: float = 0.0
    together: int = 1

    def training(self, size: Size, work: Work, parts: Parts, *, recomputing: bool = False) -> float:
        """Return the seconds of forward and backward passes."""
        return self.batch * work.batches + self.operation * training_operations(size, work, parts, recomputing=recomputing)

    def evaluating(self, size: Size, work: Work, parts: Parts) -> float:
        """Return the seconds of forward passes alone, at the speed of training."""
        return self.batch * work.batches / 2 + self.operation * reading_operations(size, work, parts.added)

    def token(self, size: Size, parts: Parts, sequences: float) -> float:
        """Return the seconds per new token of ``sequences`` sequences; fewer than were timed take as long."""
        added = 1 + parts.added / (size.body + size.head)
        return self.writing * added * max(sequences / self.together, 1.0)


def fitted(timings: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Return ``batch`` and ``operation`` of :class:`Speed` from timed micro-batches.

    Args:
        timings: operations and seconds of a small and a large micro-batch, or of a single one. Only the large one is used where
            the line through both would have a negative slope or a negative intercept.
    """
    *smaller, (operations, seconds) = sorted(timings)
    if smaller:
        per_operation = (seconds - smaller[0][1]) / (operations - smaller[0][0])
        batch = smaller[0][1] - per_operation * smaller[0][0]
        if per_operation > 0 and batch >= 0:
            return batch, per_operation
    return 0.0, seconds / operations
