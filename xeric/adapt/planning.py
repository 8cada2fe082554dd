"""What the time is spent on: decided once, from the speed that was measured on this machine, and kept in the folder.

The reserve comes first: training the choice on all examples and scoring it on the test set, beside prompting. Then what more
examples would bring (a learning curve), if it takes no more than a fifth of the time. All the rest goes into the search: as many
candidates as it allows, by successive halving (Karnin et al. 2013; Jamieson & Talwalkar 2016, arXiv 1502.07943): all of them at a
ninth or a third of the steps, the best third of them at three times as many, the best at the steps of the final training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from xeric.config import Config
from xeric.data.batching import steps_per_epoch
from xeric.data.prompt_options import UNTRAINED_SETTINGS
from xeric.data.splits import MIN_FOR_DEV
from xeric.training.options import TrainOptions

__all__ = [
    "BATCH_SIZE",
    "FEWEST_STEPS",
    "KEEP",
    "CandidateSettings",
    "Costs",
    "Rung",
    "Sizes",
    "TimePlan",
    "halving",
    "plan_in_words",
    "plan_time",
    "search_seconds",
    "steps_of",
]

BATCH_SIZE = TrainOptions().batch_size

_EPOCHS = (3, 2, 1)
FEWEST_STEPS = 8
"""Optimiser steps under which a comparison says nothing."""

KEEP = 3
"""One in so many candidates goes on to the next rung."""

_MOST_RUNGS = 3
_FINAL_SHARE, _TEST_SHARE, _PROMPTING_SHARE, _CURVE_SHARE = 0.35, 0.2, 0.1, 0.2
_MARGIN = 0.1
"""Share of the time that is kept free: loading, the report, estimates that are too short."""

_DEV_FRACTION, _FEWEST_DEV, _MOST_DEV = 0.2, 10, 50
_FEWEST_TEST = 20
_FEWEST_FOR_CURVE = 80


class CandidateSettings(Config):
    """A method with settings that is tried.

    Attributes:
        id: name of its runs' folders.
        method: label of the method.
        settings: that differ from the method's defaults, by dotted path.
    """

    id: str
    method: str
    settings: dict[str, Any] = {}


class Rung(Config):
    """A round of the search.

    Attributes:
        steps: of the optimiser, of each candidate's training.
        candidates: how many take part.
    """

    steps: int
    candidates: int


class TimePlan(Config):
    """What is done in the time given.

    Attributes:
        base: name of the base that it was made for.
        dev_fraction: share of the training examples that candidates are compared on; 0 where there are too few.
        max_test: test instances that are scored; None is all of them.
        epochs: of the final training; None where not even one fits.
        max_steps: of the final training, where not even one epoch fits.
        rungs: of the search; none where no candidate can be tried.
        curve: training sizes, beside all examples, that the learning curve is drawn through.
        reserve: seconds that are kept for what comes after the search.
        expected: seconds by what they are for, as estimated.
    """

    base: str
    dev_fraction: float
    max_test: int | None
    epochs: int | None
    max_steps: int | None
    rungs: tuple[Rung, ...]
    curve: tuple[int, ...]
    reserve: float
    expected: dict[str, float]


@dataclass(frozen=True)
class Sizes:
    """How many examples there are: to train on (dev among them), and held out for the test."""

    pool: int
    test: int


class Costs(Protocol):
    """Seconds that work takes on this machine."""

    def step(self, candidate: CandidateSettings) -> float:
        """Return the seconds of an optimiser step."""

    def text(self) -> float:
        """Return the seconds of decoding a text."""


def steps_of(plan: TimePlan, examples: int) -> int:
    """Return the steps of a final training on so many examples."""
    if plan.epochs is None:
        return plan.max_steps or FEWEST_STEPS
    return plan.epochs * steps_per_epoch(examples, BATCH_SIZE)


def plan_time(
    base: str, seconds: float, sizes: Sizes, candidates: Sequence[CandidateSettings], costs: Costs, *, seeds: int = 1
) -> TimePlan:
    """Return what is done in the time that is left.

    Args:
        base: name of the base.
        seconds: that are left.
        sizes: of the data.
        candidates: most promising first; at least one.
        costs: of this machine.
        seeds: final trainings, those of the learning curve likewise, one after another.
    """
    text, step = max(costs.text(), 1e-9), max(costs.step(candidates[0]), 1e-9)
    final_step, decoded = seeds * step, seeds + len(UNTRAINED_SETTINGS)
    tested = min(sizes.test, max(_FEWEST_TEST, int(_TEST_SHARE * seconds / (decoded * text))))
    dev = _dev_size(sizes.pool, int(_PROMPTING_SHARE * seconds / (2 * text)))
    epochs = next(
        (e for e in _EPOCHS if e * steps_per_epoch(sizes.pool, BATCH_SIZE) * final_step <= _FINAL_SHARE * seconds), None
    )
    max_steps = None if epochs else max(FEWEST_STEPS, int(_FINAL_SHARE * seconds / final_step))
    final_steps = epochs * steps_per_epoch(sizes.pool, BATCH_SIZE) if epochs else (max_steps or 0)
    expected = {
        "prompting": 2 * dev * text,
        "final": final_steps * final_step,
        "test": decoded * tested * text,
    }
    sizes_of_curve = (sizes.pool // 4, sizes.pool // 2)
    curve_seconds = sum(sizes_of_curve) / sizes.pool * expected["final"] + len(sizes_of_curve) * seeds * tested * text
    draws_curve = epochs is not None and sizes.pool >= _FEWEST_FOR_CURVE and curve_seconds <= _CURVE_SHARE * seconds
    expected["curve"] = curve_seconds if draws_curve else 0.0
    reserve = expected["final"] + expected["test"] + expected["curve"] + _MARGIN * seconds
    trained = max(final_steps * (sizes.pool - dev) // sizes.pool, 1)
    rungs = _search(seconds - reserve - expected["prompting"], trained, dev * text, candidates, costs) if dev else ()
    expected["search"] = search_seconds(rungs, dev * text, candidates, costs)
    return TimePlan(
        base=base,
        dev_fraction=dev / sizes.pool if dev else 0.0,
        max_test=tested if tested < sizes.test else None,
        epochs=epochs,
        max_steps=max_steps,
        rungs=rungs,
        curve=sizes_of_curve if draws_curve else (),
        reserve=reserve,
        expected={name: round(value, 1) for name, value in expected.items()},
    )


def _dev_size(pool: int, affordable: int) -> int:
    if pool < MIN_FOR_DEV:
        return 0
    return max(_FEWEST_DEV, min(_MOST_DEV, round(_DEV_FRACTION * pool), affordable))


def _search(
    seconds: float, steps: int, dev_seconds: float, candidates: Sequence[CandidateSettings], costs: Costs
) -> tuple[Rung, ...]:
    """Return the rungs with most candidates that fit into the time, and of these the ones with most steps."""
    for count in range(len(candidates), 0, -1):
        for number in range(1, _MOST_RUNGS + 1):
            rungs = halving(count, number, steps)
            if rungs and search_seconds(rungs, dev_seconds, candidates, costs) <= seconds:
                return rungs
    return ()


def halving(candidates: int, rungs: int, steps: int) -> tuple[Rung, ...]:
    """Return so many rungs, the last with all steps; empty where the first would be too short, or one would drop no candidate."""
    sizes = [math.ceil(candidates / KEEP**number) for number in range(rungs)]
    lengths = [steps // KEEP ** (rungs - 1 - number) for number in range(rungs)]
    if len(set(sizes)) < rungs or (rungs > 1 and lengths[0] < FEWEST_STEPS):
        return ()
    return tuple(Rung(steps=length, candidates=size) for length, size in zip(lengths, sizes, strict=True))


def search_seconds(rungs: Sequence[Rung], dev_seconds: float, candidates: Sequence[CandidateSettings], costs: Costs) -> float:
    """Return how long a search takes, if the candidates that come first go on (which of them does is not known before)."""
    return sum(rung.steps * costs.step(candidate) + dev_seconds for rung in rungs for candidate in candidates[: rung.candidates])


def plan_in_words(plan: TimePlan, candidates: int) -> str:
    """Return a plan for people."""
    if plan.rungs:
        steps = ", then ".join(f"{rung.candidates} for {rung.steps} steps" for rung in plan.rungs)
        search = f"of {candidates} candidates, {steps}"
    elif plan.dev_fraction:
        search = "no time to try several settings, so the most promising ones are taken"
    else:
        search = "too few examples to hold some out for choosing, so the most promising settings are taken"
    final = f"{plan.max_steps} steps" if plan.epochs is None else "1 epoch" if plan.epochs == 1 else f"{plan.epochs} epochs"
    curve = f", a learning curve through {' and '.join(map(str, plan.curve))} examples" if plan.curve else ""
    return f"{search}; then a final training of {final}{curve}"
