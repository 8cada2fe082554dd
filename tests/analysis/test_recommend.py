"""What is recommended, on dev scores that are given as numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.analysis.points import Points, run
from tests.analysis.test_claims import POINTS, runs
from xeric.analysis.outputs import Runs
from xeric.analysis.recommend import Candidate, recommend
from xeric.analysis.results import Interval, Recommendation
from xeric.metrics.measuring import Measured

MADE: Runs = {
    "best": runs(40.3, name="best", spread=0.05),
    "cheap": runs(40.1, name="cheap", spread=0.05),
    "poor": runs(30.0, name="poor", spread=0.05),
}
CANDIDATES = {
    "best": Candidate("the best", 100.0, 5_000_000, Interval(value=1.0)),
    "cheap": Candidate("the cheap one", 20.0, 1000, Interval(value=2.0)),
    "poor": Candidate("the poor one", 10.0, 1000, Interval(value=3.0)),
}


def of(candidates: dict[str, Candidate], dev: Runs, margin: float = 1.5) -> Recommendation:
    choice = recommend(candidates, dev, metric=POINTS[0], margin=margin)
    assert choice is not None
    return choice


def test_the_cheapest_within_the_margin_is_taken_and_its_test_score_shown() -> None:
    choice = of(CANDIDATES, MADE)
    assert (choice.arm, choice.best, choice.test) == ("cheap", "best", Interval(value=2.0))
    assert set(choice.dev) == set(MADE)
    assert choice.dev["best"].value > choice.dev["cheap"].value > choice.dev["poor"].value
    assert "not worse than the best" in choice.reason


def test_what_is_not_shown_to_be_within_the_margin_is_not_taken() -> None:
    choice = of(CANDIDATES, MADE, margin=0.1)
    assert choice.arm == "best"
    assert "nothing cheaper" in choice.reason


def test_test_scores_play_no_part() -> None:
    changed = {name: Candidate(c.label, c.seconds, c.trainable, Interval(value=-c.seconds)) for name, c in CANDIDATES.items()}
    assert of(changed, MADE).arm == of(CANDIDATES, MADE).arm


def test_of_two_as_quick_the_one_with_fewer_parameters_is_cheaper() -> None:
    alike = {"best": Candidate("a", 20.04, 2000), "cheap": Candidate("b", 20.31, 1000)}
    assert of(alike, {name: MADE[name] for name in alike}).arm == "cheap"
    slower = alike | {"cheap": Candidate("b", 30.0, 1000)}
    assert of(slower, {name: MADE[name] for name in slower}).arm == "best"


def test_lines_with_other_dev_instances_are_left_out_and_named() -> None:
    small = {seed: run([50.0, 60.0], [50.0, 60.0], names=POINTS) for seed in range(3)}
    candidates = CANDIDATES | {"small": Candidate("n = 50", 1.0, 10)}
    choice = of(candidates, MADE | {"small": small})
    assert choice.arm == "cheap"
    assert "small" not in choice.dev
    assert "(n = 50)" in choice.reason


def test_nothing_to_choose_from() -> None:
    assert recommend(CANDIDATES, {}, metric=POINTS[0], margin=1.0) is None
    assert recommend({}, MADE, metric=POINTS[0], margin=1.0) is None


def test_one_run_each_cannot_show_that_a_cheaper_one_is_as_good() -> None:
    single = {name: {0: by_seed[0]} for name, by_seed in MADE.items()}
    assert of(CANDIDATES, single).arm == "best"
    assert of(CANDIDATES, single, margin=5.0).arm == "cheap"


def test_what_is_untrained_costs_nothing() -> None:
    free = {"best": CANDIDATES["best"], "cheap": Candidate("few-shot", 0.0, 0)}
    dev = {"best": MADE["best"], "cheap": {0: MADE["cheap"][0]}}
    choice = recommend(free, dev, metric=POINTS[0], margin=1.5, fixed=["cheap"])
    assert choice is not None
    assert choice.arm == "cheap"
    assert "nothing is trained" in choice.reason


def test_dev_means_are_those_of_the_runs() -> None:
    choice = of(CANDIDATES, MADE)
    expected = np.mean([run.scores()[POINTS[0]] for run in MADE["best"].values()])
    assert choice.dev["best"].value == pytest.approx(expected)


def test_on_a_metric_that_is_better_low_the_lowest_is_the_best() -> None:
    low = {name: {seed: lowered(measured) for seed, measured in by_seed.items()} for name, by_seed in MADE.items()}
    choice = of(CANDIDATES, low, margin=0.1)
    assert (choice.arm, choice.best) == ("poor", "poor")


def lowered(measured: Measured) -> Measured:
    points = Points(*POINTS)
    points.better = "lower"  # type: ignore[misc]
    return dataclasses.replace(measured, metrics={POINTS[0]: points})


def test_a_stage_is_training_though_the_task_itself_has_none() -> None:
    prompted = {"best": Candidate("from stage 1", 50.0, 0), "poor": Candidate("as it is", 0.0, 0)}
    assert "50 s of training in stage 1, none on the task" in of(prompted, {name: MADE[name] for name in prompted}).reason
    assert "nothing is trained" in of({"poor": prompted["poor"]}, {"poor": MADE["poor"]}).reason
