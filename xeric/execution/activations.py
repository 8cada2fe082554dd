"""What a micro-batch keeps for its backward pass, for every size, from a few small ones.

The bytes are a sum: a part that every micro-batch has, one that grows with its tokens, one that grows with the pairs of positions
that attend to each other, and the copies of a shared prefix's keys and values where there are several rows. Four small
micro-batches tell these apart, where counting the longest rows of a study takes minutes on a processor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xeric.bases.base import Base
from xeric.execution.operations import batch_work
from xeric.execution.probe import Shape, arbitrary_rows
from xeric.training.memory import kept_bytes

__all__ = ["Kept", "counted"]

_SHAPES = (Shape(8, 1, 16, 1), Shape(16, 1, 32, 1), Shape(32, 1, 64, 1), Shape(24, 2, 16, 1))
"""The micro-batches that are counted."""


@dataclass(frozen=True)
class Kept:
    """Bytes that a micro-batch keeps: coefficients of the sizes that :func:`_sizes` returns."""

    fixed: float = 0.0
    token: float = 0.0
    pair: float = 0.0
    copy: float = 0.0

    def of(self, prefix: int, rows: int, width: int, *, shared: bool, learned: int = 0) -> int:
        """Return the bytes of a micro-batch.

        Args:
            prefix: tokens of the prefix.
            rows: instances.
            width: tokens of the longest.
            shared: whether the prefix is computed once.
            learned: length of a learned prefix of keys and values.
        """
        sizes = _sizes(prefix, rows, width, shared=shared, learned=learned)
        coefficients = (self.fixed, self.token, self.pair, self.copy)
        return max(round(sum(size * bytes_each for size, bytes_each in zip(sizes, coefficients, strict=True))), 0)


def _sizes(prefix: int, rows: int, width: int, *, shared: bool, learned: int) -> list[float]:
    """Return 1, the tokens, the pairs of positions, and the positions of a shared prefix that are copied for the rows."""
    work = batch_work(prefix, [width] * rows, 0, shared=shared, learned=learned)
    return [1.0, work.tokens, work.pairs, rows * (prefix + learned) if shared and rows > 1 else 0.0]


def counted(base: Base, task: str, *, shared: bool) -> Kept:
    """Return what micro-batches keep, counted on a few small ones.

    Args:
        base: with the method attached.
        task: a task that it was attached for.
        shared: whether the task prefix is computed once per micro-batch.
    """
    learned = base.learned_prefix
    length = learned.length(task) if learned and learned.keys_and_values(task) else 0
    sizes, kept = [], []
    for shape in _SHAPES:
        rows = arbitrary_rows(base, task, shape)
        sizes.append(_sizes(shape.prefix, shape.rows, shape.tokens, shared=shared, learned=length))
        kept.append(float(kept_bytes(base, rows, rows.rows, shared=shared)))
    coefficients = np.linalg.lstsq(np.array(sizes), np.array(kept), rcond=None)[0]
    return Kept(*(float(coefficient) for coefficient in coefficients))
