"""The operations and bytes that rows need, the least of any engine: no padding, the prefix once, logits at targets alone.

Training a LoRA: every token passes through the frozen weights forward (2 operations per weight) and its gradient backward (2);
the output layer is computed at target positions alone; a LoRA weight takes 6; attention takes 4 operations per pair of positions
and unit of its width (summed over layers) forward, and is counted as often backward:

    tokens  = P + sum n_i                          P tokens of the prefix, n_i of row i, t_i of them targets
    pairs   = P (P + 1) / 2 + sum (n_i P + n_i (n_i + 1) / 2)
    outputs = sum t_i
    operations = 2 (2 (body + added) tokens + 4 width pairs + 2 head outputs) + 2 added tokens

Decoding: the prompts once, then one token of each unfinished row per step. A step reads every weight and the keys and values of
all rows; it takes the longer of its operations at the matrix rate and its bytes at the memory bandwidth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xeric.execution.operations import Parts, Size, Work, reading_operations, training_operations


@dataclass(frozen=True)
class Machine:
    """Limits of the machine, measured.

    Attributes:
        matrix_rate: operations per second of a matrix product, in the precision in question.
        bandwidth: bytes read per second.
    """

    matrix_rate: float
    bandwidth: float


def needed_work(prefix: int, lengths: Sequence[int], outputs: int) -> Work:
    """Return the work that rows behind a shared prefix need, forward.

    Args:
        prefix: tokens of the prefix.
        lengths: tokens of each row, the prefix not counted.
        outputs: positions whose logits are needed.
    """
    pairs = prefix * (prefix + 1) / 2 + sum(length * prefix + length * (length + 1) / 2 for length in lengths)
    return Work(prefix + sum(lengths), pairs, outputs, 1, len(lengths))


def training_need(size: Size, added: int, prefix: int, rows: Sequence[tuple[int, int]]) -> float:
    """Return the operations of one optimiser step.

    Args:
        size: of the base.
        added: parameters of the LoRA.
        prefix: tokens of the prefix.
        rows: tokens and target tokens of each row of the step.
    """
    work = needed_work(prefix, [length for length, _ in rows], sum(targets for _, targets in rows))
    return training_operations(size, work, Parts(added=added))


def decoding_need(
    size: Size, machine: Machine, prefix: int, lengths: Sequence[int], new: Sequence[int], *, batch: int, weight: int, state: int
) -> float:
    """Return the least seconds that decoding takes.

    Args:
        size: of the base.
        machine: its limits.
        prefix: tokens of the prefix.
        lengths: tokens of each row's own prompt.
        new: tokens that each row writes.
        batch: rows decoded together; one that is finished leaves its place to the next.
        weight: bytes of a weight.
        state: bytes of the keys and values of one position, all layers together.
    """
    reading = reading_operations(size, needed_work(prefix, lengths, len(lengths)))
    # The first new token comes from the prompt's own pass.
    steps = sum(max(count - 1, 0) for count in new) / min(batch, len(lengths))
    positions = prefix + sum(lengths) / len(lengths) + sum(new) / len(new) / 2
    rows = min(batch, len(lengths))
    # The prefix's keys and values are read once for all rows.
    held = prefix * state + rows * (positions - prefix) * state
    operations = rows * (2 * (size.body + size.head) + 4 * size.attention * positions)
    step = max(operations / machine.matrix_rate, ((size.body + size.head) * weight + held) / machine.bandwidth)
    return reading / machine.matrix_rate + steps * step
