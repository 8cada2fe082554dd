"""What a method may put into a base's rows: a learned prefix in front of them, and an addition to their embeddings.

The engine (:mod:`xeric.bases.causal`, :mod:`xeric.bases.shared_prefix`, :mod:`xeric.decoding`) knows these two protocols and no
method. Both hang on the :class:`~xeric.bases.base.Base` that a method is attached to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

__all__ = ["EmbeddingAddition", "KeysAndValues", "LearnedPrefix", "RowLayout"]

KeysAndValues = tuple[torch.Tensor, torch.Tensor] | None
"""Keys and values of one layer, each ``[1, heads, length, head size]``; None for a layer that keeps no state of its own."""


class LearnedPrefix(Protocol):
    """A learned prompt prefix P: what stands at positions 0..m-1 of every row of a task."""

    def length(self, task: str) -> int:
        """Return m, the positions it takes."""

    def initial_tokens(self, task: str) -> tuple[int, ...]:
        """Return the tokens it was before training, or () where it was none; rows behind a BOS token have none of their own."""

    def vectors(self, task: str) -> torch.Tensor | None:
        """Return its embeddings ``[m, hidden]``, or None where it is keys and values."""

    def keys_and_values(self, task: str) -> Sequence[KeysAndValues]:
        """Return its keys and values, one pair a layer; empty where it is embeddings."""


class EmbeddingAddition(Protocol):
    """What is added to the embeddings of a row."""

    def __call__(self, positions: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """Return ``[..., hidden]`` for positions and segment kinds ``[...]`` (indices into ``SEGMENT_KINDS``)."""


@dataclass
class RowLayout:
    """Position and segment kind of every column of a batch, for whatever depends on them while the model runs.

    Attributes:
        positions: ``[B, T]``, in the row, padding not counted.
        kinds: ``[B, T]``, indices into ``SEGMENT_KINDS``.
        start: columns that were computed before, and that the model is given as a state.
    """

    positions: torch.Tensor
    kinds: torch.Tensor
    start: int = 0

    def __post_init__(self) -> None:
        self._next = self.start

    def next_columns(self, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions and kinds of the ``width`` columns that the model embeds now.

        One column follows the last one, as decoding goes; several begin at ``start``: the first pass over the rows, and every
        pass of a family that keeps no state. No cache is asked, since families keep their states in different ones.
        """
        begin = self._next if width == 1 else self.start
        self._next = begin + width
        return self.positions[:, begin : self._next], self.kinds[:, begin : self._next]
