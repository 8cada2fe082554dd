"""Steps and micro-batches: every instance once per epoch, groups never mixed, the order a function of seed and epoch."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xeric.data import batching
from xeric.data.batching import MicroBatch, Step, epoch_steps, micro_batches, step_at, steps_per_epoch


def epoch(
    groups: Sequence[Hashable],
    lengths: Sequence[int] | None = None,
    *,
    batch: int = 8,
    micro: int = 4,
    seed: int = 0,
    number: int = 0,
) -> list[Step]:
    return epoch_steps(
        groups,
        lengths or [5] * len(groups),
        batch_size=batch,
        micro_batch_size=micro,
        seed=seed,
        epoch=number,
    )


def served(steps: Sequence[Step]) -> list[int]:
    return [index for step in steps for batch in step for index in batch]


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a", "b", ("c", 1)]), st.integers(1, 50)), max_size=150),
    batch=st.integers(1, 20),
    micro=st.integers(1, 24),
    seed=st.integers(-3, 2**63 - 1),
    number=st.integers(0, 5),
)
def test_every_instance_is_served_exactly_once_an_epoch(
    rows: list[tuple[Hashable, int]], batch: int, micro: int, seed: int, number: int
) -> None:
    groups, lengths = [group for group, _ in rows], [length for _, length in rows]
    steps = epoch(groups, lengths, batch=batch, micro=micro, seed=seed, number=number)
    assert sorted(served(steps)) == list(range(len(rows)))
    assert len(steps) == steps_per_epoch(len(rows), batch)
    sizes = [len(served([step])) for step in steps]
    assert sizes[:-1] == [batch] * (len(sizes) - 1)
    assert all(1 <= size <= batch for size in sizes)
    for step in steps:
        for group in step:
            assert 1 <= len(group) <= micro
            assert len({groups[index] for index in group}) == 1
        # No more micro-batches than the groups in the step need.
        counts = Counter(groups[index] for index in served([step]))
        assert len(step) == sum(-(-count // micro) for count in counts.values())


@pytest.mark.parametrize(("instances", "sizes"), [(0, []), (3, [3]), (8, [8]), (9, [8, 1]), (64, [8] * 8), (67, [8] * 8 + [3])])
def test_the_last_step_is_what_is_left_and_is_not_served_twice(instances: int, sizes: list[int]) -> None:
    for number in range(3):
        steps = epoch(["a"] * instances, number=number)
        assert [len(served([step])) for step in steps] == sizes
        assert len(served(steps)) == instances


def test_a_step_number_alone_finds_the_place() -> None:
    count = steps_per_epoch(20, 8)
    assert count == 3
    assert [step_at(count, step) for step in (0, 2, 3, 7)] == [(0, 0), (0, 2), (1, 0), (2, 1)]


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else() -> None:
    lengths = [random.Random(n).randrange(1, 99) for n in range(40)]
    groups = ["a", "b"] * 20
    orders = {}
    for seed in (-1, 0, 1, 2):
        for number in range(3):
            steps = epoch(groups, lengths, seed=seed, number=number)
            random.seed(seed)  # somebody else's use of the global state changes nothing
            assert epoch(groups, lengths, seed=seed, number=number) == steps
            orders[seed, number] = tuple(map(str, steps))
    assert len(set(orders.values())) == len(orders)


def test_the_order_is_not_that_of_the_file_nor_by_length() -> None:
    lengths = list(range(1, 513))
    steps = epoch(["a"] * 512, lengths, batch=8)
    means = [statistics.fmean(lengths[index] for index in served([step])) for step in steps]
    rising = sum(one < other for one, other in pairwise(means))
    assert 16 < rising < 48, "the steps of an epoch come in order of length"


def test_groups_are_mixed_in_every_step_in_their_proportions() -> None:
    groups = ["many"] * 288 + ["few"] * 96
    lengths = [random.Random(n).randrange(10, 200) for n in range(384)]
    shares = []
    for number in range(3):
        for step in epoch(groups, lengths, batch=16, micro=16, number=number):
            assert {groups[batch[0]] for batch in step} == {"many", "few"}
            shares.append(sum(groups[index] == "many" for index in served([step])))
    assert statistics.fmean(shares) == 12
    assert min(shares) >= 10
    assert max(shares) <= 14


def padding(batches: Sequence[MicroBatch], lengths: Sequence[int]) -> int:
    return sum(max(lengths[i] for i in batch) * len(batch) - sum(lengths[i] for i in batch) for batch in batches)


@pytest.mark.parametrize("kinds", [1, 3])
def test_sorting_by_length_saves_most_of_the_padding(kinds: int) -> None:
    rng = random.Random(0)
    lengths = [int(rng.lognormvariate(4, 0.7)) + 1 for _ in range(480)]
    groups = [index % kinds for index in range(480)]
    steps = epoch(groups, lengths, batch=24, micro=8)
    # The same batches as they would come without sorting: each group in random order, eight at a time.
    shuffled = [
        rng.sample(members, len(members)) for members in ([i for i in range(480) if i % kinds == k] for k in range(kinds))
    ]
    unsorted = [members[i : i + 8] for members in shuffled for i in range(0, len(members), 8)]
    assert sum(map(len, unsorted)) == len(served(steps)) == 480
    assert padding([batch for step in steps for batch in step], lengths) < 0.3 * padding(unsorted, lengths)


def test_a_step_is_cut_into_neighbours_in_length() -> None:
    lengths = [9, 1, 8, 2, 7, 3, 5]
    batches = micro_batches(range(7), ["a", "a", "b", "b", "a", "a", "a"], lengths, 2)
    assert batches == [[1, 5], [6, 4], [0], [3, 2]]
    assert micro_batches([], [], [], 2) == []


def test_packed_instances_of_several_groups_are_together_up_to_a_number_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_PACKED_TOKENS", 30)
    groups, lengths, prefixes = ["a", "b", "a", "b", "c"], [5, 4, 3, 4, 40], [10, 6, 10, 6, 1]
    # a: 10 + 3 + 5; b begins: 6 + 4 more make 28, another 4 would make 32.
    assert micro_batches(range(5), groups, lengths, 8, "packed", prefixes) == [[2, 0, 1], [3], [4]]
    assert micro_batches(range(4), groups, lengths, 2, "packed", prefixes) == [[2, 0], [1, 3]]


def test_the_rows_of_a_step_do_not_depend_on_how_they_are_computed() -> None:
    groups, lengths = ["a", "b", "c"] * 9, [random.Random(n).randrange(1, 99) for n in range(27)]
    shared = epoch(groups, lengths)
    packed = epoch_steps(groups, lengths, batch_size=8, micro_batch_size=8, seed=0, epoch=0, batching="packed", prefixes=[7] * 27)
    assert [sorted(served([step])) for step in packed] == [sorted(served([step])) for step in shared]
    assert [len(step) for step in packed] == [1] * 4
