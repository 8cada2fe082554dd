"""Writing with an encoder, token by token, as a model that transformers' ``generate`` can drive.

``generate`` sees texts that begin with one column of no meaning; the prompts before it are computed apart and kept here. At each
step a [MASK] goes behind what is written. Its keys and values are dropped again, those of written tokens are kept as long as the
rows go on as they were: beam search changes rows, and what they have written is then computed again after the kept prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from xeric.bases.encoder_columns import QUERY, TARGET, Columns

__all__ = ["Writer"]

Compute = Callable[[Columns, Columns | None, DynamicCache | None], torch.Tensor]
"""``(columns, columns before them that the cache holds, cache) -> logits of the last column [B, vocabulary]``."""


class Writer(PreTrainedModel, GenerationMixin):
    """Continues prompts.

    Args:
        compute: what runs the encoder.
        prompts: of N rows.
        lengths: position of each row's first new token ``[N]``.
        cache: keys and values of the prompts; None where the family takes none, so that everything is computed at each step.
        mask: id of the [MASK] token.
        kind: segment kind of written tokens.
        vocabulary: number of tokens.
        dtype: of the encoder.
    """

    config_class = PreTrainedConfig

    def __init__(
        self,
        compute: Compute,
        prompts: Columns,
        lengths: torch.Tensor,
        cache: DynamicCache | None,
        *,
        mask: int,
        kind: int,
        vocabulary: int,
        dtype: torch.dtype,
    ) -> None:
        config = PreTrainedConfig()
        config.vocab_size = vocabulary
        super().__init__(config)
        self._compute, self._prompts, self._lengths, self._cache = compute, prompts, lengths, cache
        self._mask, self._segment, self._type = mask, kind, dtype
        self._written = prompts.ids[:, :0]

    @property
    def device(self) -> torch.device:
        """Of the encoder."""
        return self._prompts.ids.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the encoder."""
        return self._type

    def forward(self, input_ids: torch.Tensor, **_: Any) -> CausalLMOutput:
        """Return the logits of the next token of texts ``[N, 1 + t]``, ``[N, 1, vocabulary]``."""
        texts = input_ids[:, 1:]
        if self._cache is None:
            logits = self._compute(self._prompts.followed_by(self._columns(texts, 0)), None, None)
        else:
            kept = self._written.shape[1]
            if kept and not torch.equal(texts[:, :kept], self._written):
                self._cache.crop(-kept)
                kept = 0
            before = self._prompts
            if kept:
                before = before.followed_by(self._columns(self._written, 0, ask=False))
            logits = self._compute(self._columns(texts[:, kept:], kept), before, self._cache)
            self._cache.crop(-1)  # the [MASK]
            self._written = texts
        return CausalLMOutput(logits=logits[:, None])

    def _columns(self, tokens: torch.Tensor, offset: int, *, ask: bool = True) -> Columns:
        """Return the columns of tokens ``[N, t]`` of the target, the first of them at ``offset``, and of a [MASK] behind them."""
        ids, roles = tokens, torch.full_like(tokens, TARGET)
        if ask:
            ids = torch.cat([ids, ids.new_full((len(ids), 1), self._mask)], dim=1)
            roles = torch.cat([roles, roles.new_full((len(ids), 1), QUERY)], dim=1)
        positions = self._lengths[:, None] + offset + torch.arange(ids.shape[1], device=ids.device)
        return Columns(ids, roles, positions, torch.full_like(ids, self._segment))
