"""Attention over a prefix that a whole batch shares, computed once and exactly.

A causal model's states over a task prefix do not depend on the instance that follows. So the prefix runs once, with
its graph kept, its keys and values are expanded over the batch (a view, no copy), and the instances attend to them.
At dropout 0 the loss and every gradient are mathematically those of the plain computation; with dropout the prefix
draws one mask for the whole batch.

Prior art for other jobs: PrefixGrouper (arXiv 2506.05433) and Hydragen (arXiv 2402.05099). The gradient flows through
the expanded view back into the single prefix run, which is where the sum over the batch that the plain computation
makes token by token is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from xeric.bases.base import Base

__all__ = ["PrefixState", "run_prefix"]


@dataclass(frozen=True)
class PrefixState:
    """Keys and values of a prefix in every layer.

    Attributes:
        layers: one ``(keys, values)`` a layer, each ``[1, heads, P, head size]``; None for a layer that keeps no
            state of its own.
        length: P.
    """

    layers: tuple[tuple[torch.Tensor, torch.Tensor] | None, ...]
    length: int

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


def run_prefix(base: Base, ids: torch.Tensor) -> PrefixState:
    """Run a prefix of token ids ``[1, P]`` through the model and return its state; the graph is kept where gradients are on."""
    length = int(ids.shape[1])
    inputs: dict[str, torch.Tensor] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if base.takes_positions:
        inputs["position_ids"] = torch.arange(length, device=ids.device)[None]
    cache = DynamicCache()
    # The backbone alone: a prefix has no targets, so no logits are made.
    base.model.base_model(**inputs, past_key_values=cache, use_cache=True)
    return PrefixState(tuple(_keys_and_values(layer) for layer in cache.layers), length)


def _keys_and_values(layer: object) -> tuple[torch.Tensor, torch.Tensor] | None:
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    return None if keys is None or values is None else (keys, values)
