"""What demonstrations of its own make of a row: tokens that a prompt with fixed ones computes once for many rows."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from xeric.data.rows import SEGMENT_KINDS, EncodedTask

__all__ = ["demonstrations_note"]

_DEMONSTRATION = SEGMENT_KINDS.index("demonstration")


def demonstrations_note(tasks: Sequence[EncodedTask]) -> str:
    """Return how many more tokens are computed than with fixed demonstrations, as a sentence; nothing where there are no rows.

    Args:
        tasks: rows with demonstrations of their own.
    """
    rows = [row for task in tasks for row in task.rows]
    if not rows:
        return ""
    own = fmean(len(row.ids) for row in rows)
    shown = fmean(sum(kind == _DEMONSTRATION for kind in row.kinds) for row in rows)
    return (
        f"nearest demonstrations are computed for every row: {own:.0f} tokens per row, {shown:.0f} of them demonstrations, which "
        f"fixed ones compute once for many rows ({own / max(own - shown, 1):.1f} times the tokens)"
    )
