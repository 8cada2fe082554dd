"""Rows of one prefix as a padded batch: logits or hidden states at target positions, over a shared prefix or plainly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from xeric.bases.base import Base
from xeric.bases.batches import at_positions, only_at, pad_right, refuse_dropped_state
from xeric.bases.shared_prefix import for_rows, learned_state, run_prefix, run_rows
from xeric.data.rows import InstanceRow, PrefixRow

__all__ = ["padded_logits", "padded_states"]


def padded_logits(
    base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits ``[N, vocabulary]`` that predict the targets, and the targets ``[N]``, row by row.

    Args:
        base: a causal base.
        prefix: the prefix row that all rows continue.
        rows: with targets.
        shared: run the prefix once, its keys and values expanded over the rows; else it is run with each row.
    """
    run, predicting, targets = _padded(base, prefix, rows, shared=shared)
    with only_at(base.output_embeddings, predicting):
        return run(base.model).logits, targets


def padded_states(
    base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the last hidden states ``[N, hidden]`` in the place of logits; see :func:`padded_logits`."""
    run, predicting, targets = _padded(base, prefix, rows, shared=shared)
    hidden: torch.Tensor = run(base.model.base_model).last_hidden_state
    return at_positions(hidden, predicting), targets


def _padded(
    base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool
) -> tuple[Callable[[Callable[..., Any]], Any], torch.Tensor, torch.Tensor]:
    """Return what runs the rows through the model or its backbone, where targets are predicted (``[B, T]``), and the targets."""
    # Rows with learned prefixes of their own continue a task prefix that has seen the task's: it is run apart in any case.
    own = base.learned_prefix is not None and base.learned_prefix.per_row
    before = PrefixRow(prefix.task, (), (), 0) if shared or own else prefix
    ids = [(*before.ids, *row.ids) for row in rows]
    starts = [len(before.ids) + row.target_start for row in rows]
    if own:
        refuse_dropped_state(base)
    if shared or own:
        state = for_rows(base, prefix.task, run_prefix(base, prefix, 1 if shared else len(rows)), rows)
    else:
        state = learned_state(base, prefix.task)
    if state and not shared:
        refuse_dropped_state(base)
    tokens, present = pad_right(ids, base.pad, base.device)
    kinds = [(*before.kinds, *row.kinds) for row in rows]
    predicting = torch.zeros_like(tokens, dtype=torch.bool)
    for number, (row, start) in enumerate(zip(ids, starts, strict=True)):
        predicting[number, start - 1 : len(row) - 1] = True
    cache = state.cache(len(rows)) if state else None
    targets = [token for row, start in zip(ids, starts, strict=True) for token in row[start:]]

    def run(model: Callable[..., Any]) -> Any:
        return run_rows(base, model, prefix.task, tokens, present, kinds, state, cache)[0]

    return run, predicting, torch.tensor(targets, device=base.device)
