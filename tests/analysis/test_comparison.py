"""Means and differences of arms against scipy and numpy on the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from tests.analysis.points import level, run
from xeric.analysis.comparison import resample_arms
from xeric.errors import DataError, UserError
from xeric.metrics.measuring import measure
from xeric.records import Prediction
from xeric.statistics.decisions import ASSUMED_SEED_SD
from xeric.statistics.estimates import VarianceComponent

POINTS = ["points"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_where_instances_do_not_matter_a_difference_is_welchs_test() -> None:
    a, b = [31.0, 33.5, 32.0], [29.0, 29.2, 28.1]
    arms = resample_arms({"a": dict(enumerate(map(level, a))), "b": dict(enumerate(map(level, b)))}, draws=50)
    difference, welch = arms.difference("a", "b", POINTS), scipy.stats.ttest_ind(a, b, equal_var=False)
    assert difference.value == pytest.approx(np.mean(a) - np.mean(b))
    assert difference.p() == pytest.approx(welch.pvalue)
    assert difference.interval() == pytest.approx(tuple(welch.confidence_interval()))


def test_trained_against_what_no_seed_moves_is_a_one_sample_test() -> None:
    a = [31.0, 33.5, 32.0]
    arms = resample_arms({"a": dict(enumerate(map(level, a))), "b": {0: level(30)}}, fixed=["b"], draws=50)
    difference, one_sample = arms.difference("a", "b", POINTS), scipy.stats.ttest_1samp(a, 30)
    assert difference.p() == pytest.approx(one_sample.pvalue)
    assert arms.mean("a", POINTS).interval() == pytest.approx(tuple(one_sample.confidence_interval()))
    assert arms.mean("b", POINTS).interval() == (30, 30)


def test_where_runs_do_not_matter_a_difference_is_the_paired_t_test(rng: np.random.Generator) -> None:
    a = rng.normal(50, 20, size=60)
    b = a - rng.normal(1.5, 5, size=60)
    arms = resample_arms({"a": {0: run(a)}, "b": {0: run(b)}}, fixed=["a", "b"], draws=20_000)
    difference, paired = arms.difference("a", "b", POINTS), scipy.stats.ttest_rel(a, b)
    assert difference.value == pytest.approx((a - b).mean())
    assert difference.p() == pytest.approx(paired.pvalue, rel=0.1)
    assert difference.interval() == pytest.approx(tuple(paired.confidence_interval()), abs=0.05)
    assert arms.difference("b", "a", POINTS).p() == pytest.approx(difference.p())


def test_tasks_weigh_the_same_and_are_strata(rng: np.random.Generator) -> None:
    tasks = [rng.normal(mean, sd, size=n) for mean, sd, n in ((20, 4, 80), (60, 10, 30), (40, 1, 10))]
    arms = resample_arms({"a": {0: run(*tasks)}}, fixed=["a"], draws=20_000)
    estimate = arms.mean("a", POINTS)
    variance = sum(task.var(ddof=1) / len(task) for task in tasks) / 9
    assert estimate.value == pytest.approx(np.mean([task.mean() for task in tasks]))
    assert estimate.instances is not None
    assert estimate.instances.variance == pytest.approx(variance, rel=0.05)
    assert arms.mean("a", POINTS, arms.weights(task="task 1")).value == pytest.approx(tasks[1].mean())


def test_variances_of_instances_and_runs_are_told_apart(rng: np.random.Generator) -> None:
    common, own, seeds, n = 6.0, 9.0, 4, 4000
    made = {}
    for name in "ab":
        method = rng.normal(30, common, size=n)
        made[name] = {seed: run(method + rng.normal(0, own, size=n)) for seed in range(seeds)}
    arms = resample_arms(made, draws=4000)
    free, given = (arms.difference("a", "b", POINTS, given_runs=runs).instances for runs in (False, True))
    assert free is not None
    assert given is not None
    assert free.variance == pytest.approx(2 * common**2 / n, rel=0.1)
    assert given.variance == pytest.approx(2 * (common**2 + own**2 / seeds) / n, rel=0.1)
    assert arms.difference("a", "b", POINTS, given_runs=True).runs == VarianceComponent()


def test_one_run_takes_its_spread_on_trust_in_differences_only() -> None:
    arms = resample_arms({"a": {0: level(31)}, "b": {0: level(30)}, "c": {0: level(30)}}, fixed=["c"], draws=50)
    assert arms.difference("a", "b", POINTS).runs == VarianceComponent(2 * ASSUMED_SEED_SD**2)
    assert arms.difference("a", "c", POINTS).runs == VarianceComponent(ASSUMED_SEED_SD**2)
    assert arms.difference("c", "c", POINTS).runs == VarianceComponent()
    assert arms.mean("a", POINTS).runs == VarianceComponent()


def test_the_same_outputs_under_two_names_do_not_differ(rng: np.random.Generator) -> None:
    runs = {seed: run(rng.normal(30, 9, size=50), rng.normal(20, 9, size=50)) for seed in range(3)}
    arms = resample_arms({"a": runs, "b": runs}, draws=300)
    difference = arms.difference("a", "b", POINTS)
    low, high = difference.interval() or (1, 1)
    assert difference.value == 0
    assert difference.p() == 1
    assert low < 0 < high


def test_a_lost_run_leaves_the_others(rng: np.random.Generator) -> None:
    arms = resample_arms({"a": {0: level(31), 2: level(32)}, "b": {0: level(30), 1: level(30.5), 2: level(31)}}, draws=50)
    assert arms.arms["a"].seeds == (0, 2)
    assert arms.difference("a", "b", POINTS).value == pytest.approx(1.0)
    assert arms.run_means("a", POINTS).tolist() == [31, 32]


def test_a_mean_of_metrics_is_resampled_as_one(rng: np.random.Generator) -> None:
    rows = [_prediction(number, rng) for number in range(40)]
    measured = measure(rows, ["chrf", "meteor"])
    arms = resample_arms({"a": {0: measured}}, fixed=["a"], draws=500)
    scores = measured.scores()
    assert arms.mean("a", ["chrf", "meteor"]).value == pytest.approx((scores["chrf"] + scores["meteor"]) / 2)
    drawn = arms.arms["a"].draws[:, 0, 0, :].mean(axis=1)
    both = arms.mean("a", ["meteor", "chrf"]).instances
    assert both is not None
    assert both.variance == pytest.approx(drawn.var(ddof=1) * 40 / 39)


def test_scores_of_a_language_are_means_over_its_tasks(rng: np.random.Generator) -> None:
    tasks = [rng.normal(mean, 3, size=20) for mean in (10, 20, 60)]
    arms = resample_arms({"a": {0: run(*tasks, languages=["en", "hi", "en"])}}, fixed=["a"], draws=50)
    assert [stratum.language for stratum in arms.strata] == ["English", "Hindi", "English"]
    english = arms.mean("a", POINTS, arms.weights(language="English")).value
    assert english == pytest.approx((tasks[0].mean() + tasks[2].mean()) / 2)


def test_one_instance_a_task_gives_no_interval() -> None:
    arms = resample_arms({"a": {0: run([3.0], [4.0, 5.0] * 3)}}, fixed=["a"], draws=20)
    assert arms.mean("a", POINTS).interval() is None
    assert arms.mean("a", POINTS, arms.weights(task="task 1")).interval() is not None


def test_a_handful_of_instances_tells_nothing_at_five_per_cent() -> None:
    for n in (2, 5, 6):
        arms = resample_arms({"a": {0: level(100.0, n)}, "b": {0: level(0.0, n)}}, fixed=["a", "b"], draws=20)
        difference = arms.difference("a", "b", POINTS)
        assert difference.p() == 2.0 ** (1 - n)
        assert (difference.interval() is None) == (n < 6)


def test_runs_on_other_instances_are_refused() -> None:
    with pytest.raises(DataError, match="no prediction for the id '2'"):
        resample_arms({"a": {0: run([1.0, 2.0, 3.0])}, "b": {0: run([1.0, 2.0])}})
    with pytest.raises(DataError, match="measured differently"):
        resample_arms({"a": {0: run([1.0, 2.0])}, "b": {0: run([1.0, 2.0], names=["other"])}})
    with pytest.raises(UserError):
        resample_arms({"a": {0: run([1.0, 2.0])}}, draws=0)


def _prediction(number: int, rng: np.random.Generator) -> Prediction:
    words = ["the", "rain", "falls", "on", "a", "dry", "field", "and", "every", "seed", "waits", "for", "water"]
    reference = rng.choice(words, 8).tolist()
    given = [word if rng.random() < 0.6 else "sun" for word in reference]
    return Prediction(
        id=str(number), task="t", language="English", input="x", prediction=" ".join(given), references=(" ".join(reference),)
    )
