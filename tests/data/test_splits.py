from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.samples import sentence, task, unlike, varied
from xeric.config import build
from xeric.data.cleaning import CleaningOptions, clean
from xeric.data.shingles import jaccard, shingles
from xeric.data.splits import SplitOptions, SplitTask, draw_output, fingerprint, split
from xeric.data.tasks import Example, Instance
from xeric.errors import ConfigError, DataError

SIZES = (0, 10, 25, 49, 50, 100, 200, 400)


def ids(instances: Iterable[Instance]) -> set[str]:
    return {i.id for i in instances}


def families(rng: random.Random, sizes: Iterable[int]) -> list[Instance]:
    """Near-duplicate families; the family is the letter and number before the dash."""
    made = []
    for number, size in enumerate(sizes):
        first = Instance(f"f{number}-0", sentence(rng), (sentence(rng, 8),))
        made += [first, *(varied(rng, first, f"f{number}-{k}") for k in range(1, size))]
    return made


def sides(parts: SplitTask) -> dict[str, str]:
    return {i.id: name for name in ("train", "dev", "held_out") for i in getattr(parts, name)}


@pytest.fixture(scope="module")
def five_hundred() -> SplitTask:
    return split(clean(task(unlike(500))))


def test_the_protocol(five_hundred: SplitTask) -> None:
    assert five_hundred.counts == {
        "train": 360,
        "dev": 40,
        "test": 100,
        "pool": 400,
        "held_out": 100,
        "leaks_removed": 0,
        "test_ratio": 0.2,
    }
    everything = [*ids(five_hundred.train), *ids(five_hundred.dev), *ids(five_hundred.test)]
    assert sorted(everything) == sorted(ids(five_hundred.task.instances))


def test_at_most_499_are_trained_on() -> None:
    parts = split(clean(task(unlike(700, words=8))))
    assert (parts.n_train, len(parts.dev), len(parts.pool), len(parts.test)) == (499, 50, 560, 140)


def test_smaller_sizes_are_among_the_larger_ones_and_the_test_set_stays(five_hundred: SplitTask) -> None:
    spent: set[str] = set()
    for n in SIZES:
        parts = five_hundred.resize(n)
        now = ids(parts.train) | ids(parts.dev)
        assert parts.n_train == n == len(now)
        assert spent <= now
        assert parts.test == five_hundred.test
        assert len(parts.dev) == (0 if n < 50 else min(50, max(10, round(0.1 * n))))
        spent = now
    assert split(clean(task(unlike(500))), SplitOptions(n_train=25)) == five_hundred.resize(25)


def test_seeds_differ_and_zero_is_one_of_them() -> None:
    cleaned = clean(task(unlike(100)))
    by_seed = [split(cleaned, SplitOptions(split_seed=seed)) for seed in (0, 1, 2)]
    assert split(cleaned) == by_seed[0]
    assert len({frozenset(ids(s.test)) for s in by_seed}) == 3
    assert len({s.train for s in by_seed}) == 3


def test_neither_order_nor_ids_matter_and_one_more_moves_little() -> None:
    instances = unlike(200)
    first = split(clean(task(instances)))
    shuffled = [replace(i, id=f"new{k}") for k, i in enumerate(random.Random(1).sample(instances, 200))]
    again = split(clean(task(shuffled)))
    for side in ("train", "dev", "test", "pool"):
        assert [i.input for i in getattr(again, side)] == [i.input for i in getattr(first, side)]
    more = split(clean(task([*instances, *unlike(1, seed=99)])))
    assert len({i.input for i in more.test} ^ {i.input for i in first.test}) <= 3
    assert len({i.input for i in more.train} ^ {i.input for i in first.train}) <= 6


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 9), min_size=4, max_size=25).filter(lambda s: sum(s) >= 12 and max(s) <= sum(s) // 2),
    n_train=st.sampled_from((10, 50, None)),
    grouped=st.booleans(),
)
def test_families_and_groups_never_straddle(seed: int, sizes: list[int], n_train: int | None, grouped: bool) -> None:
    rng = random.Random(seed)
    instances = families(rng, sizes)
    if grouped:
        names = {f"f{n}": rng.choice((None, None, f"g{n // 2}")) for n in range(len(sizes))}
        instances = [replace(i, group=names[i.id.partition("-")[0]]) for i in instances]
    cleaned = clean(task(instances), CleaningOptions(near_duplicate=False))
    try:
        parts = split(cleaned, SplitOptions(split_seed=seed)).resize(None)
        parts = parts.resize(min(n_train, len(parts.pool)) if n_train else None)
    except DataError:
        assert len(set(cleaned.clusters)) == 1
        return
    side = {id_: name for id_, name in sides(parts).items() if name == "held_out"}
    pool = {i.id: "train" for i in parts.pool}
    for a in parts.task.instances:
        for b in parts.task.instances:
            family = a.id.partition("-")[0] == b.id.partition("-")[0]
            if family or (a.group is not None and a.group == b.group):
                assert side.get(a.id, pool.get(a.id)) == side.get(b.id, pool.get(b.id))
                assert not (a in parts.dev and b in parts.train)
    assert 0 < parts.ratio < 1


def test_no_two_sides_hold_texts_that_are_alike() -> None:
    rng = random.Random(11)
    halves = split(clean(task(families(rng, [1] * 60 + [2] * 20 + [5] * 8)), CleaningOptions(near_duplicate=False)))
    sets = {i.id: shingles(f"{i.input}\n{i.outputs[0]}", "word", 2) for i in halves.task.instances}
    parts = [halves.train, halves.dev, halves.held_out]
    assert all(parts)
    for left, right in ((0, 1), (0, 2), (1, 2)):
        assert max(jaccard(sets[a.id], sets[b.id]) for a in parts[left] for b in parts[right]) < 0.7


def test_a_large_family_does_not_become_the_test_set() -> None:
    rng = random.Random(12)
    for seed in range(5):
        parts = split(
            clean(task(families(rng, [1] * 100 + [18])), CleaningOptions(near_duplicate=False)), SplitOptions(split_seed=seed)
        )
        assert not any(i.id.startswith("f100-") for i in parts.test)
        assert len(parts.test) == 24


def test_groups_that_are_all_large_are_split_as_near_as_they_come() -> None:
    for groups, ratio in ((5, 0.2), (3, 1 / 3), (2, 0.5)):
        instances = [replace(i, group=f"g{k % groups}") for k, i in enumerate(unlike(60))]
        parts = split(clean(task(instances)))
        assert parts.ratio == pytest.approx(ratio)
        assert len({i.group for i in parts.test}) == 1


def test_what_is_like_a_demonstration_is_never_tested() -> None:
    rng = random.Random(13)
    instances = unlike(60)
    shown = [Example(varied(rng, i, "x").input, i.outputs[0]) for i in instances[:20]]
    for seed in range(3):
        parts = split(clean(task(instances, shown), CleaningOptions(near_duplicate=False)), SplitOptions(split_seed=seed))
        assert not ids(parts.held_out) & {f"i{k}" for k in range(20)}
        assert len(parts.held_out) == 12


def test_without_takes_leaks_out_and_others_move_up(five_hundred: SplitTask) -> None:
    small = five_hundred.resize(100)
    gone = [i.id for i in small.pool[:7]]
    parts = small.without([*gone, "unknown", small.test[0].id])
    assert parts.n_train == 100
    assert not (ids(parts.train) | ids(parts.dev) | ids(parts.pool)) & set(gone)
    assert parts.test == small.test
    assert parts.counts["leaks_removed"] == 7
    emptied = five_hundred.resize(400).without(ids(five_hundred.pool[:390]))
    assert emptied.n_train == 10


def test_max_test_is_a_fixed_part_of_the_test_set() -> None:
    cleaned = clean(task(unlike(100)))
    whole = split(cleaned)
    part = split(cleaned, SplitOptions(max_test=5))
    assert part.test == whole.test[:5]
    assert part.held_out == whole.held_out
    assert part.train == whole.train


def test_too_few_instances_say_how_many_there_are() -> None:
    with pytest.raises(DataError, match="9 instances are left after cleaning and at least 10 are needed"):
        split(clean(task(unlike(9))))
    parts = split(clean(task(unlike(10))))
    assert (len(parts.test), len(parts.train), parts.dev) == (2, 8, ())
    with pytest.raises(DataError, match="all 20 instances are alike, of one group"):
        split(clean(task([replace(i, group="g") for i in unlike(20)])))


def test_asking_for_more_than_there_is_says_how_many_there_are(five_hundred: SplitTask) -> None:
    with pytest.raises(ConfigError, match="asks for 450 training instances; 400 of task 'made' are left") as caught:
        five_hundred.resize(450)
    assert (caught.value.where, caught.value.hint) == ("data.n_train", "ask for 400 or fewer")


@pytest.mark.parametrize("setting", [{"n_train": 500}, {"n_train": -1}, {"test_fraction": 0}, {"split_seed": 1.5}, {"seed": 1}])
def test_settings_are_checked(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        build(SplitOptions, setting)


def test_each_reference_gets_its_turn() -> None:
    several = [Instance(f"i{k}", f"question {k}", ("a", "b", "c")) for k in range(60)]
    for instance in several:
        assert {draw_output(instance, 3, epoch) for epoch in range(3)} == {"a", "b", "c"}
        assert draw_output(instance, 3) == draw_output(replace(instance, id="other"), 3) == draw_output(instance, 3, 3)
    assert {draw_output(i, 0) for i in several} == {"a", "b", "c"}
    assert [draw_output(i, 0) for i in several] != [draw_output(i, 1) for i in several]
    assert draw_output(Instance("x", "q", ("only",)), 5, 7) == "only"


def test_the_fingerprint_is_of_what_was_used() -> None:
    instances, made = unlike(12), task(unlike(12))
    shown = [Example("q", "a")]
    mark = fingerprint(made, shown, instances[:8], instances[8:10], instances[10:])
    renamed = [replace(i, id=f"n{k}", group="g") for k, i in enumerate(reversed(instances[:8]))]
    assert fingerprint(made, shown, renamed, instances[8:10], instances[10:]) == mark
    changed = [
        fingerprint(made, shown, instances[:7], instances[8:10], instances[10:]),
        fingerprint(made, shown, instances[:9], instances[9:10], instances[10:]),
        fingerprint(made, [], instances[:8], instances[8:10], instances[10:]),
        fingerprint(replace(made, definition="Other."), shown, instances[:8], instances[8:10], instances[10:]),
        fingerprint(made, shown, instances[:8], instances[8:10], [replace(instances[10], outputs=("x",)), instances[11]]),
    ]
    assert len({mark, *changed}) == 6
    assert len(mark) == 64


PROGRAM = """
import random
from tests.data.samples import task, unlike
from tests.data.test_splits import families
from xeric.data.cleaning import clean
from xeric.data.leaks import find_leaks
from xeric.data.splits import fingerprint, split
made = task([*unlike(60), *families(random.Random(3), [3, 4, 2])])
found = split(clean(made))
print(fingerprint(found.task, [], found.train, found.dev, found.test), [i.id for i in found.pool], [i.id for i in found.test])
print(clean(made), find_leaks({"a": found.test}, {"a": [*found.pool, *found.test]}).summary())
"""


def test_repeated_runs_agree_whatever_the_hash_seed() -> None:
    root = Path(__file__).parents[2]
    outputs = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, cwd=root, capture_output=True, text=True, check=True, timeout=120
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert "Dropped" in outputs.pop()
