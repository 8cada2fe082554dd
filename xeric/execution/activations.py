"""What a micro-batch keeps for its backward pass, for every size, from a few small ones.

The bytes are a sum: a part that every micro-batch has, one that grows with its tokens, one that grows with the pairs of positions
that attend to each other, and the copies of a shared prefix's keys and values where there are several rows. Four small
micro-batches tell these apart, where counting the longest rows of a study takes minutes on a processor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xeric.bases.base import Base
from xeric.data.batching import Batching
from xeric.data.rows import RowGroup
from xeric.execution.operations import Work, batch_work
from xeric.execution.probe import Shape, arbitrary_rows
from xeric.training.memory import kept_bytes

__all__ = ["Kept", "counted"]

_SHAPES = (Shape(8, 1, 16, 1), Shape(16, 1, 32, 1), Shape(32, 1, 64, 1), Shape(24, 2, 16, 1))
"""The micro-batches that are counted."""


@dataclass(frozen=True)
class Kept:
    """Bytes that a micro-batch keeps, for each unit of its work: coefficients of what :func:`_sizes` returns."""

    fixed: float = 0.0
    token: float = 0.0
    pair: float = 0.0
    copy: float = 0.0

    def of(self, work: Work) -> int:
        """Return the bytes of a micro-batch, by its work."""
        coefficients = (self.fixed, self.token, self.pair, self.copy)
        return max(round(sum(size * each for size, each in zip(_sizes(work), coefficients, strict=True))), 0)


def _sizes(work: Work) -> tuple[float, ...]:
    return 1.0, work.tokens, work.pairs, work.copies


def counted(base: Base, task: str, batching: Batching) -> Kept:
    """Return what micro-batches keep, counted on a few small ones.

    Args:
        base: with the method attached.
        task: a task that it was attached for.
        batching: how the rows of a micro-batch are computed.
    """
    learned = base.learned_prefix
    length = learned.length(task) if learned and learned.keys_and_values(task) else 0
    sizes, kept = [], []
    for shape in _SHAPES:
        rows = arbitrary_rows(base, task, shape)
        sizes.append(_sizes(batch_work(shape.as_rows(task), batching, learned=length)))
        kept.append(float(kept_bytes(base, [RowGroup(rows.prefixes[0], rows.rows)], shared=batching != "plain")))
    coefficients = np.linalg.lstsq(np.array(sizes), np.array(kept), rcond=None)[0]
    return Kept(*(float(coefficient) for coefficient in coefficients))
