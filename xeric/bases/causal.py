"""Causal models: losses, logits and texts, over packed rows, over a shared prefix, or plainly.

All ways take the same rows and give the same numbers to rounding: packed (:mod:`xeric.bases.packing`), padded behind one prefix,
or whole (:mod:`xeric.bases.padded`). The plain way is the reference that the others are tested against, and serves where sharing
is impossible: gradient checkpointing, under which transformers drops the cache and would train without the prefix; rotary
embeddings that change with a row's length; models whose state is not keys and values.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from xeric.bases.abilities import has_plain_output, packs_rows, shares_prefix, writes_in_steps
from xeric.bases.architecture import Architecture, Continuation
from xeric.bases.base import Base, is_ordinary_linear
from xeric.bases.batches import left_padded_layout, recomputes_activations
from xeric.bases.cross_entropy import output_loss, rows_at_once
from xeric.bases.packing import packed_states
from xeric.bases.padded import padded_logits, padded_states
from xeric.bases.protocols import KeysAndValues
from xeric.bases.shared_prefix import PrefixState, for_rows, run_prefix
from xeric.bases.stepping import Steps
from xeric.bases.writing import write_step_by_step
from xeric.data.batching import Batching
from xeric.data.encoding import Encoder
from xeric.data.rows import SEGMENT_KINDS, InstanceRow, PrefixRow, RowGroup

_log = logging.getLogger(__name__)

__all__ = ["Causal"]

_PREFIX = SEGMENT_KINDS.index("prefix")


class Causal(Architecture):
    """Each token sees those before it: the prompt, then the target."""

    name = "causal"
    chats = True
    exact_prefix_states = True

    def encoder(self, base: Base, task: str) -> Encoder:
        """Return the encoder of rows ``[BOS] prefix | input target EOS``."""
        if base.learned_prefix is None:
            return Encoder(base.tokenize, base.bos, base.eos, base.context)
        has_bos = base.bos is not None and base.learned_prefix.initial_tokens(task)[:1] == (base.bos,)
        return Encoder(base.tokenize, base.bos, base.eos, base.context - base.learned_prefix.length(task), has_bos)

    def can_share_prefix(self, base: Base) -> bool:
        """Whether the shared way may be taken now.

        The model is tested once (:mod:`xeric.bases.abilities`), likewise whether its rows can be written step by step.
        """
        if base.model.training and recomputes_activations(base.model):
            return False
        if base.shares_prefix is None:
            base.shares_prefix = shares_prefix(base)
            base.writes_in_steps = base.shares_prefix and writes_in_steps(base)
            if not base.shares_prefix:
                _log.warning("%s cannot share a computed prefix; every row is computed whole", base.name)
        return base.shares_prefix

    def batching(self, base: Base, *, shared: bool) -> Batching:
        """Return ``packed`` where the model can compute packed rows on a processor; a GPU computes padded ones in fewer calls."""
        if not shared or not self.can_share_prefix(base):
            return "plain"
        if base.packs_rows is None:
            base.packs_rows = base.device.type == "cpu" and packs_rows(base)
        return "packed" if base.packs_rows else "shared"

    def target_losses(
        self, base: Base, groups: Sequence[RowGroup], coefficients: torch.Tensor, *, shared: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a weighted sum and the losses, without all logits at once where the output layer is an ordinary one."""
        if not _plain_output(base):
            return super().target_losses(base, groups, coefficients, shared=shared)
        if self.batching(base, shared=shared) == "packed":
            hidden, targets = packed_states(base, groups)
        else:
            parts = [
                padded_states(base, prefix, rows, shared=shared and _has_prefix(base, prefix) and self.can_share_prefix(base))
                for prefix, rows in groups
            ]
            hidden, targets = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        layer: Any = base.output_embeddings
        precision = torch.float32 if base.precision == "fp32" else torch.bfloat16
        return output_loss(hidden, layer.weight, layer.bias, targets, coefficients, precision)

    def takes_prefix(self, base: Base, level: str) -> bool:
        """Whether the base can continue a computed state: a learned prefix is the beginning of the shared one."""
        return self.can_share_prefix(base)

    def prefix_states(self, base: Base, ids: tuple[int, ...]) -> Sequence[KeysAndValues]:
        """Return the keys and values of tokens at the beginning of a row."""
        kinds = (SEGMENT_KINDS.index("instruction"),) * len(ids)
        return run_prefix(base, PrefixRow("", ids, kinds, 0)).layers

    def target_logits(
        self, base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and targets; the prefix is computed once where that is asked for and can be done."""
        return padded_logits(base, prefix, rows, shared=shared and _has_prefix(base, prefix) and self.can_share_prefix(base))

    def logits_at_once(self, base: Base, targets: int) -> int:
        """Return how many logits are held at a time: a part of them where the output layer is an ordinary one."""
        return min(targets, rows_at_once(base.vocabulary) if _plain_output(base) else targets) * base.vocabulary

    def begin(self, base: Base, prefix: PrefixRow, *, shared: bool) -> PrefixState | None:
        """Return the state of the task prefix; without sharing, of a learned prefix only, unless rows have their own."""
        own = base.learned_prefix is not None and base.learned_prefix.per_row
        share = (shared or own) and bool(prefix.ids) and self.can_share_prefix(base)
        before = prefix if share else PrefixRow(prefix.task, (), (), 0)
        return run_prefix(base, before) if share or base.learned_prefix else None

    def write(
        self, base: Base, prefix: PrefixRow, state: PrefixState | None, rows: Sequence[InstanceRow], how: Continuation
    ) -> list[list[int]]:
        """Return the new tokens of rows that are padded on the left and continue the state."""
        new: list[list[int]] = [[] for _ in rows]
        for group in _together(base, prefix, state, rows):
            written = self._write_padded(base, prefix, state, [rows[number] for number in group], how)
            for number, tokens in zip(group, written, strict=True):
                new[number] = tokens
        return new

    def _write_padded(
        self, base: Base, prefix: PrefixRow, state: PrefixState | None, rows: Sequence[InstanceRow], how: Continuation
    ) -> list[list[int]]:
        state = for_rows(base, prefix.task, state, rows)
        # A learned prefix has no token ids; any id serves, since columns that the cache holds are not embedded.
        learned = _learned_length(base, prefix)
        ids = [(*[base.pad] * learned, *prefix.ids, *row.ids) for row in rows]
        width = max(len(row) for row in ids)
        pads = [width - len(row) for row in ids]
        tokens = torch.tensor([[*[base.pad] * pad, *row] for pad, row in zip(pads, ids, strict=True)], device=base.device)
        present = torch.tensor([[0] * pad + [1] * len(row) for pad, row in zip(pads, ids, strict=True)], device=base.device)
        # The rows are passed whole; generate() computes only the columns that the cache does not hold.
        # Beam search repeats every row once per beam, adjacently; the cache must have as many rows.
        cache = state.shifted_cache([pad for pad in pads for _ in range(how.beams)]) if state else None
        kinds = [(*[_PREFIX] * learned, *prefix.kinds, *row.kinds) for row in rows]
        # The library mixes generate() into causal models only, and their common base class does not know it.
        model: Any = base.model
        held = state.length if state else 0
        with base.laid_out(left_padded_layout(kinds, pads, how.beams, how.limit, held, base.device, prefix.task)):
            output = model.generate(
                input_ids=tokens,
                attention_mask=present,
                past_key_values=cache,
                generation_config=how.config,
                logits_processor=how.processors(width),
                stopping_criteria=how.criteria(width),
            )
        new: list[list[int]] = output[:, width:].tolist()
        return new

    def write_rows(
        self,
        base: Base,
        prefix: PrefixRow,
        state: PrefixState | None,
        rows: Sequence[InstanceRow],
        how: Continuation,
        slots: int,
    ) -> Iterator[tuple[int, list[int]]]:
        """Write texts step by step; by ``generate`` in batches where there are beams, or the base cannot be written so."""
        if how.beams > 1 or not self.can_share_prefix(base) or not base.writes_in_steps:
            return super().write_rows(base, prefix, state, rows, how, slots)
        steps = Steps(base, prefix, state, rows, slots, how.limit, how.copies, greedy=how.greedy)
        return write_step_by_step(steps, prefix.ids, rows, how, slots)

    def _run_tokens(self, base: Base, tokens: torch.Tensor) -> None:
        base.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)


def _learned_length(base: Base, prefix: PrefixRow) -> int:
    return base.learned_prefix.length(prefix.task) if base.learned_prefix else 0


def _together(base: Base, prefix: PrefixRow, state: PrefixState | None, rows: Sequence[InstanceRow]) -> list[list[int]]:
    """Return the numbers of rows that may be padded on the left to one width, group by group.

    The state of a row that is padded by n columns is cut by its last n, which are computed again with the row
    (:meth:`PrefixState.shifted_cache`). These have to be tokens: columns of a learned prefix cannot be computed again, nor can a
    task prefix behind learned prefixes that rows have of their own, which it has not seen.
    """
    numbers = range(len(rows))
    if state is None or base.learned_prefix is None:
        return [list(numbers)]
    room = 0 if base.learned_prefix.per_row else state.length - _learned_length(base, prefix)
    groups: list[list[int]] = []
    for number in sorted(numbers, key=lambda number: -len(rows[number].ids)):
        if not groups or len(rows[groups[-1][0]].ids) - len(rows[number].ids) > room:
            groups.append([])
        groups[-1].append(number)
    return groups


def _plain_output(base: Base) -> bool:
    # The layer is looked at each time: a method may wrap or replace it.
    if not is_ordinary_linear(base.output_embeddings):
        return False
    if base.plain_output is None:
        base.plain_output = has_plain_output(base)
    return base.plain_output


def _has_prefix(base: Base, prefix: PrefixRow) -> bool:
    return bool(prefix.ids) or base.learned_prefix is not None
