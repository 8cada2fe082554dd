"""The split of a cleaned task into test, training and dev instances: instances that are alike stay on one side.

Sides are drawn by hashes of seed and content, so the order of a file moves nothing and one instance more moves little:

1. *Clusters* of what is alike or of one group (customer, thread), see :mod:`xeric.data.duplicates`, stay on one side.
2. *Test* is ``test_fraction`` of the cleaned instances, fixed by ``split_seed`` alone, whatever is trained on. Clusters come in a
   drawn order; those over a tenth of the test set wait until the others are placed, so that no single family makes up the score.
   Clusters like a demonstration are never tested: demonstrations are text that is trained on.
3. *Pool*: the rest, in a drawn order. Training on n instances takes its first n, so 10 are among 25, and 25 among 50.
4. *Dev* comes out of those n, by whole clusters, because n is what the user really spent: a tenth, 10 to 50. Under 50, no dev.
   What an earlier training has seen is on the training side, and is dev only as far as the rest does not suffice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import Field

from xeric.config import Config, Seed, digest
from xeric.data.cleaning import Cleaned
from xeric.data.tasks import Example, Instance, Task
from xeric.errors import ConfigError, DataError

__all__ = ["MAX_TRAIN", "MIN_FOR_DEV", "SplitOptions", "SplitTask", "TooFewInstancesError", "draw_output", "fingerprint", "split"]

MAX_TRAIN = 499
"""Training instances of a low-resource task, at most."""

MIN_INSTANCES = 10
"""Cleaned instances without which there is nothing to split."""

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
        seen: numbers of the clusters that an earlier training has seen.
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
    seen: frozenset[int] = frozenset()
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
        taken_out = frozenset(i.id for i in self.pool if i.id in ids)
        pool = tuple(i for i in self.pool if i.id not in taken_out)
        wanted = self.options.n_train
        options = self.options.model_copy(update={"n_train": None if wanted is None else min(wanted, len(pool))})
        return _sized(replace(self, pool=pool, options=options, removed=self.removed | taken_out))


class TooFewInstancesError(DataError):
    """Too few instances are left after cleaning."""


def split(cleaned: Cleaned, options: SplitOptions | None = None) -> SplitTask:
    """Split a cleaned task into test, training and dev instances; see the module's text for the protocol.

    Raises:
        TooFewInstancesError: there are too few instances.
        DataError: all of them belong together.
        ConfigError: ``n_train`` is larger than the pool.
    """
    options = options or SplitOptions()
    instances = cleaned.task.instances
    where = str(cleaned.task.path or cleaned.task.name)
    if len(instances) < MIN_INSTANCES:
        what = f"{len(instances)} instances are left after cleaning and at least {MIN_INSTANCES} are needed"
        hint = "add instances, or switch off the cleaning rules that drop them"
        raise TooFewInstancesError(what, where=where, hint=hint)
    clusters = dict(zip((i.id for i in instances), cleaned.clusters, strict=True))
    testable = [i for i in instances if clusters[i.id] not in cleaned.pinned | cleaned.seen]
    families = _families(testable, clusters, f"{options.split_seed}:test")
    held_out = _fill(families, max(1, round(options.test_fraction * len(instances))))
    if not held_out and families:
        held_out = min(families, key=len).copy()
    if not held_out or len(held_out) == len(instances):
        what = f"all {len(instances)} instances are alike, of one group or like a demonstration: none can be held out"
        raise DataError(what, where=where, hint="add other instances, or check the groups")
    held_out.sort(key=lambda i: _draw(f"{options.split_seed}:test", i))
    outside = {i.id for i in held_out}
    pool = sorted((i for i in instances if i.id not in outside), key=lambda i: _draw(f"{options.split_seed}:pool", i))
    test = tuple(held_out if options.max_test is None else held_out[: options.max_test])
    ratio = len(held_out) / len(instances)
    return _sized(SplitTask(cleaned.task, options, test, (), (), tuple(pool), tuple(held_out), clusters, ratio, cleaned.seen))


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
        return sorted([i.input, list(i.outputs), *([i.picture.sha256] if i.picture else [])] for i in instances)

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


def _sized(split_task: SplitTask) -> SplitTask:
    options, pool = split_task.options, split_task.pool
    n = min(MAX_TRAIN, len(pool)) if options.n_train is None else options.n_train
    if n > len(pool):
        what = f"asks for {n} training instances; {len(pool)} of task {split_task.task.name!r} are left beside the test set"
        raise ConfigError(what, where="data.n_train", hint=f"ask for {len(pool)} or fewer")
    chosen = pool[:n]
    dev: set[str] = set()
    if n >= MIN_FOR_DEV and options.dev_fraction:
        target = min(_MAX_DEV, max(_MIN_DEV, round(options.dev_fraction * n)))
        families = _families(chosen, split_task.clusters, f"{options.split_seed}:dev")
        unseen, seen = (
            [family for family in families if (split_task.clusters[family[0].id] in split_task.seen) is is_seen]
            for is_seen in (False, True)
        )
        picked = _fill(unseen, target)
        if sum(map(len, unseen)) < target:
            picked += _fill(seen, target - len(picked))
        dev = {i.id for i in picked} if len(picked) < n else set()
    train = tuple(i for i in chosen if i.id not in dev)
    return replace(split_task, train=train, dev=tuple(i for i in chosen if i.id in dev))
