"""What stays together, and which side it goes to: test, training and dev instances of a cleaned task.

Sides are drawn by hashes of seed and content, so the order of a file moves nothing and one instance more moves little:

1. *Clusters* of what is alike (input and output together), of one input, one long output, or one group (customer, thread) stay on
   one side.
2. *Test* is ``test_fraction`` of the cleaned instances, fixed by ``split_seed`` alone, whatever is trained on. Clusters come in a
   drawn order; those over a tenth of the test set wait until the others are placed, so that no single family makes up the score.
   Clusters like a demonstration are never tested: demonstrations are text that is trained on.
3. *Pool*: the rest, in a drawn order. Training on n instances takes its first n, so 10 are among 25, and 25 among 50.
4. *Dev* comes out of those n, by whole clusters, because n is what the user really spent: a tenth, 10 to 50. Under 50, no dev.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import regex
from pydantic import Field
from rapidfuzz.distance import Levenshtein

from xeric.config import Config, Seed, digest
from xeric.data.leaks import TELLING, Unit, fold, jaccard, near_pairs, same_texts, shingles
from xeric.data.tasks import Example, Instance, Task
from xeric.errors import ConfigError, DataError

__all__ = ["MIN_FOR_DEV", "Alike", "SplitOptions", "SplitTask", "draw_output", "find_alike", "fingerprint", "split"]

MAX_TRAIN = 499
"""Training instances of a low-resource task, at most."""

MIN_INSTANCES = 10
"""Cleaned instances without which there is nothing to split."""

MERGED = "same_input"
"""Reason of an instance that is not kept because its outputs are references of another of the same input."""

# A number with the sign or operator before it: what changes an answer though hardly a word is changed.
_NUMBER = regex.compile(r"[-+*/=<>^]?\s?\p{N}+")
MIN_FOR_DEV = 50
"""Instances spent on training below which there is no dev set."""

_MIN_DEV, _MAX_DEV = 10, 50


class SplitOptions(Config):
    """How a task is split.

    Attributes:
        split_seed: draws the test set and the order of the pool; apart from every other seed.
        test_fraction: share of the cleaned instances that is held out.
        n_train: instances spent on training and dev together; as many as there are, at most 499, where None.
        dev_fraction: share of ``n_train`` that selects instead of trains; 0 for none.
        max_test: score a fixed part of the held-out instances only, for cheap studies; the others are not trained on either.
    """

    split_seed: Seed = 0
    test_fraction: float = Field(default=0.2, gt=0, le=0.5)
    n_train: int | None = Field(default=None, ge=0, le=MAX_TRAIN)
    dev_fraction: float = Field(default=0.1, ge=0, le=0.5)
    max_test: int | None = Field(default=None, ge=1, le=1_000_000)


@dataclass(frozen=True)
class Alike:
    """What :func:`find_alike` found.

    Attributes:
        instances: those kept, merged where asked, in an order that depends on content alone.
        labels: for each of them, the number of its cluster.
        pinned: the clusters that a demonstration belongs to.
        repeats: reason and detail by id, for those not kept; :data:`MERGED` where their outputs are.
        notes: sentences for the user.
    """

    instances: tuple[Instance, ...]
    labels: tuple[int, ...]
    pinned: frozenset[int]
    repeats: dict[str, tuple[str, str]]
    notes: tuple[str, ...]


class Clustered(Protocol):
    """What a split needs to know of a cleaned task; see :class:`xeric.data.cleaning.Cleaned`."""

    @property
    def task(self) -> Task:
        """The task with the instances kept."""

    @property
    def clusters(self) -> tuple[int, ...]:
        """For each instance, the number of its cluster."""

    @property
    def pinned(self) -> frozenset[int]:
        """The clusters that belong to the training side."""


@dataclass(frozen=True)
class SplitTask:
    """The sides of a task. Make another size with :meth:`resize`, take out leaks with :meth:`without`.

    Attributes:
        task: the cleaned task.
        test: what is scored.
        train: what is trained on, in the order of the pool.
        dev: what selects; empty under 50.
        pool: everything that may be trained on, in drawn order; ``train`` and ``dev`` are the first :attr:`n_train` of it.
        held_out: the whole test side; larger than ``test`` under ``max_test``.
        clusters: cluster number by instance id.
        ratio: share of the cleaned instances that is held out.
        removed: ids taken out of the pool by :meth:`without`.
    """

    task: Task
    options: SplitOptions
    test: tuple[Instance, ...]
    train: tuple[Instance, ...]
    dev: tuple[Instance, ...]
    pool: tuple[Instance, ...]
    held_out: tuple[Instance, ...]
    clusters: dict[str, int]
    ratio: float
    removed: frozenset[str] = field(default_factory=frozenset)

    @property
    def n_train(self) -> int:
        """Instances spent: training and dev together."""
        return len(self.train) + len(self.dev)

    @property
    def counts(self) -> dict[str, Any]:
        """Sizes of all sides and the test ratio reached, for a record."""
        sides = {"train": self.train, "dev": self.dev, "test": self.test, "pool": self.pool, "held_out": self.held_out}
        counts: dict[str, Any] = {name: len(side) for name, side in sides.items()}
        return {**counts, "leaks_removed": len(self.removed), "test_ratio": round(self.ratio, 4)}

    def resize(self, n_train: int | None) -> SplitTask:
        """Return the same split with another number of training instances; the test set stays.

        Raises:
            ConfigError: the pool has fewer.
        """
        return _sized(replace(self, options=self.options.model_copy(update={"n_train": n_train})))

    def without(self, ids: Collection[str]) -> SplitTask:
        """Return the split with instances taken out of the pool (leaks); others of the pool move up, as far as there are any."""
        gone = frozenset(i.id for i in self.pool if i.id in ids)
        pool = tuple(i for i in self.pool if i.id not in gone)
        wanted = self.options.n_train
        options = self.options.model_copy(update={"n_train": None if wanted is None else min(wanted, len(pool))})
        return _sized(replace(self, pool=pool, options=options, removed=self.removed | gone))


def find_alike(
    instances: Sequence[Instance],
    shown: Sequence[Example] = (),
    *,
    exact: bool = True,
    merge: bool = True,
    near: float | None = 0.9,
    similarity: float = 0.7,
    max_share: float = 0.5,
    common_share: float = 0.1,
) -> Alike:
    """Drop repeated instances, merge those of one input, and number the clusters of what is alike.

    Texts are compared by pairs of words or, where the median text has under 20 words, by 5 characters: one changed word of a
    short text would leave too few pairs of words.

    Args:
        instances: of one task, in one form.
        shown: its demonstrations: an instance that repeats one is dropped, a cluster like one is pinned.
        exact: drop the same input and outputs.
        merge: make instances of one input one, with all their outputs.
        near: similarity, of windows and of word sequences, from which an instance repeats another; None drops none.
        similarity: Jaccard similarity of windows from which two instances share a cluster.
        max_share: a cluster that chains more than this share of the instances is linked anew at higher similarities.
        common_share: an input that more than this share of the instances have (at least 6) is the task's own: no link.
    """
    counts = Counter(_plain(i.input) for i in instances)
    common = {text for text, count in counts.items() if not text or count > max(5, common_share * len(instances))}
    nodes, groups, repeats = _merge(instances, shown, common, exact, merge)
    texts = [f"{e.input}\n{e.output}" for e in shown] + ["\n".join([i.input, *i.outputs]) for i in nodes]
    lengths = sorted(len(fold(text)) for text in texts)
    windows: tuple[Unit, int] = ("word", 2) if lengths and lengths[len(lengths) // 2] >= 20 else ("char", 5)
    every: list[Example | Instance] = [*shown, *nodes]
    outputs = [[e.output] for e in shown] + [list(i.outputs) for i in nodes]
    # One long output counts as likeness that gives way only when a cluster is taken apart.
    likeness = [(i, j, 0.94) for i, j in same_texts(outputs)]
    pairs = sorted([*near_pairs([shingles(text, *windows) for text in texts], similarity), *likeness])
    links = list(_links(every, [set() for _ in shown] + [groups[i.id] for i in nodes], common))
    labels, taken_apart = _components(len(texts), links, pairs, similarity, max_share)
    gone: set[int] = set()
    for i, j, _ in pairs if near is not None else ():
        one, other = every[i], every[j]
        if isinstance(other, Instance) and i not in gone and j not in gone and _repeats(one, other, near or 1.0, windows):
            gone.add(j)
            reason, like = ("demonstration", "a demonstration") if isinstance(one, Example) else ("near_duplicate", one.id)
            repeats[other.id] = (reason, f"nearly the same as {like}")
    kept = [k for k in range(len(shown), len(texts)) if k not in gone]
    note = f"{taken_apart} instances hang together at similarity {similarity:g}; they were taken apart at a higher one"
    return Alike(
        tuple(nodes[k - len(shown)] for k in kept),
        tuple(labels[k] for k in kept),
        frozenset(labels[: len(shown)]),
        repeats,
        (note,) if taken_apart else (),
    )


def split(cleaned: Clustered, options: SplitOptions | None = None) -> SplitTask:
    """Split a cleaned task into test, training and dev instances; see the module's text for the protocol.

    Raises:
        DataError: there are too few instances, or all of them belong together.
        ConfigError: ``n_train`` is larger than the pool.
    """
    options = options or SplitOptions()
    instances = cleaned.task.instances
    where = str(cleaned.task.path or cleaned.task.name)
    if len(instances) < MIN_INSTANCES:
        what = f"{len(instances)} instances are left after cleaning and at least {MIN_INSTANCES} are needed"
        raise DataError(what, where=where, hint="add instances, or switch off the cleaning rules that drop them")
    clusters = dict(zip((i.id for i in instances), cleaned.clusters, strict=True))
    testable = [i for i in instances if clusters[i.id] not in cleaned.pinned]
    families = _families(testable, clusters, f"{options.split_seed}:test")
    held = _fill(families, max(1, round(options.test_fraction * len(instances))))
    if not held and families:
        held = min(families, key=len).copy()
    if not held or len(held) == len(instances):
        what = f"all {len(instances)} instances are alike, of one group or like a demonstration: none can be held out"
        raise DataError(what, where=where, hint="add other instances, or check the groups")
    held.sort(key=lambda i: _draw(f"{options.split_seed}:test", i))
    outside = {i.id for i in held}
    pool = sorted((i for i in instances if i.id not in outside), key=lambda i: _draw(f"{options.split_seed}:pool", i))
    test = tuple(held if options.max_test is None else held[: options.max_test])
    ratio = len(held) / len(instances)
    return _sized(SplitTask(cleaned.task, options, test, (), (), tuple(pool), tuple(held), clusters, ratio))


def draw_output(instance: Instance, seed: int, epoch: int = 0) -> str:
    """Return the reference to train on: one drawn by seed, the next one in each further epoch, so that all get their turn."""
    first = int(hashlib.sha256(f"{seed}:output:{instance.key}".encode()).hexdigest(), 16)
    return instance.outputs[(first + epoch) % len(instance.outputs)]


def fingerprint(
    task: Task, demonstrations: Iterable[Example], train: Iterable[Instance], dev: Iterable[Instance], test: Iterable[Instance]
) -> str:
    """Return the SHA-256 of what was really used: name, definition, demonstrations in order, and the sets of instances.

    Ids and the order of instances do not count, texts, references and sides do.
    """

    def side(instances: Iterable[Instance]) -> list[Any]:
        return sorted([i.input, list(i.outputs)] for i in instances)

    shown = [[e.input, e.output] for e in demonstrations]
    used = {"train": side(train), "dev": side(dev), "test": side(test)}
    return digest({"name": task.name, "definition": task.definition, "demonstrations": shown, **used})


def _draw(salt: str, instance: Instance) -> tuple[str, str]:
    return hashlib.sha256(f"{salt}:{instance.key}".encode()).hexdigest(), instance.id


def _families(instances: Iterable[Instance], clusters: dict[str, int], salt: str) -> list[list[Instance]]:
    """Return the clusters, in an order drawn by the smallest draw among their members."""
    families: dict[int, list[Instance]] = {}
    for instance in instances:
        families.setdefault(clusters[instance.id], []).append(instance)
    return sorted(families.values(), key=lambda family: min(_draw(salt, i) for i in family))


def _fill(families: Sequence[list[Instance]], target: int) -> list[Instance]:
    """Return whole families of ``target`` instances together, or as near as they come; small families first."""
    modest = max(5, target // 10)
    large = sorted((f for f in families if len(f) > modest), key=len)
    taken: list[Instance] = []
    left: list[list[Instance]] = []
    for family in [*(f for f in families if len(f) <= modest), *large]:
        if len(taken) + len(family) <= target:
            taken.extend(family)
        else:
            left.append(family)
    if left:
        nearest = min(left, key=len)
        if abs(len(taken) + len(nearest) - target) < abs(len(taken) - target):
            taken.extend(nearest)
    return taken


def _sized(split_: SplitTask) -> SplitTask:
    options, pool = split_.options, split_.pool
    n = min(MAX_TRAIN, len(pool)) if options.n_train is None else options.n_train
    if n > len(pool):
        what = f"asks for {n} training instances; {len(pool)} of task {split_.task.name!r} are left beside the test set"
        raise ConfigError(what, where="data.n_train", hint=f"ask for {len(pool)} or fewer")
    chosen = pool[:n]
    dev: set[str] = set()
    if n >= MIN_FOR_DEV and options.dev_fraction:
        target = min(_MAX_DEV, max(_MIN_DEV, round(options.dev_fraction * n)))
        picked = _fill(_families(chosen, split_.clusters, f"{options.split_seed}:dev"), target)
        dev = {i.id for i in picked} if len(picked) < n else set()
    train = tuple(i for i in chosen if i.id not in dev)
    return replace(split_, train=train, dev=tuple(i for i in chosen if i.id in dev))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _merge(
    instances: Sequence[Instance], shown: Sequence[Example], common: set[str], exact: bool, merge: bool
) -> tuple[list[Instance], dict[str, set[str]], dict[str, tuple[str, str]]]:
    """Return the instances left, the groups that each stands for, and the others with reason and detail."""
    demonstrated = {(_plain(e.input), _plain(e.output)) for e in shown}
    nodes: dict[str, Instance] = {}
    groups: dict[str, set[str]] = {}
    repeats: dict[str, tuple[str, str]] = {}
    same: dict[tuple[str, frozenset[str]], str] = {}
    asked: dict[str, str] = {}
    for instance in sorted(instances, key=lambda i: (i.key, i.id)):
        question, answers = _plain(instance.input), frozenset(map(_plain, instance.outputs))
        id_ = instance.id
        if exact and any((question, answer) in demonstrated for answer in answers):
            repeats[id_] = ("demonstration", "the same as a demonstration")
            continue
        if exact and (question, answers) in same:
            id_ = same[question, answers]
            repeats[instance.id] = ("exact_duplicate", f"the same as {id_}")
        elif merge and question not in common and question in asked:
            id_ = asked[question]
            nodes[id_] = replace(nodes[id_], outputs=tuple(dict.fromkeys([*nodes[id_].outputs, *instance.outputs])))
            repeats[instance.id] = (MERGED, f"its outputs are references of {id_}")
        else:
            nodes[id_] = instance
        same.setdefault((question, answers), id_)
        asked.setdefault(question, id_)
        groups.setdefault(id_, set()).update(() if instance.group is None else [instance.group])
    return list(nodes.values()), groups, repeats


def _links(nodes: Sequence[Example | Instance], groups: Sequence[set[str]], common: set[str]) -> Iterator[tuple[int, int]]:
    first: dict[tuple[str, str], int] = {}
    for position, (node, names) in enumerate(zip(nodes, groups, strict=True)):
        question = _plain(node.input)
        marks = [("group", name) for name in sorted(names)] + ([("input", question)] if question not in common else [])
        yield from ((first.setdefault(mark, position), position) for mark in marks)


def _components(
    count: int, links: Sequence[tuple[int, int]], pairs: Sequence[tuple[int, int, float]], similarity: float, max_share: float
) -> tuple[list[int], int]:
    """Number the connected components; return also how many members the largest had that was taken apart."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    level = np.full(count, similarity)
    taken_apart = 0
    while count:
        edges = np.array([*links, *((i, j) for i, j, s in pairs if s >= max(level[i], level[j]))], dtype=np.int64).reshape(-1, 2)
        graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
        labels = connected_components(graph, directed=False)[1]
        giant = np.bincount(labels)[labels] > max(max_share * count, 1)
        if not (giant & (level < 0.95)).any():
            return labels.tolist(), taken_apart
        taken_apart = max(taken_apart, int(giant.sum()))
        level[giant] = np.minimum(level[giant] + 0.05, 0.95)
    return [], 0


def _repeats(one: Example | Instance, other: Instance, near: float, windows: tuple[Unit, int]) -> bool:
    """Say whether input and outputs are nearly the same, numbers entirely; the input's words too where the output is short."""
    output = one.output if isinstance(one, Example) else "\n".join(one.outputs)
    short = len(" ".join(fold(output))) < TELLING
    for left, right, strict in ((output, "\n".join(other.outputs), False), (one.input, other.input, short)):
        if sorted(_NUMBER.findall(left)) != sorted(_NUMBER.findall(right)):
            return False
        if fold(left) == fold(right):
            continue
        # Windows count every changed word n times; the sequence sees sentences moved around.
        if strict or jaccard(shingles(left, *windows), shingles(right, *windows)) < near:
            return False
        if Levenshtein.normalized_similarity(fold(left), fold(right)) < near:
            return False
    return True
