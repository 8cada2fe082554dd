"""Which instances go into which optimiser step and micro-batch.

A *step* holds ``batch_size`` instances, of several tasks where there are several; a *micro-batch* holds those that are computed
together: instances that share one task prefix, or, where rows are packed, any instances up to a number of tokens. Every
instance is served exactly once per epoch, the last, smaller step included. The order is a pure function of seed and epoch, so a
killed training finds its place again by its step number alone. This module knows no tokens: an instance is an index with a group
and a length.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np

__all__ = ["Batching", "MicroBatch", "Step", "epoch_steps", "micro_batches", "step_at", "steps_per_epoch"]

Batching = Literal["packed", "shared", "plain"]
"""How rows are computed together. ``packed``: rows of any tasks as one sequence without padding, each prefix once. ``shared``:
rows of one prefix, padded to the longest, the prefix once. ``plain``: the same rows, each with its prefix."""

MicroBatch = list[int]
Step = list[MicroBatch]

# Tokens of a packed micro-batch, prefixes counted once each: enough for matrix products at full speed, and a bound on memory.
_PACKED_TOKENS = 1024

# Steps are made from windows of this many steps' instances, sorted by length inside: less padding, and the order stays random.
_WINDOW = 8


def steps_per_epoch(instances: int, batch_size: int) -> int:
    """Return the number of optimiser steps in an epoch; the last may be smaller."""
    return -(-instances // batch_size)


def epoch_steps(
    groups: Sequence[Hashable],
    lengths: Sequence[int],
    *,
    batch_size: int,
    micro_batch_size: int,
    seed: int,
    epoch: int,
    batching: Batching = "shared",
    prefixes: Sequence[int] = (),
) -> list[Step]:
    """Return the steps of one epoch; together they hold every index from 0 to ``len(groups) - 1`` exactly once.

    Instances are shuffled and cut into windows; inside a window each group is sorted by length and the groups are
    interleaved by rank, so that a step holds instances of like relative length in the proportions of the window; the
    window's steps are shuffled.

    Args:
        groups: task and prefix row of each instance.
        lengths: tokens of each instance.
        batch_size: instances in a step.
        micro_batch_size: largest number of instances in a micro-batch.
        seed: of the order.
        epoch: number of the epoch, from 0.
        batching: see :func:`micro_batches`.
        prefixes: likewise.
    """
    # NumPy refuses the negative seeds that PyTorch, which gets the run's other seeds, takes.
    rng = np.random.default_rng([seed % 2**64, epoch])
    order = [int(i) for i in rng.permutation(len(groups))]
    steps: list[Step] = []
    window = _WINDOW * batch_size
    for start in range(0, len(order), window):
        ranked = _by_relative_length(order[start : start + window], groups, lengths)
        cut = [ranked[i : i + batch_size] for i in range(0, len(ranked), batch_size)]
        # A smaller last step stays last, so that the number of instances before a step is known without the epoch's order.
        full = len(cut) if len(cut[-1]) == batch_size else len(cut) - 1
        mixed = [cut[int(i)] for i in rng.permutation(full)] + cut[full:]
        steps += [micro_batches(step, groups, lengths, micro_batch_size, batching, prefixes) for step in mixed]
    return steps


def _by_relative_length(indices: Sequence[int], groups: Sequence[Hashable], lengths: Sequence[int]) -> list[int]:
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index in indices:
        members[groups[index]].append(index)
    ranked = []
    for group in members.values():
        group.sort(key=lambda index: lengths[index])
        ranked += [((rank + 0.5) / len(group), index) for rank, index in enumerate(group)]
    ranked.sort(key=lambda pair: pair[0])
    return [index for _, index in ranked]


def micro_batches(
    indices: Sequence[int],
    groups: Sequence[Hashable],
    lengths: Sequence[int],
    micro_batch_size: int,
    batching: Batching = "shared",
    prefixes: Sequence[int] = (),
) -> list[MicroBatch]:
    """Cut instances into micro-batches, groups as they first appear, neighbours in length together.

    Args:
        indices: of the instances.
        groups: task and prefix row of every instance.
        lengths: tokens of every instance.
        micro_batch_size: largest number of instances in a micro-batch.
        batching: ``packed`` fills a micro-batch with instances of several groups, up to a number of tokens; otherwise each holds
            instances of one group.
        prefixes: tokens of every instance's prefix row, where rows are packed.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index in indices:
        members[groups[index]].append(index)
    for group in members.values():
        group.sort(key=lambda index: lengths[index])
    if batching != "packed":
        return [group[i : i + micro_batch_size] for group in members.values() for i in range(0, len(group), micro_batch_size)]
    batches: list[MicroBatch] = []
    tokens, held = 0, set[Hashable]()
    for index in (index for group in members.values() for index in group):
        added = lengths[index] + (0 if groups[index] in held else prefixes[index])
        if not batches or len(batches[-1]) == micro_batch_size or tokens + added > _PACKED_TOKENS:
            batches.append([])
            tokens, held = 0, set()
            added = lengths[index] + prefixes[index]
        batches[-1].append(index)
        tokens += added
        held.add(groups[index])
    return batches


def step_at(steps_per_epoch: int, step: int) -> tuple[int, int]:
    """Return epoch and position in the epoch of optimiser step ``step`` (from 0)."""
    return divmod(step, steps_per_epoch)
