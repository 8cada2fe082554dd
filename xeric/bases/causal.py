"""Logits at target positions of causal models, over a shared prefix or plainly.

Both ways take the same rows and give the same numbers (to rounding); the shared way runs the prefix once per
micro-batch. The plain way is the reference that the shared way is tested against, and serves where sharing is impossible:
gradient checkpointing, under which transformers drops the cache and would train without the prefix; rotary embeddings
that change with a row's length; models whose state is not keys and values.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence

import torch

from xeric.bases.base import Base
from xeric.bases.shared_prefix import learned_state, run_prefix, run_rows
from xeric.data.encoding import InstanceRow, PrefixRow
from xeric.errors import RunError

_log = logging.getLogger(__name__)

__all__ = ["can_share_prefix", "target_logits"]

# Rotary embeddings whose frequencies depend on the length of the current row: a prefix run alone would be rotated differently.
_LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
_TOLERANCE = 1e-3


def can_share_prefix(base: Base) -> bool:
    """Whether the shared way may be taken now.

    The model is tested once: a short row is computed both ways and the logits compared, so that a family whose state is not
    held by a cache of keys and values is detected before training.
    """
    if base.model.training and _recomputes_activations(base.model):
        return False
    if base.shares_prefix is None:
        base.shares_prefix = not _rope_depends_on_length(base) and _same_both_ways(base)
        if not base.shares_prefix:
            _log.warning("%s cannot share a computed prefix; every row is computed whole", base.name)
    return base.shares_prefix


def _recomputes_activations(model: torch.nn.Module) -> bool:
    # The library's own property was renamed between 5.x releases; the flag on the modules was not.
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def _rope_depends_on_length(base: Base) -> bool:
    text = base.model.config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    kinds = [rope] + [value for value in rope.values() if isinstance(value, dict)]
    return any(kind.get("rope_type", kind.get("type")) in _LENGTH_DEPENDENT_ROPE for kind in kinds)


def _same_both_ways(base: Base) -> bool:
    tokens = [token for token in range(min(64, base.vocabulary)) if token not in base.eos][:12]
    prefix = PrefixRow("", tuple(tokens[:7]), (0,) * 7, 0)
    rows = [InstanceRow("", 0, tuple(tokens[7:]), (0,) * 5, 2), InstanceRow("", 0, tuple(tokens[8:]), (0,) * 4, 1)]
    with torch.no_grad(), base.mode(training=False):
        plain, _ = _logits(base, prefix, rows, shared=False)
        try:
            shared, _ = _logits(base, prefix, rows, shared=True)
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, NotImplementedError):
            return False
    scale = 1.0 if plain.dtype == torch.float32 and base.precision == "fp32" else 100.0
    return bool((plain - shared).abs().max() <= _TOLERANCE * scale * plain.abs().max().clamp_min(1.0))


def target_logits(
    base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits that predict the targets of one micro-batch, and the targets.

    Args:
        base: a causal base.
        prefix: the prefix row that all instances continue, P tokens (P may be 0).
        rows: B instance rows with targets.
        shared: compute the prefix once (falls back to the plain way where that cannot be done).

    Returns:
        Logits ``[N, vocabulary]`` and target ids ``[N]``, N = target tokens of all rows, row by row.
    """
    return _logits(base, prefix, rows, shared=shared and _has_prefix(base, prefix) and can_share_prefix(base))


def _has_prefix(base: Base, prefix: PrefixRow) -> bool:
    return bool(prefix.ids) or base.learned_prefix is not None


def _logits(base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
    before = PrefixRow(prefix.task, (), (), 0) if shared else prefix
    ids = [(*before.ids, *row.ids) for row in rows]
    starts = [len(before.ids) + row.target_start for row in rows]
    state = run_prefix(base, prefix) if shared else learned_state(base, prefix.task)
    if state and not shared and _recomputes_activations(base.model) and base.model.training:
        raise RunError(
            "a prefix of keys and values cannot be trained under gradient checkpointing, which drops them",
            hint="set train.gradient_checkpointing=false, or give the prefix level=input",
        )
    tokens, present = _pad_right(ids, base.pad, base.device)
    kinds = [(*before.kinds, *row.kinds) for row in rows]
    predicts = torch.zeros_like(tokens, dtype=torch.bool)
    for number, (row, start) in enumerate(zip(ids, starts, strict=True)):
        predicts[number, start - 1 : len(row) - 1] = True
    cache = state.cache(len(rows)) if state else None
    with _only_at(base.output_embeddings, predicts):
        output, _ = run_rows(base, base.model, prefix.task, tokens, present, kinds, state, cache)
    targets = [token for row, start in zip(ids, starts, strict=True) for token in row[start:]]
    return output.logits, torch.tensor(targets, device=base.device)


def _pad_right(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``[B, T]`` ids and mask (1 where a token is present)."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=device)
    present = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, present


@contextlib.contextmanager
def _only_at(head: torch.nn.Module, positions: torch.Tensor) -> Iterator[None]:
    """Make the output layer see only the hidden states at ``positions`` (``[B, T]`` bool, the last T columns): N rows.

    The model's own forward still runs around it, so that a family's changes of logits (soft caps, scales) are applied.
    """

    def select(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = args[0]
        return (hidden[:, hidden.shape[1] - positions.shape[1] :][positions], *args[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
