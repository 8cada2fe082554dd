"""What an encoder can do, found by computing a short row in two ways: families differ, and do not say."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from transformers import DynamicCache

from xeric.bases.base import Base
from xeric.bases.batches import only_at
from xeric.bases.encoder_columns import QUERY, Columns, prompt_columns, row_columns
from xeric.data.rows import SEGMENT_KINDS, InstanceRow, PrefixRow

__all__ = ["takes_masks", "takes_states"]

_INSTRUCTION, _TARGET = (SEGMENT_KINDS.index(kind) for kind in ("instruction", "target"))
_TOLERANCE = 1e-3
_LONG = 160
"""Tokens of a row that is longer than usual sliding windows."""

_REFUSALS = (RuntimeError, ValueError, TypeError, AttributeError, IndexError, NotImplementedError, KeyError)


class _Encoder(Protocol):
    """What is checked (:class:`xeric.bases.encoder.BidirectionalEncoder`)."""

    mask: int
    sep: int

    def target_logits(self, base: Base, prefix: PrefixRow, rows: list[InstanceRow], *, shared: bool) -> Any: ...

    def run(
        self, base: Base, model: Any, columns: Columns, before: Columns | None = None, cache: DynamicCache | None = None
    ) -> tuple[Any, Columns]: ...


def takes_masks(encoder: _Encoder, base: Base) -> bool:
    """Whether an encoder obeys masks and positions of our own.

    A prompt must give what the library's own way gives, and each [MASK] beside the true tokens what it gives with nothing behind
    it.
    """
    try:
        with torch.no_grad(), base.autocast(), base.mode(training=False):
            pairs = [_prompt_both_ways(encoder, base), _target_both_ways(encoder, base)]
    except _REFUSALS:
        return False
    return all(_agree(base, *pair) for pair in pairs)


def takes_states(encoder: _Encoder, base: Base) -> bool:
    """Whether an encoder can continue computed keys and values: a target gets the same logits after a prompt computed before."""
    row = InstanceRow("", 0, tuple(_usual_tokens(encoder, base, 8)), (_INSTRUCTION,) * 5 + (_TARGET,) * 3, 5)
    prompt, rest = (Columns.padded([half], base.pad, base.device) for half in row_columns((), row, (), 0, encoder.mask))
    cache = DynamicCache()
    with torch.no_grad(), base.autocast(), base.mode(training=False):
        whole = encoder.run(base, base.model, prompt.followed_by(rest))[0].logits[:, prompt.width :]
        try:
            before = encoder.run(base, base.model.base_model, prompt, cache=cache)[1]
            parts = encoder.run(base, base.model, rest, before, cache)[0].logits
        except _REFUSALS:
            return False
    return _agree(base, whole, parts)


def _agree(base: Base, expected: torch.Tensor, computed: torch.Tensor) -> bool:
    tolerance = _TOLERANCE * (1.0 if base.precision == "fp32" else 100.0)
    return bool((expected.float() - computed.float()).abs().max() <= tolerance * expected.float().abs().max())


def _usual_tokens(encoder: _Encoder, base: Base, count: int) -> list[int]:
    special = {encoder.mask, encoder.sep, base.pad, base.bos}
    usual = [token for token in range(min(64, base.vocabulary)) if token not in special]
    return [usual[(7 * number) % len(usual)] for number in range(count)]


def _prompt_both_ways(encoder: _Encoder, base: Base) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of a prompt without and with a mask of our own."""
    ids = _usual_tokens(encoder, base, min(base.context, _LONG))
    columns = Columns.padded([prompt_columns(ids, (_INSTRUCTION,) * len(ids), 0)], base.pad, base.device)
    own = base.model(input_ids=columns.ids, attention_mask=torch.ones_like(columns.ids)).logits
    return own, encoder.run(base, base.model, columns)[0].logits


def _target_both_ways(encoder: _Encoder, base: Base) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits at the [MASK] of each of four tokens: in one row, and in rows of their own, which end there."""
    row = InstanceRow("", 0, tuple(_usual_tokens(encoder, base, 9)), (_INSTRUCTION,) * 5 + (_TARGET,) * 4, 5)
    together, _ = encoder.target_logits(base, PrefixRow("", (), (), 0), [row], shared=False)
    prompt, rest = row_columns((), row, (), 0, encoder.mask)
    apart = Columns.padded([[*prompt, *rest[:n], rest[3 + n]] for n in range(4)], base.pad, base.device)
    with only_at(base.output_embeddings, apart.roles == QUERY):
        return together, encoder.run(base, base.model, apart)[0].logits
