"""What a method may add to a base's rows: a learned prefix, vectors of each instance, and an addition to their embeddings.

The engine (:mod:`xeric.bases.causal`, :mod:`xeric.bases.shared_prefix`, :mod:`xeric.decoding`) knows these protocols and no
method. All are attributes of the :class:`~xeric.bases.base.Base` that a method is attached to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from xeric.data.pictures import Picture

__all__ = ["EmbeddingAddition", "InstanceVectors", "KeysAndValues", "LearnedPrefix", "RowLayout"]

KeysAndValues = tuple[torch.Tensor, torch.Tensor] | None
"""Keys and values of one layer, each ``[1, heads, length, head size]``; None for a layer that keeps no state of its own."""


class LearnedPrefix(Protocol):
    """A learned prompt prefix P, at positions 0..m-1 of every row of a task."""

    def length(self, task: str) -> int:
        """Return m, its number of positions."""

    def initial_tokens(self, task: str) -> tuple[int, ...]:
        """Return the tokens it was initialised from, or (); where these begin with a BOS token, rows have none of their own."""

    def vectors(self, task: str) -> torch.Tensor | None:
        """Return its embeddings ``[m, hidden]``, or None where it is keys and values."""

    def keys_and_values(self, task: str) -> Sequence[KeysAndValues]:
        """Return its keys and values, one pair per layer; empty where it is embeddings."""


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

    @property
    def initial_tokens(self) -> tuple[int, ...]:
        """The tokens whose embeddings the untrained vectors of every picture are."""


class EmbeddingAddition(Protocol):
    """An addition to the embeddings of a row."""

    def __call__(self, positions: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """Return ``[..., hidden]`` for positions and segment kinds ``[...]`` (indices into ``SEGMENT_KINDS``)."""


@dataclass
class RowLayout:
    """Position and segment kind of every column of a batch, for code that depends on them while the model runs.

    Attributes:
        positions: ``[B, T]``, in the row, padding not counted.
        kinds: ``[B, T]``, indices into ``SEGMENT_KINDS``.
        start: columns that were computed before and are passed to the model as a state.
    """

    positions: torch.Tensor
    kinds: torch.Tensor
    start: int = 0

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
