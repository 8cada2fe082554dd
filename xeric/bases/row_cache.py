"""Keys and values of rows that are written together, in tensors that are allocated once.

Every row ends at the same column, so that a new token of each goes into one column, and distances in columns are distances in the
row, which sliding windows and relative positions measure. A row that joins later is put so that it ends there, too::

    slot 0   . p p p p a a a a n n n |
    slot 1   . . . p p p p b b n n n |      '.' blank, 'p' prefix, 'n' written before
    slot 2   . . . . . p p p p c c n |      joined two tokens later

transformers' own dynamic cache copies everything whenever a token is appended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

__all__ = ["RowCache"]


class RowCache:
    """Keys and values of up to ``slots`` rows; rows in use are the first.

    Args:
        slots: rows at once.
        width: columns that a row may come to have, prefix and new tokens included.
        spare: further columns; after each so many steps, all rows are moved to the front.
    """

    def __init__(self, slots: int, width: int, spare: int) -> None:
        self._slots, self._capacity = slots, width + spare
        self._layers: list[_Layer] = []
        self.starts: list[int] = []
        """First column of each row in use."""
        self.end = 0
        """The column that the next token of every row goes to."""

    @property
    def first(self) -> int:
        """The first column that any row in use has."""
        return min(self.starts)

    @property
    def cache(self) -> Cache:
        """The cache to pass to the model."""
        return Cache(layers=list(self._layers))

    def add(self, computed: DynamicCache, lengths: Sequence[int], numbers: Sequence[int]) -> None:
        """Add rows behind those in use.

        Args:
            computed: keys and values of rows, from column 0 of each; what stands behind a row's end is ignored.
            lengths: columns of each row.
            numbers: the rows among them to add, in order; one may be added several times.
        """
        if not self._layers:
            self._layers = [_Layer(self, layer, self._slots, self._capacity) for layer in computed.layers]
        longest = max(lengths[number] for number in numbers)
        if not self.starts:
            self.end = longest
        elif longest > self.end:
            self._move(longest - self.end)
        for number in numbers:
            for stored, layer in zip(self._layers, computed.layers, strict=True):
                stored.put(len(self.starts), layer, number, lengths[number])
            self.starts.append(self.end - lengths[number])

    def remove(self, slot: int) -> None:
        """Take a row out; the last one takes its slot."""
        last = len(self.starts) - 1
        if slot != last:
            for layer in self._layers:
                layer.replace(slot, last)
        self.starts[slot] = self.starts[last]
        self.starts.pop()

    def make_room(self) -> None:
        """Move all rows to the front if there is no column left."""
        if self.end == self._capacity:
            self._move(-self.first)

    def _move(self, columns: int) -> None:
        for layer in self._layers:
            layer.move(self.first, columns)
        self.starts = [start + columns for start in self.starts]
        self.end += columns


class _Layer(DynamicLayer):
    """One layer; it shows the model the columns of the rows in use alone."""

    def __init__(self, owner: RowCache, like: Any, slots: int, columns: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._owner = owner
        self._stored: tuple[torch.Tensor, ...] = ()
        # Some layers keep no keys and values, but use those of another.
        if getattr(like, "keys", None) is not None:
            # Zeros: a blank is masked, but an attention weight of 0 times a stray NaN would be NaN.
            self._stored = tuple(
                states.new_zeros(slots, states.shape[1], columns, states.shape[3]) for states in (like.keys, like.values)
            )
            self.is_initialized = True

    def put(self, slot: int, computed: Any, number: int, length: int) -> None:
        """Copy the first columns of a computed row so that it ends where all rows end."""
        end = self._owner.end
        for stored, states in zip(self._stored, (computed.keys, computed.values), strict=False):
            stored[slot, :, end - length : end] = states[number, :, :length]

    def replace(self, slot: int, other: int) -> None:
        """Copy a row's columns to another slot."""
        columns = slice(self._owner.starts[other], self._owner.end)
        for stored in self._stored:
            stored[slot, :, columns] = stored[other, :, columns]

    def move(self, first: int, by: int) -> None:
        """Move the columns of all rows."""
        rows, end = len(self._owner.starts), self._owner.end
        for stored in self._stored:
            stored[:rows, :, first + by : end + by] = stored[:rows, :, first:end].clone()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one column of each row and return views of all columns."""
        owner = self._owner
        rows, end = len(owner.starts), owner.end + key_states.shape[-2]
        views = []
        for stored, states in zip(self._stored, (key_states, value_states), strict=True):
            stored[:rows, :, owner.end : end] = states
            views.append(stored[:rows, :, owner.first : end])
        return views[0], views[1]

    def get_seq_length(self) -> int:
        """Return the number of columns that were computed before."""
        return self._owner.end - self._owner.first if self._stored else 0
