"""How often a study calls a difference between two methods: where there is none, and where there is one.

    python bench/verdict_rates.py [--studies 1000] [--draws 300] [--tasks 9] [--instances 100]

Each row of the table is a world; each of its studies draws test instances and runs anew, then judges the difference as a study
does (:mod:`xeric.analysis.comparison`), and beside it by two procedures that we do not use: the percentile bootstrap over seeds
and instances, and one t quantile with Satterthwaite's degrees of freedom. What is printed is the share of studies that call a
difference at 5%; 1,000 studies know a rate of 5% to within 1.4 points.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np

from xeric.analysis.comparison import Arm, Arms, resample_arms
from xeric.analysis.recommend import Candidate, recommend
from xeric.metrics.base import Signature, Statistics
from xeric.metrics.measuring import Group, Measured
from xeric.metrics.validity import LengthRatio
from xeric.statistics.arrays import FloatArray
from xeric.statistics.decisions import decide_together
from xeric.statistics.estimates import ALPHA, Estimate, half_width


@dataclass(frozen=True)
class World:
    """Standard deviations in points.

    Attributes:
        name: for the table.
        seeds: runs of the first and the second method; 0 is one result that does not depend on a seed.
        spread: of each method's mean over tasks, from seed to seed.
        common: over instances, of the difference between the methods that all runs show.
        own: over instances, of what only one run shows.
        shape: of the spread between seeds: ``normal``, ``heavy`` (t with 3 degrees of freedom) or ``skewed`` (exponential).
        ratio: whether the score is a ratio of sums over instances of very different length, as in BLEU, instead of a mean.
        difference: between the methods.
    """

    name: str
    seeds: tuple[int, int] = (3, 3)
    spread: tuple[float, float] = (0.5, 0.5)
    common: float = 6.0
    own: float = 9.0
    shape: str = "normal"
    ratio: bool = False
    difference: float = 0.0


WORLDS = (
    World("both methods alike"),
    World("seeds move nothing but instances", spread=(0.0, 0.0)),
    World("seeds move a lot", spread=(2.0, 2.0)),
    World("one method far less stable", spread=(2.0, 0.3)),
    World("trained against untrained", seeds=(3, 0), spread=(1.0, 0.0)),
    World("runs agree on no instance", common=2.0, own=15.0),
    World("heavy tails between seeds", shape="heavy", spread=(1.0, 1.0)),
    World("skewed between seeds, one method", shape="skewed", seeds=(3, 0), spread=(1.0, 0.0)),
    World("a ratio of sums", ratio=True),
    World("2 seeds", seeds=(2, 2)),
    World("5 seeds", seeds=(5, 5)),
    World("one run lost", seeds=(3, 2)),
    World("1 seed", seeds=(1, 1)),
    World("1 seed, spread as assumed", seeds=(1, 1), spread=(1.0, 1.0)),
    World("1 seed, spread twice the assumed", seeds=(1, 1), spread=(2.0, 2.0)),
    World("a difference of 2 points", difference=2.0),
    World("a difference of 3 points", difference=3.0),
    World("a difference of 3 points, 2 seeds", difference=3.0, seeds=(2, 2)),
    World("a difference of 5 points, 1 seed", difference=5.0, seeds=(1, 1)),
)


def draw_study(world: World, rng: np.random.Generator, *, tasks: int, instances: int) -> dict[str, dict[int, Measured]]:
    """Return the runs of two methods, ``a`` and ``b``, on the same instances."""
    shape = (tasks, instances)
    difficulty = rng.normal(30, 15, size=shape)
    lengths = rng.lognormal(3, 0.7, size=shape) if world.ratio else np.ones(shape)
    runs: dict[str, dict[int, Measured]] = {}
    for name, seeds, spread, shift in zip("ab", world.seeds, world.spread, (world.difference, 0.0), strict=True):
        # Half of the methods' common difference on an instance lies with each of them.
        method = difficulty + shift + rng.normal(0, world.common / math.sqrt(2), size=shape)
        runs[name] = {}
        for seed in range(max(seeds, 1)):
            points = method
            if seeds:
                points = method + _effect(world.shape, spread, rng) + rng.normal(0, world.own, size=shape)
            runs[name][seed] = _measured(points, lengths)
    return runs


def _effect(shape: str, spread: float, rng: np.random.Generator) -> float:
    if shape == "heavy":
        return spread * float(rng.standard_t(3)) / math.sqrt(3)
    return spread * float(rng.exponential() - 1 if shape == "skewed" else rng.normal())


def _group(task: str, rows: FloatArray) -> Group:
    ids = tuple(str(number) for number in range(len(rows)))
    return Group(task, "en", 1.0, ids, {"points": Statistics(rows, LengthRatio.columns, Signature("points", {}))})


def _measured(points: FloatArray, lengths: FloatArray) -> Measured:
    """Return a run whose score is the given points, weighted by length: 100 times a ratio of sums, as the length ratio is."""
    groups = tuple(
        _group(f"task {t:02}", np.stack([p * n / 100, n], axis=1)) for t, (p, n) in enumerate(zip(points, lengths, strict=True))
    )
    return Measured({"points": LengthRatio()}, groups, {})


def fixed_arms(world: World) -> set[str]:
    """Return which of the two methods do not depend on a seed."""
    return {name for name, seeds in zip("ab", world.seeds, strict=True) if not seeds}


def ours(arms: Arms) -> bool:
    """Say whether a study calls the difference."""
    p = arms.difference("a", "b", ["points"]).p()
    return p is not None and p <= ALPHA


def percentile(arms: Arms, rng: np.random.Generator) -> bool:
    """Say whether the percentile bootstrap calls it that draws seeds and instances, the same for both methods."""

    def drawn(arm: Arm) -> FloatArray:
        scores = arm.draws[..., 0].mean(axis=-1)
        runs = scores.shape[1]
        return np.take_along_axis(scores, rng_runs[:, :runs] % runs, axis=1).mean(axis=1)

    most = max(len(arm.seeds) for arm in arms.arms.values())
    rng_runs = rng.integers(most, size=(len(arms.arms["a"].draws), most))
    low, high = np.quantile(drawn(arms.arms["a"]) - drawn(arms.arms["b"]), [ALPHA / 2, 1 - ALPHA / 2])
    return not low <= 0 <= high


def satterthwaite(arms: Arms) -> bool:
    """Say whether one t quantile for the sum of the variances calls it."""
    difference: Estimate = arms.difference("a", "b", ["points"])
    assert difference.instances is not None
    total = difference.runs.variance + difference.instances.variance
    df = total**2 / (
        difference.runs.variance**2 / difference.runs.df + difference.instances.variance**2 / difference.instances.df
    )
    return abs(difference.value) > float(half_width(ALPHA, total, df, 0.0))


def rates(world: World, *, studies: int, draws: int, tasks: int, instances: int, seed: int = 0) -> tuple[float, float, float]:
    """Return how often a difference is called: by a study, by the percentile bootstrap, by Satterthwaite's quantile."""
    calls = np.zeros(3)
    for number in range(studies):
        rng = np.random.default_rng([seed, number])
        made = draw_study(world, rng, tasks=tasks, instances=instances)
        arms = resample_arms(made, fixed=fixed_arms(world), draws=draws, seed=number)
        calls += [ours(arms), percentile(arms, rng), satterthwaite(arms)]
    first, second, third = (calls / studies).tolist()
    return first, second, third


@dataclass(frozen=True)
class Field:
    """Several methods in one study, judged together.

    Attributes:
        name: for the table.
        truth: true mean of each method, in points below the best.
        seconds: of training, in the same order.
    """

    name: str
    truth: tuple[float, ...]
    seconds: tuple[float, ...]


MARGIN = 1.0
FIELDS = (
    Field("four methods alike, the cheapest last", (0, 0, 0, 0), (40, 30, 20, 10)),
    Field("three cheaper ones just worse than the margin", (0, -1.01, -1.01, -1.01), (40, 30, 20, 10)),
    Field("one cheaper one as good, one far worse", (0, 0, -4), (40, 20, 10)),
    Field("a dear one 4 points better", (0, -4, -4, -4), (40, 30, 20, 10)),
)


def draw_field(field: Field, rng: np.random.Generator, *, tasks: int, instances: int) -> dict[str, dict[int, Measured]]:
    """Return three runs of every method, as in the first of :data:`WORLDS`."""
    shape = (tasks, instances)
    difficulty, world = rng.normal(30, 15, size=shape), WORLDS[0]
    runs: dict[str, dict[int, Measured]] = {}
    for number, truth in enumerate(field.truth):
        method = difficulty + truth + rng.normal(0, world.common / math.sqrt(2), size=shape)
        runs[str(number)] = {
            seed: _measured(method + rng.normal(0, world.spread[0]) + rng.normal(0, world.own, size=shape), np.ones(shape))
            for seed in range(3)
        }
    return runs


def field_rates(field: Field, *, studies: int, draws: int, tasks: int, instances: int, seed: int = 1) -> dict[str, float]:
    """Return how often a field's studies call any difference, the chain of claims first to last among them, and what they
    recommend: the cheapest that is as good as any, or one that is worse than the margin."""
    counts = dict.fromkeys(
        ("any link of the chain called wrongly", "whole chain called", "best value taken", "too bad a one taken"), 0
    )
    good = [number for number, truth in enumerate(field.truth) if truth >= -MARGIN]
    value = min(good, key=lambda number: field.seconds[number])
    candidates = {str(n): Candidate(str(n), seconds, 1) for n, seconds in enumerate(field.seconds)}
    for number in range(studies):
        rng = np.random.default_rng([seed, number])
        runs = draw_field(field, rng, tasks=tasks, instances=instances)
        arms = resample_arms(runs, draws=draws, seed=number)
        links = [(str(n), str(n + 1), field.truth[n] - field.truth[n + 1]) for n in range(len(field.truth) - 1)]
        decisions = decide_together([(arms.difference(a, b, ["points"]), 0.0) for a, b, _ in links])
        called = [d is not None and d.p_corrected <= ALPHA for d in decisions]
        counts["any link of the chain called wrongly"] += any(
            c for c, (*_, truth) in zip(called, links, strict=True) if not truth
        )
        counts["whole chain called"] += all(called)
        chosen = recommend(candidates, runs, metric="points", margin=MARGIN)
        assert chosen is not None
        counts["best value taken"] += int(chosen.arm) == value
        counts["too bad a one taken"] += int(chosen.arm) not in good
    return {name: count / studies for name, count in counts.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--tasks", type=int, default=9)
    parser.add_argument("--instances", type=int, default=100)
    given = parser.parse_args()
    print(f"{given.studies} studies of {given.tasks} tasks with {given.instances} instances, {given.draws} draws\n")
    print("| world | seeds | spread | difference | a study | percentile bootstrap | Satterthwaite |")
    print("|---|---|---|---|---|---|---|")
    for world in WORLDS:
        rated = rates(world, studies=given.studies, draws=given.draws, tasks=given.tasks, instances=given.instances)
        shown = " | ".join(f"{100 * rate:.1f}%" for rate in rated)
        seeds, spread = ("{} and {}".format(*pair) for pair in (world.seeds, world.spread))
        print(f"| {world.name} | {seeds} | {spread} | {world.difference:g} | {shown} |", flush=True)
    for number, field in enumerate(FIELDS):
        rated = field_rates(field, studies=given.studies, draws=given.draws, tasks=given.tasks, instances=given.instances)
        if not number:
            print("\n| field, 3 seeds | truth | " + " | ".join(rated) + " |\n|---|---|" + "---|" * len(rated))
        truth = ", ".join(f"{value:g}" for value in field.truth)
        print(f"| {field.name} | {truth} | " + " | ".join(f"{100 * rate:.1f}%" for rate in rated.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
