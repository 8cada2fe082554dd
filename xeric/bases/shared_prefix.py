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
from xeric.data.encoding import PrefixRow
from xeric.data.prompts import SEGMENT_KINDS

__all__ = ["PrefixState", "learned_state", "run_prefix", "run_rows", "states_in"]

_LEARNED = SEGMENT_KINDS.index("prefix")


@dataclass(frozen=True)
class PrefixState:
    """Keys and values of a prefix in every layer.

    Attributes:
        layers: one pair per layer.
        kinds: segment kind of each of its P positions.
    """

    layers: tuple[KeysAndValues, ...]
    kinds: tuple[int, ...]

    @property
    def length(self) -> int:
        """P."""
        return len(self.kinds)

    def cache(self, batch: int) -> DynamicCache:
        """Return a cache for ``batch`` rows whose first P positions are this prefix; keys and values are views, not copies.

        The cache is made without the model's config: sliding-window layers would otherwise crop the prefix to their
        window, and the mask, which transformers builds from absolute positions, already keeps attention inside it.
        """
        return self._cache(lambda tensor: tensor.expand(batch, -1, -1, -1))

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
            return tensor[0, :, index].transpose(0, 1).contiguous()

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


def run_prefix(base: Base, prefix: PrefixRow) -> PrefixState:
    """Run the learned prefix, if there is one, and a prefix row; return their state.

    The graph is kept where gradients are on.
    """
    state = learned_state(base, prefix.task)
    if state is not None and not prefix.ids:
        return state
    cache = state.cache(1) if state else DynamicCache()
    ids = torch.tensor([prefix.ids], dtype=torch.long, device=base.device)
    # The backbone alone: a prefix has no targets, so no logits are made.
    first = run_rows(base, base.model.base_model, prefix.task, ids, torch.ones_like(ids), [prefix.kinds], state, cache)[1]
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
