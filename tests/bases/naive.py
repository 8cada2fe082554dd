"""Greedy decoding in the plainest way, to compare with: one row at a time, everything run again for every token."""

from __future__ import annotations

import torch

from xeric.bases.base import Base
from xeric.data.rows import SEGMENT_KINDS, EncodedTask, InstanceRow

_TARGET = SEGMENT_KINDS.index("target")


@torch.no_grad()
def greedy(base: Base, task: EncodedTask, limit: int) -> list[str]:
    """The text of every row, read off the logits at the targets of training rows: each token is the target that fits best."""
    return [base.detokenize(_greedy(base, task, row, limit)) for row in task.rows]


def _greedy(base: Base, task: EncodedTask, row: InstanceRow, limit: int) -> list[int]:
    written: list[int] = []
    while len(written) < limit:
        # Any token serves as the last target: nothing sees it.
        ids, kinds = (*row.ids, *written, base.pad), (*row.kinds, *[_TARGET] * (len(written) + 1))
        logits, _ = base.target_logits(task.prefix_of(row), [InstanceRow("", row.prefix, ids, kinds, row.target_start)])
        token = int(logits[-1].argmax())
        if token in base.eos:
            break
        written.append(token)
    return written
