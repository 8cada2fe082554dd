"""What a method may add to a base's rows: a learned prefix, vectors of each instance, and additions to embeddings and attention.

The engine (:mod:`xeric.bases.causal`, :mod:`xeric.bases.shared_prefix`, :mod:`xeric.decoding`) knows these protocols and no
method. They are attributes of the :class:`~xeric.bases.base.Base` that a method is attached to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from xeric.data.pictures import Picture

__all__ = [
    "AttendedPrefix",
    "AttentionAddition",
    "EmbeddingAddition",
    "InstanceVectors",
    "KeysAndValues",
    "LearnedPrefix",
    "RowLayout",
]

KeysAndValues = tuple[torch.Tensor, torch.Tensor] | None
"""Keys and values of one layer, each ``[1, heads, length, head size]``, ``[B, ...]`` where each of B rows has its own; None for a
layer that keeps no state of its own."""


class LearnedPrefix(Protocol):
    """A learned prompt prefix P, at positions 0..m-1 of every row of a task.

    Attributes:
        per_row: whether rows have keys and values of their own there (:meth:`for_rows`).
    """

    per_row: bool

    def length(self, task: str) -> int:
        """Return m, its number of positions."""

    def initial_tokens(self, task: str) -> tuple[int, ...]:
        """Return the tokens it was initialised from, or (); where these begin with a BOS token, rows have none of their own."""

    def vectors(self, task: str) -> torch.Tensor | None:
        """Return its embeddings ``[m, hidden]``, or None where it is keys and values."""

    def keys_and_values(self, task: str) -> Sequence[KeysAndValues]:
        """Return its keys and values, one pair per layer; empty where it is embeddings.

        A task prefix that is computed once sees these, whatever rows follow it.
        """

    def for_rows(self, task: str, inputs: Sequence[tuple[int, ...]]) -> Sequence[KeysAndValues]:
        """Return the keys and values that rows see in the place of those, by the tokens of their inputs.

        Returns:
            One pair per layer, each ``[rows, heads, m, head size]``; empty where the rows see what the task prefix sees.
        """


class InstanceVectors(Protocol):
    """Vectors that a method makes of an instance's picture and puts in front of the instance's own tokens.

    In rows they stand as ids from the size of the vocabulary on, which the method turns into vectors where the base embeds its
    tokens. So packed, padded and plain rows, ``generate`` and decoding step by step all compute them without knowing of them.
    """

    def ids(self, pictures: Sequence[Picture]) -> list[tuple[int, ...]]:
        """Return the ids that stand for the vectors of each picture, as many for each.

        Raises:
            DataError: a picture cannot be read.
        """

    def standardise(self, pictures: Sequence[Picture]) -> None:
        """Take the mean and the spread of each feature over the pictures that are trained on, unless they are taken already.

        Args:
            pictures: of the training instances; one that several instances show counts as often.

        Raises:
            DataError: a picture cannot be read.
        """

    @property
    def initial_tokens(self) -> tuple[int, ...]:
        """The tokens whose embeddings the untrained vectors of every picture are."""


class EmbeddingAddition(Protocol):
    """An addition to the embeddings of a row."""

    def __call__(self, positions: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """Return ``[..., hidden]`` for positions and segment kinds ``[...]`` (indices into ``SEGMENT_KINDS``)."""


@dataclass(frozen=True)
class AttendedPrefix:
    """Keys and values that the columns of some rows attend to by themselves, with a softmax of their own.

    Attributes:
        keys: ``[1, heads, m, head size]``, as attention uses them.
        values: likewise.
        gate: times what is attended to; it can be broadcast to ``[B, T, 1]``, T columns.
    """

    keys: torch.Tensor
    values: torch.Tensor
    gate: torch.Tensor


class AttentionAddition(Protocol):
    """Learned prefixes that layers attend to beside a row; the row's own attention is as it is without them."""

    def __call__(self, attention: torch.nn.Module, task: str, columns: slice) -> AttendedPrefix | None:
        """Return the prefix that an attention module adds for the columns of a task that are computed now, or None."""


@dataclass
class RowLayout:
    """Position and segment kind of every column of a batch, for code that depends on them while the model runs.

    Attributes:
        positions: ``[B, T]``, in the row, padding not counted.
        kinds: ``[B, T]``, indices into ``SEGMENT_KINDS``.
        start: columns that were computed before and are passed to the model as a state.
        tasks: of the columns that are computed now: task, and which of these columns belong to it.
    """

    positions: torch.Tensor
    kinds: torch.Tensor
    start: int = 0
    tasks: tuple[tuple[str, slice], ...] = ()

    def __post_init__(self) -> None:
        self._next = self.start

    def next_columns(self, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions and kinds of the ``width`` columns that the model embeds now.

        A single column follows the last one, as in decoding; several begin at ``start``: the first pass over the rows, and every
        pass of a family that keeps no state. This does not use the cache, since families have different kinds of caches.
        """
        begin = self._next if width == 1 else self.start
        self._next = begin + width
        return self.positions[:, begin : self._next], self.kinds[:, begin : self._next]
