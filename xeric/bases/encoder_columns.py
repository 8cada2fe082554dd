"""Columns of rows that an encoder computes: what each of them is, where it stands, and which others it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from xeric.data.rows import SEGMENT_KINDS, InstanceRow

__all__ = ["PADDING", "PROMPT", "QUERY", "TARGET", "Columns", "attention_mask", "prompt_columns", "row_columns"]

Column = tuple[int, int, int, int]
"""Token id, role, position in the row, segment kind."""

_TARGET_KIND = SEGMENT_KINDS.index("target")

PADDING, PROMPT, TARGET, QUERY = range(4)
"""Roles of a column: padding; a token of the prompt; one of the target; a [MASK] that predicts a token of the target."""


@dataclass(frozen=True)
class Columns:
    """B rows of T columns.

    Attributes:
        ids: token ids ``[B, T]``.
        roles: ``[B, T]``, of the four above.
        positions: ``[B, T]`` in the row, a learned prefix included.
        kinds: ``[B, T]``, segment kinds (indices into ``SEGMENT_KINDS``).
    """

    ids: torch.Tensor
    roles: torch.Tensor
    positions: torch.Tensor
    kinds: torch.Tensor

    @classmethod
    def padded(cls, rows: Sequence[Sequence[Column]], pad: int, device: torch.device) -> Columns:
        """Return rows of columns, padded on the right."""
        width = max(len(row) for row in rows)
        blank = (pad, PADDING, 0, 0)
        table = torch.tensor([[*row, *[blank] * (width - len(row))] for row in rows], dtype=torch.long, device=device)
        return cls(*table.reshape(len(rows), width, 4).unbind(-1))

    @property
    def width(self) -> int:
        """T."""
        return self.ids.shape[1]

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the four tensors."""
        return self.ids, self.roles, self.positions, self.kinds

    def followed_by(self, other: Columns) -> Columns:
        """Return the columns of both, one after the other."""
        return Columns(*(torch.cat(pair, dim=1) for pair in zip(self.tensors(), other.tensors(), strict=True)))

    def repeated(self, count: int) -> Columns:
        """Return each row ``count`` times, adjacently."""
        return Columns(*(tensor.repeat_interleave(count, dim=0) for tensor in self.tensors()))


def attention_mask(columns: Columns, width: int, dtype: torch.dtype, window: int | None = None) -> torch.Tensor:
    """Return what the last ``width`` columns see of all of them: the prompt, the target's tokens before them, themselves.

    Args:
        columns: T of them.
        width: Q, how many are computed now.
        dtype: of the mask.
        window: largest distance of positions that is seen; None is any.

    Returns:
        ``[B, 1, Q, T]``, to be added to the scores: 0 where a column is seen, else the lowest number.
    """
    total = columns.width
    queries = columns.positions[:, total - width :, None]
    earlier = (columns.roles == TARGET)[:, None] & (columns.positions[:, None] < queries)
    # A column always sees itself; for padding, that keeps the softmax finite.
    itself = torch.eye(total, dtype=torch.bool, device=columns.ids.device)[None, total - width :]
    seen = (columns.roles == PROMPT)[:, None] | earlier | itself
    if window is not None:
        seen = seen & ((columns.positions[:, None] - queries).abs() <= window)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def prompt_columns(ids: Sequence[int], kinds: Sequence[int], offset: int) -> list[Column]:
    """Return the columns of a prompt whose first token is at position ``offset``."""
    return [(token, PROMPT, offset + number, kind) for number, (token, kind) in enumerate(zip(ids, kinds, strict=True))]


def row_columns(
    prefix: Sequence[int], row: InstanceRow, kinds: Sequence[int], offset: int, mask: int
) -> tuple[list[Column], list[Column]]:
    """Return the columns of a row's prompt, and those of its target and of the [MASK] of each token of it."""
    start = row.target_start
    prompt = prompt_columns((*prefix, *row.ids[:start]), (*kinds, *row.kinds[:start]), offset)
    first, target = offset + len(prompt), row.ids[start:]
    # Nothing sees the last token.
    written = [(token, TARGET, first + number, _TARGET_KIND) for number, token in enumerate(target[:-1])]
    return prompt, [*written, *[(mask, QUERY, first + number, _TARGET_KIND) for number in range(len(target))]]
