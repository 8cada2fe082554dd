"""Rows as tensors: padding, layouts, and logits at some positions only; what all architectures use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch

from xeric.bases.base import Base
from xeric.bases.protocols import RowLayout
from xeric.data.rows import SEGMENT_KINDS
from xeric.errors import RunError

__all__ = [
    "at_positions",
    "left_padded_layout",
    "only_at",
    "pad_right",
    "recomputes_activations",
    "refuse_dropped_state",
    "row_layout",
    "whole",
    "with_vectors",
]

_TARGET = SEGMENT_KINDS.index("target")


def recomputes_activations(model: torch.nn.Module) -> bool:
    """Whether gradient checkpointing is on."""
    # The library's own property was renamed between 5.x releases; the flag on the modules was not.
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def refuse_dropped_state(base: Base) -> None:
    """Check that the keys and values of a learned prefix reach the layers in training.

    Raises:
        RunError: gradient checkpointing is on, under which transformers drops them.
    """
    if recomputes_activations(base.model) and base.model.training:
        raise RunError(
            "a prefix of keys and values cannot be trained under gradient checkpointing, which drops them",
            hint="set train.gradient_checkpointing=false, or give the prefix level=input",
        )


def pad_right(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``[B, T]`` ids and mask (1 where a token is present)."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=device)
    present = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, present


def at_positions(hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return ``[N, width]``: the hidden states ``[B, T', width]`` at ``positions`` (``[B, T]`` bool, the last T columns)."""
    return hidden[:, hidden.shape[1] - positions.shape[1] :][positions]


@contextlib.contextmanager
def only_at(head: torch.nn.Module, positions: torch.Tensor) -> Iterator[None]:
    """Make the output layer see only the hidden states at ``positions`` (``[B, T]`` bool, the last T columns): N rows.

    The model's own forward still runs around it, so that a family's changes of logits (soft caps, scales) are applied.
    """

    def select(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (at_positions(args[0], positions), *args[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def left_padded_layout(
    kinds: Sequence[Sequence[int]], pads: Sequence[int], beams: int, new: int, held: int, device: torch.device, task: str
) -> RowLayout:
    """Return the layout of rows that are padded on the left and have room for new tokens of the target.

    Args:
        kinds: segment kinds of each row.
        pads: columns of padding before each row.
        beams: how often each row is repeated, adjacently.
        new: tokens of the target that there is room for.
        held: columns that were computed before.
        device: of the base.
        task: of all rows.
    """
    table = [[*[0] * pad, *row, *[_TARGET] * new] for pad, row in zip(pads, kinds, strict=True)]
    columns = torch.arange(len(table[0]), device=device)[None] - torch.tensor(pads, device=device)[:, None]
    spread = torch.tensor(table, device=device).repeat_interleave(beams, dim=0)
    return RowLayout(columns.clamp_min(0).repeat_interleave(beams, dim=0), spread, held, whole(task))


def row_layout(kinds: Sequence[Sequence[int]], width: int, held: int, device: torch.device, task: str) -> RowLayout:
    """Return the layout of rows that are padded on the right.

    Args:
        kinds: segment kinds of each row, columns that were computed before included.
        width: columns of each row, padding included.
        held: columns that were computed before.
        device: of the base.
        task: of all rows.
    """
    table = [[*row, *[0] * (width - len(row))] for row in kinds]
    positions = torch.arange(width, device=device)[None].expand(len(kinds), -1)
    return RowLayout(positions, torch.tensor(table, dtype=torch.long, device=device), held, whole(task))


def whole(task: str) -> tuple[tuple[str, slice], ...]:
    """Return the tasks of a layout whose columns all belong to one (:attr:`RowLayout.tasks`)."""
    return ((task, slice(None)),)


def with_vectors(base: Base, vectors: torch.Tensor, ids: torch.Tensor, layout: RowLayout) -> torch.Tensor:
    """Return the embeddings of rows that begin with learned vectors, ``[B, m + T, hidden]``.

    Args:
        base: the base.
        vectors: ``[m, hidden]``.
        ids: ``[B, T]``.
        layout: of the m + T columns.
    """
    first = len(vectors)
    # The tokens are embedded here, with the layout of the columns after the learned vectors.
    with base.laid_out(RowLayout(layout.positions[:, first:], layout.kinds[:, first:])):
        words: torch.Tensor = base.input_embeddings(ids)
    if base.embedding_addition:
        vectors = vectors + base.embedding_addition(layout.positions[0, :first], layout.kinds[0, :first])
    return torch.cat([vectors.to(words.dtype).expand(len(ids), -1, -1), words], dim=1)
