"""Causal models: logits at target positions and texts, over a shared prefix or plainly.

Both ways take the same rows and give the same numbers (to rounding); the shared way runs the prefix once per
micro-batch. The plain way is the reference that the shared way is tested against, and serves where sharing is impossible:
gradient checkpointing, under which transformers drops the cache and would train without the prefix; rotary embeddings
that change with a row's length; models whose state is not keys and values.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from xeric.bases.architecture import Architecture, Continuation
from xeric.bases.base import Base
from xeric.bases.batches import left_padded_layout, only_at, pad_right, recomputes_activations, refuse_dropped_state
from xeric.bases.protocols import KeysAndValues
from xeric.bases.shared_prefix import PrefixState, learned_state, run_prefix, run_rows
from xeric.bases.stepping import Steps
from xeric.bases.writing import write_step_by_step
from xeric.data.encoding import Encoder, InstanceRow, PrefixRow
from xeric.data.prompts import SEGMENT_KINDS

_log = logging.getLogger(__name__)

__all__ = ["Causal"]

# Rotary embeddings whose frequencies depend on the length of the current row: a prefix run alone would be rotated differently.
_LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
_TOLERANCE = 1e-3

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

        The model is tested once: short rows are computed both ways and the logits compared, so that a family whose state is not
        held by a cache of keys and values is detected before training; likewise whether its rows can be written step by step.
        """
        if base.model.training and recomputes_activations(base.model):
            return False
        if base.shares_prefix is None:
            base.shares_prefix = not _rope_depends_on_length(base) and _same_both_ways(base, _shared_logits)
            base.writes_in_steps = base.shares_prefix and _same_both_ways(base, _stepwise_logits)
            if not base.shares_prefix:
                _log.warning("%s cannot share a computed prefix; every row is computed whole", base.name)
        return base.shares_prefix

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
        return _logits(base, prefix, rows, shared=shared and _has_prefix(base, prefix) and self.can_share_prefix(base))

    def begin(self, base: Base, prefix: PrefixRow, *, shared: bool) -> PrefixState | None:
        """Return the state of the task prefix; without sharing, of a learned prefix only."""
        share = shared and bool(prefix.ids) and self.can_share_prefix(base)
        before = prefix if share else PrefixRow(prefix.task, (), (), 0)
        return run_prefix(base, before) if share or base.learned_prefix else None

    def write(
        self, base: Base, prefix: PrefixRow, state: PrefixState | None, rows: Sequence[InstanceRow], how: Continuation
    ) -> list[list[int]]:
        """Return the new tokens of rows that are padded on the left and continue the state."""
        # A learned prefix has no token ids; any id serves, since columns that the cache holds are not embedded.
        learned = base.learned_prefix.length(prefix.task) if base.learned_prefix else 0
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
        with base.laid_out(left_padded_layout(kinds, pads, how.beams, how.limit, held, base.device)):
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

    def run_a_row(self, base: Base) -> None:
        """Run four tokens."""
        tokens = torch.arange(1, min(5, base.vocabulary), device=base.device)[None]
        base.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)


def _rope_depends_on_length(base: Base) -> bool:
    text = base.model.config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    kinds = [rope] + [value for value in rope.values() if isinstance(value, dict)]
    return any(kind.get("rope_type", kind.get("type")) in _LENGTH_DEPENDENT_ROPE for kind in kinds)


def _same_both_ways(base: Base, other: Callable[[Base, PrefixRow, Sequence[InstanceRow]], torch.Tensor]) -> bool:
    tokens = [token for token in range(min(64, base.vocabulary)) if token not in base.eos][:12]
    prefix = PrefixRow("", tuple(tokens[:7]), (0,) * 7, 0)
    rows = [InstanceRow("", 0, tuple(tokens[7:]), (0,) * 5, 2), InstanceRow("", 0, tuple(tokens[8:]), (0,) * 4, 1)]
    with torch.no_grad(), base.mode(training=False):
        plain, _ = _logits(base, prefix, rows, shared=False)
        try:
            found = other(base, prefix, rows)
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, NotImplementedError):
            return False
    scale = 1.0 if plain.dtype == torch.float32 and base.precision == "fp32" else 100.0
    return bool((plain - found).abs().max() <= _TOLERANCE * scale * plain.abs().max().clamp_min(1.0))


def _shared_logits(base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow]) -> torch.Tensor:
    return _logits(base, prefix, rows, shared=True)[0]


def _stepwise_logits(base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow]) -> torch.Tensor:
    """Return the logits of both rows' targets, three each, where the second row joins a step later and the first leaves first."""
    prompts = [InstanceRow("", 0, row.ids[: row.target_start], row.kinds[: row.target_start], row.target_start) for row in rows]
    first, second = (row.ids[row.target_start :] for row in rows)
    steps = Steps(base, prefix, run_prefix(base, prefix), prompts, 2, 3, greedy=False)
    logits, computed, lengths = steps.read(prompts)
    steps.join(computed, lengths, [0])
    alone = steps.step(first[:1])
    steps.join(computed, lengths, [1])
    both = steps.step([first[1], second[0]])
    steps.leave(0)
    last = steps.step(second[1:2])
    return torch.cat([logits[:1], alone, both[:1], logits[1:], both[1:], last])


def _has_prefix(base: Base, prefix: PrefixRow) -> bool:
    return bool(prefix.ids) or base.learned_prefix is not None


def _logits(base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
    before = PrefixRow(prefix.task, (), (), 0) if shared else prefix
    ids = [(*before.ids, *row.ids) for row in rows]
    starts = [len(before.ids) + row.target_start for row in rows]
    state = run_prefix(base, prefix) if shared else learned_state(base, prefix.task)
    if state and not shared:
        refuse_dropped_state(base)
    tokens, present = pad_right(ids, base.pad, base.device)
    kinds = [(*before.kinds, *row.kinds) for row in rows]
    predicts = torch.zeros_like(tokens, dtype=torch.bool)
    for number, (row, start) in enumerate(zip(ids, starts, strict=True)):
        predicts[number, start - 1 : len(row) - 1] = True
    cache = state.cache(len(rows)) if state else None
    with only_at(base.output_embeddings, predicts):
        output, _ = run_rows(base, base.model, prefix.task, tokens, present, kinds, state, cache)
    targets = [token for row, start in zip(ids, starts, strict=True) for token in row[start:]]
    return output.logits, torch.tensor(targets, device=base.device)
