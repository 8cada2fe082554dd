"""Rows of a causal base that are written together, a token of each per step; rows join and leave between steps.

The prompts that join are run padded on the right behind the task prefix, as in training (:mod:`xeric.bases.shared_prefix`); then
their keys and values go into a :class:`~xeric.bases.row_cache.RowCache`, whose rows all end at one column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from transformers import DynamicCache

from xeric.bases.base import Base
from xeric.bases.batches import only_at, pad_right, whole
from xeric.bases.best_tokens import best_tokens, computable_in_parts, inputs_of
from xeric.bases.protocols import RowLayout
from xeric.bases.row_cache import RowCache
from xeric.bases.shared_prefix import PrefixState, for_rows, run_rows
from xeric.data.rows import SEGMENT_KINDS, InstanceRow, PrefixRow

__all__ = ["Steps"]

_TARGET = SEGMENT_KINDS.index("target")
_SPARE = 32
"""Columns of the cache beyond the longest row where rows join later: steps between two moves of all rows."""


class Steps:
    """The rows of one prefix that are written together.

    Args:
        base: in evaluation mode.
        prefix: the prefix row that all rows continue.
        state: of the prefix; None where there is none, or where it is computed with each row.
        rows: all rows that may join, without targets.
        slots: rows at once.
        limit: of a row's new tokens.
        copies: how often each row may be added.
        greedy: return the most probable tokens ``[N]`` instead of logits ``[N, vocabulary]``.
    """

    def __init__(
        self,
        base: Base,
        prefix: PrefixRow,
        state: PrefixState | None,
        rows: Sequence[InstanceRow],
        slots: int,
        limit: int,
        copies: int = 1,
        *,
        greedy: bool,
    ) -> None:
        self._greedy = greedy
        self._base, self._state, self._takes_positions = base, state, base.takes_positions
        # The learned prefix and the shared one are in the state; what is not runs with each row.
        shared = state is not None and len(state.kinds) > _learned_length(base, prefix.task)
        self._before = PrefixRow(prefix.task, (), (), 0) if shared else prefix
        self._held = state.length if state else 0
        longest = self._held + len(self._before.ids) + max(len(row.ids) for row in rows)
        texts = len(rows) * copies
        self._rows = RowCache(min(slots, texts), longest + limit, _SPARE if texts > slots else 0)

    @property
    def count(self) -> int:
        """Rows that are written now."""
        return len(self._rows.starts)

    def read(self, rows: Sequence[InstanceRow]) -> tuple[torch.Tensor, DynamicCache, list[int]]:
        """Run prompts; return logits of each row's first new token or the token, and what :meth:`join` takes."""
        base, before = self._base, self._before
        ids = [(*before.ids, *row.ids) for row in rows]
        tokens, present = pad_right(ids, base.pad, base.device)
        last = torch.zeros_like(tokens, dtype=torch.bool)
        for number, row in enumerate(ids):
            last[number, len(row) - 1] = True
        state = for_rows(base, before.task, self._state, rows)
        cache = state.cache(len(rows)) if state else DynamicCache()
        kinds = [(*before.kinds, *row.kinds) for row in rows]

        def run() -> torch.Tensor:
            output, _ = run_rows(base, base.model, before.task, tokens, present, kinds, state, cache)
            logits: torch.Tensor = output.logits
            return logits

        with only_at(base.output_embeddings, last):
            chosen = self._chosen(run)
        return chosen, cache, [self._held + len(row) for row in ids]

    def join(self, computed: DynamicCache, lengths: Sequence[int], numbers: Sequence[int]) -> None:
        """Add rows that were read, behind those that are written now.

        Args:
            computed: keys and values of rows, of :meth:`read`.
            lengths: columns of each row, likewise.
            numbers: the rows among them to add, in order; one may be added several times.
        """
        self._rows.add(computed, lengths, numbers)

    def leave(self, index: int) -> None:
        """Take a row out; the last one takes its index."""
        self._rows.remove(index)

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append a token to each row; return logits of the next ones, or the next ones."""
        base, rows = self._base, self._rows
        rows.make_room()
        first, width = rows.first, rows.end + 1 - rows.first
        starts = torch.tensor([start - first for start in rows.starts], device=base.device)[:, None]
        positions = width - 1 - starts
        inputs = {
            "input_ids": torch.tensor(tokens, device=base.device)[:, None],
            "attention_mask": (torch.arange(width, device=base.device)[None] >= starts).long(),
        }
        if self._takes_positions:
            inputs["position_ids"] = positions

        def run() -> torch.Tensor:
            logits: torch.Tensor = base.model(**inputs, past_key_values=rows.cache, use_cache=True).logits
            return logits[:, -1]

        with base.laid_out(RowLayout(positions, torch.full_like(positions, _TARGET), tasks=whole(self._before.task))):
            chosen = self._chosen(run)
        rows.end += 1
        return chosen

    def _chosen(self, run: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the logits that the model computes, or the most probable tokens."""
        layer = self._base.output_embeddings
        if not self._greedy:
            return run()
        if not computable_in_parts(layer):
            return run().argmax(dim=-1)
        with inputs_of(layer) as seen:
            run()
        assert isinstance(layer, nn.Linear)
        return best_tokens(layer, seen[0])


def _learned_length(base: Base, task: str) -> int:
    return base.learned_prefix.length(task) if base.learned_prefix else 0
