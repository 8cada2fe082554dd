"""Intervals, p values, corrections and power against scipy, closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from xeric.statistics.decisions import assumed_instances, decide_together, detectable_difference, spread
from xeric.statistics.estimates import ALPHA, Estimate, VarianceComponent, added, half_width, of_instances


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


component = VarianceComponent


def test_either_part_alone_gives_the_t_interval() -> None:
    for df in (1, 2, 3.7, 40):
        expected = scipy.stats.t.interval(0.95, df, loc=3, scale=2)
        assert Estimate(3, component(4, df)).interval() == pytest.approx(expected)
        assert Estimate(3, component(), component(4, df)).interval() == pytest.approx(expected)
    assert Estimate(3, component(), component(4)).interval() == pytest.approx(scipy.stats.norm.interval(0.95, 3, 2))


def test_p_is_the_level_whose_interval_reaches_the_null_value() -> None:
    estimate = Estimate(2.5, component(0.3, 2), component(0.5, 90))
    for null in (0.0, 1.0, -1.0, 4.0):
        p = estimate.p(null)
        assert p is not None
        low, high = estimate.interval(p) or (0, 0)
        assert min(abs(low - null), abs(high - null)) < 1e-6
    one_sample = scipy.stats.ttest_1samp([1.0, 2.0, 4.0], 0)
    mine = Estimate(7 / 3, component(float(np.var([1, 2, 4], ddof=1)) / 3, 2))
    assert mine.p() == pytest.approx(one_sample.pvalue)


def test_p_at_its_ends() -> None:
    assert Estimate(0.0, component(1, 2)).p() == 1
    assert Estimate(0.0).p() == 1  # equal without any variance
    assert Estimate(5.0).p() == pytest.approx(1e-12)
    assert Estimate(5.0, component(1, 2), None).p() is None
    assert Estimate(5.0, component(1, 2), None).interval() is None


def test_an_interval_covers_whatever_the_two_variances_are(rng: np.random.Generator) -> None:
    studies, df = 20_000, 2
    for runs, instances in ((1, 0.01), (1, 0.3), (1, 1), (1, 3), (0.01, 1)):
        errors = rng.normal(scale=math.sqrt(runs + instances), size=studies)
        half = half_width(ALPHA, runs * rng.chisquare(df, size=studies) / df, df, instances)
        assert np.mean(abs(errors) > half) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)


def test_added_variances_have_welchs_degrees_of_freedom() -> None:
    a, b = [3.0, 4.5, 7.0], [1.0, 1.2, 2.0, 0.7]
    total = added([component(float(np.var(sample, ddof=1)) / len(sample), len(sample) - 1) for sample in (a, b)])
    welch = scipy.stats.ttest_ind(a, b, equal_var=False)
    assert total.df == pytest.approx(welch.df)
    assert Estimate(float(np.mean(a) - np.mean(b)), total).p() == pytest.approx(welch.pvalue)
    assert added([component(), component()]) == component()


# --- several together ----------------------------------------------------------------------------------------------------------


def test_together_is_holm_and_intervals_say_the_same(rng: np.random.Generator) -> None:
    called = 0
    for _ in range(50):
        null = float(rng.choice([0, -1]))
        values = rng.normal(0, 2.5, size=rng.integers(1, 7))
        decisions = decide_together([(Estimate(float(v), component(0.3, 3), component(0.4, 80)), null) for v in values])
        p_values = [Estimate(float(v), component(0.3, 3), component(0.4, 80)).p(null) or 0 for v in values]
        order = np.argsort(p_values)
        highest = 0.0
        for position, index in enumerate(order):
            highest = max(highest, min((len(order) - position) * p_values[index], 1))
            decision = decisions[index]
            assert decision is not None
            assert decision.p_corrected == pytest.approx(highest)
            assert decision.low is not None
            assert decision.high is not None
            assert (decision.p_corrected <= ALPHA) == (not decision.low <= null <= decision.high)
            called += decision.p_corrected <= ALPHA
    assert 15 < called < 150


def test_what_has_no_interval_is_not_counted_as_tested() -> None:
    estimate = Estimate(2.0, component(), component(0.7))
    alone, beside = (
        decide_together([(estimate, 0.0)]),
        decide_together([(Estimate(9.0, component(), None), 0.0), (estimate, 0.0)]),
    )
    assert beside == [None, *alone]
    of_four = Estimate(9.0, component(), component(0.7), rows=4)
    assert of_four.p() == 0.125
    assert decide_together([(of_four, 0.0), (estimate, 0.0), (of_four, 0.0)]) == [None, *alone, None]
    assert decide_together([]) == []


def test_so_few_instances_give_no_interval_of_a_corrected_level() -> None:
    """Six instances show nothing rarer than 1 in 32: enough for one comparison, and not for the first of four."""
    sure = Estimate(18.0, component(), component(0.7, 5), rows=6)
    (alone,) = decide_together([(sure, 0.0)])
    assert alone is not None
    assert (alone.p, alone.p_corrected) == (1 / 32, 1 / 32)
    assert alone.low is not None
    for decision in decide_together([(sure, 0.0)] * 4):
        assert decision == (1 / 32, 1 / 8, None, None)


# --- spread and power ----------------------------------------------------------------------------------------------------------


def test_spread_interval_covers_the_standard_deviation(rng: np.random.Generator) -> None:
    hits = 0
    for _ in range(400):
        estimate = spread(rng.normal(5, 2, size=3))
        assert estimate is not None
        sd, low, high = estimate
        assert low < sd < high
        hits += low <= 2 <= high
    assert hits / 400 == pytest.approx(0.95, abs=0.035)
    assert spread([4.0]) is None


def test_detectable_difference_of_one_run_is_the_textbooks() -> None:
    error = math.sqrt(2 * 0.5**2 + 8**2 / 900)
    expected = (scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8)) * error
    assert detectable_difference(seeds=1, seed_sd=0.5, instances=component(64 / 900)) == pytest.approx(expected)


def test_a_detectable_difference_is_detected_in_four_of_five_studies(rng: np.random.Generator) -> None:
    """Also where tasks are small and unlike in size: two of six instances, one of sixty."""
    counts = (6, 6, 60)
    instances = assumed_instances(counts, sd=8)
    assert instances.variance == pytest.approx(sum(64 / n for n in counts) / 9)
    difference = detectable_difference(seeds=3, seed_sd=0.7, instances=instances)
    detected = 0
    for _ in range(1500):
        a, b = rng.normal(0, 0.7, size=(2, 3))
        gains = [rng.normal(0, 8, size=n) for n in counts]
        value = difference + a.mean() - b.mean() + np.mean([gain.mean() for gain in gains])
        runs = added([component(float(sample.var(ddof=1)) / 3, 2) for sample in (a, b)])
        shown = of_instances(np.array([gain.var() / len(gain) / 9 for gain in gains]), counts)
        detected += (Estimate(value, runs, shown).p() or 1) <= 0.05
    assert detected / 1500 == pytest.approx(0.8, abs=0.04)


def test_more_of_anything_detects_less() -> None:
    def of(tasks: int = 9, instances: int = 100, seeds: int = 3) -> float:
        return detectable_difference(seeds=seeds, instances=assumed_instances([instances] * tasks))

    assert of(seeds=2) > of() > of(seeds=5)
    assert of(instances=20) > of() > of(instances=1000)
    assert of(tasks=1) > of()
    assert detectable_difference(seeds=3, instances=component(), seed_sd=0) == 0
    alike = [detectable_difference(seeds=seeds, instances=assumed_instances([50]), seed_sd=0) for seeds in (1, 3)]
    assert alike[0] == alike[1] > 0, "runs that do not differ are as good as one"
