"""Attention over a prefix that a whole batch shares, computed once and exactly.

A causal model's states over a task prefix do not depend on the instance that follows. So the prefix runs once, with
its graph kept, its keys and values are expanded over the batch (a view, no copy), and the instances attend to them.
At dropout 0 the loss and every gradient are mathematically those of the plain computation; with dropout the prefix
draws one mask for the whole batch. A learned prompt prefix is simply the beginning of the shared prefix.

Prior art for other jobs: PrefixGrouper (arXiv 2506.05433) and Hydragen (arXiv 2402.05099). The gradient flows through
the expanded view back into the single prefix run: there it is summed over the batch, as the plain computation sums
it token by token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from xeric.bases.base import Base
from xeric.bases.batches import row_layout, with_vectors
from xeric.bases.protocols import KeysAndValues
from xeric.data.rows import SEGMENT_KINDS, InstanceRow, PrefixRow

__all__ = ["PrefixState", "for_rows", "learned_state", "run_prefix", "run_rows", "states_in"]

_LEARNED = SEGMENT_KINDS.index("prefix")


@dataclass(frozen=True)
class PrefixState:
    """Keys and values of a prefix in every layer.

    Attributes:
        layers: one pair per layer; of one row that all rows share, or of B rows, each its own.
        kinds: segment kind of each of its P positions.
    """

    layers: tuple[KeysAndValues, ...]
    kinds: tuple[int, ...]

    @property
    def length(self) -> int:
        """P."""
        return len(self.kinds)

    def cache(self, batch: int) -> DynamicCache:
        """Return a cache for ``batch`` rows whose first P positions are this prefix; shared ones are views, not copies.

        Where each row has its own, ``batch`` may be a multiple of their number: repetitions are adjacent.

        The cache is made without the model's config: sliding-window layers would otherwise crop the prefix to their
        window, and the mask, which transformers builds from absolute positions, already keeps attention inside it.
        """

        def spread(tensor: torch.Tensor) -> torch.Tensor:
            if len(tensor) in (1, batch):
                return tensor.expand(batch, -1, -1, -1)
            return tensor.repeat_interleave(batch // len(tensor), dim=0)

        return self._cache(spread)

    def shifted_cache(self, shifts: Sequence[int]) -> DynamicCache:
        """Return a cache of P positions that row i fills with ``shifts[i]`` blanks (to be masked) and then the prefix, cut at P.

        It is what a batch that is padded on the left holds in its first P columns: ``[blank x
        shift][prefix][instance]``. Padding between prefix and instance would be wrong for sliding-window layers,
        which measure distance in columns.
        """
        if not any(shifts):
            return self.cache(len(shifts))
        device = next(layer[0].device for layer in self.layers if layer is not None)
        columns = torch.arange(self.length, device=device)[None] - torch.tensor(shifts, device=device)[:, None]
        index = columns.clamp_min(0)

        def shift(tensor: torch.Tensor) -> torch.Tensor:
            rows = torch.arange(len(shifts), device=device) // (len(shifts) // len(tensor))
            return tensor[rows[:, None], :, index].transpose(1, 2).contiguous()

        return self._cache(shift)

    def _cache(self, spread: Callable[[torch.Tensor], torch.Tensor]) -> DynamicCache:
        pairs: list[tuple[torch.Tensor | None, ...]] = [
            (None, None) if layer is None else (spread(layer[0]), spread(layer[1])) for layer in self.layers
        ]
        return DynamicCache(pairs)


def learned_state(base: Base, task: str) -> PrefixState | None:
    """Return the learned prefix of a task where it is keys and values, or None."""
    learned = base.learned_prefix
    pairs = tuple(learned.keys_and_values(task)) if learned else ()
    return PrefixState(pairs, (_LEARNED,) * learned.length(task)) if learned and pairs else None


def for_rows(base: Base, task: str, state: PrefixState | None, rows: Sequence[InstanceRow]) -> PrefixState | None:
    """Return the state that rows see: where their learned prefixes are their own, with these in the place of the task's.

    What stands behind the learned prefix was computed once, over the task's, and is the same for all rows.

    Args:
        base: the base.
        task: of the rows.
        state: of a prefix that begins with the task's learned prefix, or None.
        rows: B rows with or without targets.
    """
    learned = base.learned_prefix
    if state is None or learned is None or not learned.per_row:
        return state
    own, first, batch = learned.for_rows(task, [row.ids[: row.target_start] for row in rows]), learned.length(task), len(rows)

    def joined(prefix: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        return torch.cat([prefix.to(states.dtype), states[:, :, first:].expand(batch, -1, -1, -1)], dim=2)

    layers: list[KeysAndValues] = [
        pair and prefix and (joined(prefix[0], pair[0]), joined(prefix[1], pair[1]))
        for prefix, pair in zip(own, state.layers, strict=True)
    ]
    return PrefixState(tuple(layers), state.kinds)


def run_prefix(base: Base, prefix: PrefixRow, copies: int = 1) -> PrefixState:
    """Run the learned prefix, if there is one, and a prefix row; return their state.

    The graph is kept where gradients are on.

    Args:
        base: the base.
        prefix: the prefix row.
        copies: how often it is run: as a batch of so many rows, for a computation that shares nothing.
    """
    state = learned_state(base, prefix.task)
    if state is not None and not prefix.ids:
        return state
    cache = state.cache(copies) if state else DynamicCache()
    ids = torch.tensor([prefix.ids] * copies, dtype=torch.long, device=base.device)
    # The backbone alone: a prefix has no targets, so no logits are made.
    first = run_rows(base, base.model.base_model, prefix.task, ids, torch.ones_like(ids), [prefix.kinds] * copies, state, cache)[
        1
    ]
    kinds = (state.kinds if state else (_LEARNED,) * first) + prefix.kinds
    return PrefixState(states_in(cache), kinds)


def run_rows(
    base: Base,
    model: Callable[..., Any],
    task: str,
    ids: torch.Tensor,
    present: torch.Tensor,
    kinds: Sequence[Sequence[int]],
    state: PrefixState | None,
    cache: DynamicCache | None,
) -> tuple[Any, int]:
    """Run rows through the model, after a prefix state or from their beginning.

    Args:
        base: the base.
        model: its model, or the backbone of it.
        task: whose learned prefix the rows begin with, unless ``state`` holds it.
        ids: ``[B, T]``, padded on the right.
        present: ``[B, T]``, 1 at tokens, 0 at padding.
        kinds: segment kinds of each row's tokens.
        state: of the prefix that the rows continue; None where there is none.
        cache: holds ``state``, and takes the new keys and values; None keeps none.

    Returns:
        The model's output, and the number of columns that it computed in front of ``ids``: m for a learned prefix of embeddings
        that no state holds yet, else 0.
    """
    batch = len(ids)
    held = state.length if state else 0
    vectors = base.learned_prefix.vectors(task) if base.learned_prefix and state is None else None
    first = 0 if vectors is None else len(vectors)
    before = state.kinds if state else (_LEARNED,) * first
    layout = row_layout([(*before, *row) for row in kinds], len(before) + ids.shape[1], held, ids.device, task)
    inputs: dict[str, Any] = {"attention_mask": torch.cat([present.new_ones(batch, held + first), present], dim=1)}
    if vectors is None:
        inputs["input_ids"] = ids
    else:
        inputs["inputs_embeds"] = with_vectors(base, vectors, ids, layout)
    if base.takes_positions:
        inputs["position_ids"] = layout.positions[:, held:]
    with base.laid_out(layout):
        return model(**inputs, past_key_values=cache, use_cache=cache is not None), first


def states_in(cache: DynamicCache) -> tuple[KeysAndValues, ...]:
    """Return the keys and values that a cache holds, one pair per layer."""
    return tuple(_keys_and_values(layer) for layer in cache.layers)


def _keys_and_values(layer: object) -> KeysAndValues:
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    return None if keys is None or values is None else (keys, values)
