"""What a method may put into a base's rows: a learned prefix in front of them, and an addition to their embeddings.

The engine (:mod:`xeric.bases.causal`, :mod:`xeric.bases.shared_prefix`, :mod:`xeric.decoding`) knows these two protocols and no
method. Both hang on the :class:`~xeric.bases.base.Base` that a method is attached to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import DynamicCache

__all__ = ["EmbeddingAddition", "KeysAndValues", "LearnedPrefix", "RowLayout"]

KeysAndValues = tuple[torch.Tensor, torch.Tensor] | None
"""Keys and values of one layer, each ``[1, heads, length, head size]``; None for a layer that keeps no state of its own."""


class LearnedPrefix(Protocol):
    """A learned prompt prefix P: what stands at positions 0..m-1 of every row of a task, in the place of the BOS token."""

    def length(self, task: str) -> int:
        """Return m, the positions it takes."""

    def vectors(self, task: str) -> torch.Tensor | None:
        """Return its embeddings ``[m, hidden]``, or None where it is keys and values."""

    def keys_and_values(self, task: str) -> Sequence[KeysAndValues]:
        """Return its keys and values, one pair a layer; empty where it is embeddings."""


class EmbeddingAddition(Protocol):
    """What is added to the embeddings of a row."""

    def __call__(self, positions: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """Return ``[..., hidden]`` for positions and segment kinds ``[...]`` (indices into ``SEGMENT_KINDS``)."""


@dataclass(frozen=True)
class RowLayout:
    """Position and segment kind of every column of a batch, for whatever depends on them while the model runs.

    Attributes:
        positions: ``[B, T]``, in the row, padding not counted.
        kinds: ``[B, T]``, indices into ``SEGMENT_KINDS``.
        cache: what holds the columns computed already, or None: a forward pass then begins at column 0.
    """

    positions: torch.Tensor
    kinds: torch.Tensor
    cache: DynamicCache | None = None

    def columns(self, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions and kinds of the next ``width`` columns that the model computes."""
        start = int(self.cache.get_seq_length()) if self.cache is not None else 0
        return self.positions[:, start : start + width], self.kinds[:, start : start + width]
