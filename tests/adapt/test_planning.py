"""What the time is spent on: plans fit into it, the reserve comes first, and the search halves."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from xeric.adapt.planning import CandidateSettings, Sizes, halving, plan_time, search_seconds, steps_of

CANDIDATES = [CandidateSettings(id=f"c{number}", method="lora") for number in range(20)]


@dataclass
class Fixed:
    """Costs that are known."""

    seconds_per_step: float
    seconds_per_text: float

    def step(self, candidate: CandidateSettings) -> float:
        return self.seconds_per_step

    def text(self) -> float:
        return self.seconds_per_text


@pytest.mark.parametrize("step", [0.01, 0.5, 3.0, 20.0])
@pytest.mark.parametrize("seconds", [120.0, 600.0, 1800.0, 36_000.0])
@pytest.mark.parametrize("pool", [20, 60, 300, 499])
def test_a_plan_fits_into_the_time_unless_not_even_the_least_does(step: float, seconds: float, pool: int) -> None:
    sizes, costs = Sizes(pool, pool // 4 + 5), Fixed(step, step / 8)
    plan = plan_time("base", seconds, sizes, CANDIDATES, costs)
    planned = sum(plan.expected.values())
    least = 8 * step + 3 * 20 * costs.text() + 2 * 10 * costs.text()
    assert planned <= max(seconds, least)
    assert plan.expected["final"] == pytest.approx(steps_of(plan, pool) * step, abs=0.1)


@pytest.mark.parametrize("seeds", [3, 20])
@pytest.mark.parametrize("step", [0.05, 0.5, 3.0])
def test_all_final_trainings_fit_into_the_time(step: float, seeds: int) -> None:
    sizes, costs, seconds = Sizes(300, 75), Fixed(step, step / 8), 3600.0
    plan = plan_time("base", seconds, sizes, CANDIDATES, costs, seeds=seeds)
    trained = seeds * sum(steps_of(plan, size) for size in (300, *plan.curve)) * step
    decoded = (2 + seeds * (1 + len(plan.curve))) * (plan.max_test or 75) * costs.text()
    fewest = seeds * 8 * step + (2 + seeds) * 20 * costs.text()
    assert trained + decoded + plan.expected["search"] + plan.expected["prompting"] <= max(seconds, 1.1 * fewest)


def test_with_time_enough_everything_is_tried_at_full_length() -> None:
    plan = plan_time("base", 36_000.0, Sizes(300, 75), CANDIDATES, Fixed(0.1, 0.01))
    assert (plan.epochs, plan.max_steps, plan.max_test) == (3, None, None)
    assert [(rung.candidates, rung.steps) for rung in plan.rungs] == [(20, 114 * 250 // 300)]
    assert plan.curve == (75, 150)


def test_with_less_time_as_many_are_tried_by_halving() -> None:
    costs = Fixed(0.5, 0.05)
    plan = plan_time("base", 400.0, Sizes(300, 75), CANDIDATES, costs)
    assert len(plan.rungs) > 1
    assert plan.rungs[0].candidates > 3 * plan.rungs[-1].candidates - 3
    assert search_seconds(plan.rungs, 50 * costs.text(), CANDIDATES, costs) <= 400.0 - plan.reserve
    # One candidate more would not have fitted, in any number of rungs.
    more = plan.rungs[0].candidates + 1
    steps = plan.rungs[-1].steps
    left = 400.0 - plan.reserve - plan.expected["prompting"]
    for number in (1, 2, 3):
        rungs = halving(more, number, steps)
        assert not rungs or search_seconds(rungs, 50 * costs.text(), CANDIDATES, costs) > left


def test_with_too_little_time_the_first_candidate_is_trained_for_what_fits() -> None:
    plan = plan_time("base", 300.0, Sizes(499, 120), CANDIDATES, Fixed(10.0, 0.5))
    assert (plan.epochs, plan.max_steps, plan.rungs, plan.curve) == (None, 10, (), ())
    assert plan.max_test == 40  # a fifth of the time for three settings


def test_under_fifty_examples_nothing_is_held_out_and_nothing_is_searched() -> None:
    plan = plan_time("base", 36_000.0, Sizes(49, 12), CANDIDATES, Fixed(0.1, 0.01))
    assert (plan.dev_fraction, plan.rungs, plan.epochs) == (0.0, (), 3)


def test_halving_keeps_a_third_and_triples_the_steps() -> None:
    assert [(rung.candidates, rung.steps) for rung in halving(9, 3, 90)] == [(9, 10), (3, 30), (1, 90)]
    assert [(rung.candidates, rung.steps) for rung in halving(7, 2, 90)] == [(7, 30), (3, 90)]
    assert halving(9, 3, 60) == ()  # six steps compare nothing
    assert halving(1, 2, 90) == ()  # nobody would be dropped
