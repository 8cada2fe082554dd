"""A micro-batch as one sequence without padding, in which each prefix is computed once: ``prefix row row prefix row ...``.

All of a causal model works token by token except attention. So the rows of a micro-batch, of any tasks and lengths, are laid end
to end, every token with the position that it has in its own row; and attention is computed span by span: a prefix sees itself, a
row sees its prefix and itself, and both see a learned prefix of keys and values before them. Masks are made by transformers' own
mask functions for the positions of each span, so sliding windows and chunks are those of the family. At dropout 0 losses and
gradients are mathematically those of rows computed whole; with dropout a prefix draws one mask for its rows.

Prior art: PrefixGrouper (arXiv 2506.05433) shares one prefix in a padded batch; packing of unrelated rows is usual in pretraining
(Krell et al. 2021, arXiv 2107.02027).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from xeric.bases.attention_addition import added, attention_of, computes_by_sdpa
from xeric.bases.base import Base
from xeric.bases.protocols import KeysAndValues, RowLayout
from xeric.bases.shared_prefix import learned_state
from xeric.data.rows import SEGMENT_KINDS, RowGroup

__all__ = ["packable", "packed_states"]

_NAME = "xeric_packed"
_LEARNED = SEGMENT_KINDS.index("prefix")


@dataclass(frozen=True)
class _Span:
    """Columns that follow each other in a row: a prefix, or a row without its prefix.

    Attributes:
        columns: its own.
        prefix: columns of the prefix that it continues; empty for a prefix.
        learned: keys and values of the learned prefix before both, one pair per layer, or ().
        offset: positions before its first column.
    """

    columns: slice
    prefix: slice
    learned: tuple[KeysAndValues, ...]
    offset: int

    @property
    def length(self) -> int:
        """Number of its columns."""
        return int(self.columns.stop - self.columns.start)


class _Masks(tuple[torch.Tensor | None, ...]):
    """The mask of each span, in the form that transformers' attention takes; models pass it on to their layers."""

    __slots__ = ()


_spans: ContextVar[tuple[_Span, ...]] = ContextVar("spans")


def packable(base: Base) -> bool:
    """Whether the model computes attention by transformers' interface, with PyTorch's scaled dot product."""
    return base.takes_positions and computes_by_sdpa(base)


def packed_states(base: Base, groups: Sequence[RowGroup]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the hidden states that predict the targets of a micro-batch, and the targets.

    Args:
        base: a base that can pack, a method attached or not.
        groups: rows by the prefix row that they continue.

    Returns:
        States ``[N, hidden]``, the input of the output layer, and ids ``[N]``, group by group, row by row.
    """
    packed = _Packed(base, groups)
    ids = torch.tensor([packed.ids], device=base.device)
    positions = torch.tensor([packed.positions], device=base.device)
    layout = RowLayout(positions, torch.tensor([packed.kinds], device=base.device), tasks=tuple(packed.tasks))
    # The mask says that no column is padding. Without one, transformers would look for packed rows by itself.
    inputs: dict[str, Any] = {"attention_mask": torch.ones_like(ids), "position_ids": positions, "use_cache": False}
    with base.laid_out(layout), _attending(base, tuple(packed.spans)):
        if packed.vectors:
            inputs["inputs_embeds"] = _with_vectors(base, ids, layout, packed.vectors)
        else:
            inputs["input_ids"] = ids
        hidden: torch.Tensor = base.model.base_model(**inputs).last_hidden_state
    predicting = torch.tensor(packed.predicting, device=base.device)
    return hidden[0, predicting], torch.tensor(packed.targets, device=base.device)


class _Packed:
    """The columns of a micro-batch: ids, positions and segment kinds, spans, and which columns predict which targets."""

    def __init__(self, base: Base, groups: Sequence[RowGroup]) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.kinds: list[int] = []
        self.spans: list[_Span] = []
        self.tasks: list[tuple[str, slice]] = []
        self.vectors: list[tuple[int, torch.Tensor]] = []
        self.predicting: list[int] = []
        self.targets: list[int] = []
        # Once per task: several of its prefix rows share the graph that makes its learned prefix.
        states, vectors = {}, {}
        for task in dict.fromkeys(group.prefix.task for group in groups):
            states[task] = learned_state(base, task)
            vectors[task] = base.learned_prefix.vectors(task) if base.learned_prefix else None
        for group in groups:
            start = len(self.ids)
            self._add(base, group, state.layers if (state := states[group.prefix.task]) else (), vectors[group.prefix.task])
            self.tasks.append((group.prefix.task, slice(start, len(self.ids))))

    def _add(self, base: Base, group: RowGroup, learned: tuple[KeysAndValues, ...], vectors: torch.Tensor | None) -> None:
        before = group.prefix
        held = 0 if not learned else next(layer[0].shape[2] for layer in learned if layer is not None)
        made = 0 if vectors is None else len(vectors)
        if vectors is not None:
            self.vectors.append((len(self.ids), vectors))
        prefix = self._span((*[base.pad] * made, *before.ids), (*[_LEARNED] * made, *before.kinds), slice(0, 0), learned, held)
        offset = held + prefix.stop - prefix.start
        for row, seen in zip(group.rows, _learned_of_rows(base, group, learned), strict=True):
            columns = self._span(row.ids, row.kinds, prefix, seen, offset)
            # The column before each target predicts it; that of a target that opens its row is the end of the prefix.
            start = columns.start + row.target_start
            self.predicting += [start - 1 if row.target_start else prefix.stop - 1, *range(start, columns.stop - 1)]
            self.targets += row.ids[row.target_start :]

    def _span(
        self, ids: Sequence[int], kinds: Sequence[int], prefix: slice, learned: tuple[KeysAndValues, ...], offset: int
    ) -> slice:
        columns = slice(len(self.ids), len(self.ids) + len(ids))
        if ids:
            self.spans.append(_Span(columns, prefix, learned, offset))
        self.ids += ids
        self.kinds += kinds
        self.positions += range(offset, offset + len(ids))
        return columns


def _learned_of_rows(base: Base, group: RowGroup, learned: tuple[KeysAndValues, ...]) -> list[tuple[KeysAndValues, ...]]:
    """Return the learned keys and values that each row of a group sees: its own, or those that its prefix sees."""
    if base.learned_prefix is None or not base.learned_prefix.per_row:
        return [learned] * len(group.rows)
    own = base.learned_prefix.for_rows(group.prefix.task, [row.ids[: row.target_start] for row in group.rows])
    return [tuple(pair and (pair[0][n : n + 1], pair[1][n : n + 1]) for pair in own) for n in range(len(group.rows))]


def _with_vectors(base: Base, ids: torch.Tensor, layout: RowLayout, vectors: Sequence[tuple[int, torch.Tensor]]) -> torch.Tensor:
    """Return the embeddings of all columns, learned vectors in their places; what a method adds is added to both."""
    words: torch.Tensor = base.input_embeddings(ids)
    pieces, done = [], 0
    for start, learned in vectors:
        stop = start + len(learned)
        placed = learned
        if base.embedding_addition:
            placed = learned + base.embedding_addition(layout.positions[0, start:stop], layout.kinds[0, start:stop])
        pieces += [words[:, done:start], placed.to(words.dtype)[None]]
        done = stop
    return torch.cat([*pieces, words[:, done:]], dim=1)


@contextlib.contextmanager
def _attending(base: Base, spans: tuple[_Span, ...]) -> Iterator[None]:
    """Make the model's attention that of packed spans."""
    token = _spans.set(spans)
    try:
        with attention_of(base, _NAME):
            yield
    finally:
        _spans.reset(token)


def _masks(**arguments: Any) -> _Masks:
    """Return the masks of all spans, each as transformers makes it for a row of a batch."""
    made = []
    for span in _spans.get():
        where = {"batch_size": 1, "q_length": span.length, "kv_length": span.offset + span.length}
        made.append(sdpa_mask(**{**arguments, **where, "q_offset": span.offset, "kv_offset": 0, "attention_mask": None}))
    return _Masks(made)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: _Masks,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention of all spans, ``[1, T, heads, head size]``."""
    outputs = []
    for span, mask in zip(_spans.get(), attention_mask, strict=True):
        keys, values = [key[:, :, span.prefix], key[:, :, span.columns]], [value[:, :, span.prefix], value[:, :, span.columns]]
        if span.learned:
            layer = span.learned[module.layer_idx]  # type: ignore[index]
            assert layer is not None
            keys, values = [layer[0].to(key.dtype), *keys], [layer[1].to(value.dtype), *values]
        # No copy for a span that sees itself only.
        seen_keys, seen_values = (torch.cat(parts, dim=2) if span.offset else parts[-1] for parts in (keys, values))
        outputs.append(sdpa_attention_forward(module, query[:, :, span.columns], seen_keys, seen_values, mask, **kwargs)[0])
    return added(module, query, torch.cat(outputs, dim=1), **kwargs), None


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, _masks)
