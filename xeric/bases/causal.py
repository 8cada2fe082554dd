"""Causal models: logits at target positions and texts, over a shared prefix or plainly.

Both ways take the same rows and give the same numbers (to rounding); the shared way runs the prefix once per
micro-batch. The plain way is the reference that the shared way is tested against, and serves where sharing is impossible:
gradient checkpointing, under which transformers drops the cache and would train without the prefix; rotary embeddings
that change with a row's length; models whose state is not keys and values.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from xeric.bases.architecture import Architecture, Continuation
from xeric.bases.base import Base, is_ordinary_linear
from xeric.bases.batches import (
    at_positions,
    left_padded_layout,
    only_at,
    pad_right,
    recomputes_activations,
    refuse_dropped_state,
)
from xeric.bases.cross_entropy import output_loss, rows_at_once
from xeric.bases.packing import packable, packed_states
from xeric.bases.protocols import KeysAndValues
from xeric.bases.shared_prefix import PrefixState, learned_state, run_prefix, run_rows
from xeric.data.batching import Batching
from xeric.data.encoding import Encoder, InstanceRow, PrefixRow, RowGroup
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

        The model is tested once: a short row is computed both ways and the logits compared, so that a family whose state is not
        held by a cache of keys and values is detected before training.
        """
        if base.model.training and recomputes_activations(base.model):
            return False
        if base.shares_prefix is None:
            base.shares_prefix = not _rope_depends_on_length(base) and _same_both_ways(base)
            if not base.shares_prefix:
                _log.warning("%s cannot share a computed prefix; every row is computed whole", base.name)
        return base.shares_prefix

    def batching(self, base: Base, *, shared: bool) -> Batching:
        """Return ``packed`` where the model can compute packed rows on a processor; a GPU computes padded ones in fewer calls."""
        if not shared or not self.can_share_prefix(base):
            return "plain"
        if base.packs_rows is None:
            base.packs_rows = base.device.type == "cpu" and packable(base) and _same_packed(base)
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
                _states(base, prefix, rows, shared=shared and _has_prefix(base, prefix) and self.can_share_prefix(base))
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
        return _logits(base, prefix, rows, shared=shared and _has_prefix(base, prefix) and self.can_share_prefix(base))

    def logits_at_once(self, base: Base, targets: int) -> int:
        """Return how many logits are held at a time: a part of them where the output layer is an ordinary one."""
        return min(targets, rows_at_once(base.vocabulary) if _plain_output(base) else targets) * base.vocabulary

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

    def run_a_row(self, base: Base) -> None:
        """Run four tokens."""
        tokens = torch.arange(1, min(5, base.vocabulary), device=base.device)[None]
        base.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)


def _rope_depends_on_length(base: Base) -> bool:
    text = base.model.config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    kinds = [rope] + [value for value in rope.values() if isinstance(value, dict)]
    return any(kind.get("rope_type", kind.get("type")) in _LENGTH_DEPENDENT_ROPE for kind in kinds)


def _same_both_ways(base: Base) -> bool:
    prefix, rows = _test_rows(base)
    return _same(base, lambda: _logits(base, prefix, rows, shared=False)[0], lambda: _logits(base, prefix, rows, shared=True)[0])


def _same_packed(base: Base) -> bool:
    """Whether packed rows of two prefixes, of several lengths, have the states that they have when computed whole."""
    prefix, (longer, shorter) = _test_rows(base)
    other = PrefixRow("", prefix.ids[3:], prefix.kinds[3:], 0)
    groups = [RowGroup(prefix, (longer, shorter)), RowGroup(other, (shorter, longer))]

    def plain() -> torch.Tensor:
        return torch.cat([_states(base, before, rows, shared=False)[0] for before, rows in groups])

    with _without_learned_prefix(base):
        return _same(base, plain, lambda: packed_states(base, groups)[0])


def _same(base: Base, plain: Callable[[], torch.Tensor], other: Callable[[], torch.Tensor]) -> bool:
    with torch.no_grad(), base.mode(training=False):
        expected = plain()
        try:
            found = other()
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, NotImplementedError):
            return False
    scale = 1.0 if expected.dtype == torch.float32 and base.precision == "fp32" else 100.0
    return bool((expected - found).abs().max() <= _TOLERANCE * scale * expected.abs().max().clamp_min(1.0))


def _plain_output(base: Base) -> bool:
    """Whether the logits are what an ordinary output layer gives of the backbone's last hidden states (no caps, no scales)."""
    layer = base.output_embeddings
    if not is_ordinary_linear(layer):
        return False
    if base.plain_output is None:
        prefix, (row, _) = _test_rows(base)
        with torch.no_grad(), base.mode(training=False), _without_learned_prefix(base):
            logits, _ = _logits(base, prefix, [row], shared=False)
            hidden, _ = _states(base, prefix, [row], shared=False)
            base.plain_output = torch.equal(layer(hidden), logits)
    return base.plain_output


def _test_rows(base: Base) -> tuple[PrefixRow, tuple[InstanceRow, InstanceRow]]:
    tokens = [token for token in range(min(64, base.vocabulary)) if token not in base.eos][:12]
    prefix = PrefixRow("", tuple(tokens[:7]), (0,) * 7, 0)
    return prefix, (InstanceRow("", 0, tuple(tokens[7:]), (0,) * 5, 2), InstanceRow("", 0, tuple(tokens[8:]), (0,) * 4, 1))


@contextlib.contextmanager
def _without_learned_prefix(base: Base) -> Iterator[None]:
    learned, base.learned_prefix = base.learned_prefix, None
    try:
        yield
    finally:
        base.learned_prefix = learned


def _has_prefix(base: Base, prefix: PrefixRow) -> bool:
    return bool(prefix.ids) or base.learned_prefix is not None


def _logits(base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
    run, predicting, targets = _padded(base, prefix, rows, shared=shared)
    with only_at(base.output_embeddings, predicting):
        return run(base.model).logits, targets


def _states(base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
    run, predicting, targets = _padded(base, prefix, rows, shared=shared)
    hidden: torch.Tensor = run(base.model.base_model).last_hidden_state
    return at_positions(hidden, predicting), targets


def _padded(
    base: Base, prefix: PrefixRow, rows: Sequence[InstanceRow], *, shared: bool
) -> tuple[Callable[[Callable[..., Any]], Any], torch.Tensor, torch.Tensor]:
    """Return what runs the rows through the model or its backbone, where targets are predicted (``[B, T]``), and the targets."""
    before = PrefixRow(prefix.task, (), (), 0) if shared else prefix
    ids = [(*before.ids, *row.ids) for row in rows]
    starts = [len(before.ids) + row.target_start for row in rows]
    state = run_prefix(base, prefix) if shared else learned_state(base, prefix.task)
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
