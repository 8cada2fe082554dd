"""Learning curves: fits against scipy and closed forms, intervals against simulation, and what is refused."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.optimize

from xeric.errors import UserError
from xeric.metrics.measuring import measure
from xeric.records import Prediction
from xeric.statistics.curve_model import CurveModel, Observed
from xeric.statistics.curve_points import CurvePoints
from xeric.statistics.curve_prior import CurvePrior
from xeric.statistics.learning_curve import COVERAGE, FARTHEST, LearningCurve
from xeric.statistics.power_law import EXPONENTS, PowerLaw, fit_power_law
from xeric.statistics.resampling import Sample

SIZES = (25, 50, 100, 200)
RISING = (20.0, 25.0, 30.0, 35.0)


def points(
    scores: Sequence[float | tuple[float, ...]],
    sizes: Sequence[int] = SIZES,
    *,
    common: float = 1.0,
    own: float = 0.2,
    rows: int = 100,
) -> CurvePoints:
    """Points whose errors over test instances have a variance that moves all sizes and one of each size."""
    runs = tuple(score if isinstance(score, tuple) else (score,) for score in scores)
    covariance = np.full((len(sizes), len(sizes)), common) + own * np.eye(len(sizes))
    return CurvePoints(tuple(sizes), runs, covariance, rows)


# --- the power law --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [PowerLaw(60, 80, 0.4), PowerLaw(35.5, 300, 1.1), PowerLaw(90, 70, 0.08), PowerLaw(12, 0, 1)])
def test_a_power_law_is_found_again_from_its_own_points(law: PowerLaw) -> None:
    fit = fit_power_law(SIZES, law(SIZES), np.eye(4))
    assert fit([10, 400, 800]) == pytest.approx(law([10, 400, 800]), abs=1e-3)
    if law.b:
        assert fit == pytest.approx(law, rel=1e-3)


def test_a_power_law_fits_as_well_as_scipy_finds(subtests: pytest.Subtests) -> None:
    rng = np.random.default_rng(5)
    n = np.array([12, 25, 50, 100, 200], dtype=float)
    covariance = 2.0 + np.diag([3.0, 2.0, 1.0, 1.0, 0.5])
    factor = np.linalg.cholesky(covariance)
    for number in range(10):
        y = 50 - 60 * n**-0.4 + factor @ rng.normal(size=5)

        def left(x: np.ndarray, y: np.ndarray = y) -> np.ndarray:
            return np.asarray(np.linalg.solve(factor, y - x[0] + x[1] * (n / 12) ** -x[2]))

        starts = [(a, b, c) for a in (30, 60, 90) for b in (5, 40) for c in (0.1, 0.5, 1.5)]
        bounds = [0, 0, EXPONENTS[0]], [100, np.inf, EXPONENTS[1]]
        best = min(scipy.optimize.least_squares(left, start, bounds=bounds).cost for start in starts)
        with subtests.test(number=number):
            law = fit_power_law(n.astype(int).tolist(), y, covariance)
            mine = 0.5 * float((np.linalg.solve(factor, y - law(n)) ** 2).sum())
            assert mine == pytest.approx(best, rel=1e-4)


def test_a_power_law_never_falls_and_stays_on_the_scale() -> None:
    falling = fit_power_law(SIZES, [40, 35, 33, 30], np.eye(4))
    assert falling.b == 0
    assert falling.a == pytest.approx(34.5)
    steep = fit_power_law(SIZES, [60, 75, 88, 98], np.eye(4))
    assert steep.a <= 100
    assert EXPONENTS[0] <= steep.c <= EXPONENTS[1]


# --- the model ------------------------------------------------------------------------------------------------------------------


def test_given_its_grid_cell_the_model_is_generalised_least_squares() -> None:
    """One cell, a rise far from 0: universal kriging (Cressie 1993, 3.4.5), in its covariance form, from scratch."""
    sigma, tau, c, target = 1.2, 0.4, 0.5, 400
    prior = CurvePrior(
        exponents=(c,), offsets=(0.0,), offset_weights=(1.0,), sigmas=(sigma,), taus=(tau,), rises=(1e4,), rise_weights=(1.0,),
        growth=0.2, shared=0.5, kept=0.6,
    )  # fmt: skip
    sizes, y = np.array([25.0, 50, 100, 200]), np.array([20.0, 31, 38, 44])
    instances = 1.5 + 0.3 * np.eye(4)
    model = CurveModel(Observed(sizes, y, np.full(4, 2.0), instances, np.zeros(4)), prior)
    draws = model.draw([target], draws=100_000, seed=3)

    every = np.append(sizes, target)
    doublings = np.log2(every / 25)
    growth = (200 / every) ** 0.2
    noise = tau**2 * np.minimum.outer(doublings, doublings)
    noise += sigma**2 * 0.5 * np.outer(growth, growth) * 0.6 ** abs(np.subtract.outer(doublings, doublings))
    noise += sigma**2 * 0.5 * np.diag(growth**2) / 2
    kept = 1.5 / 1.8  # a target's errors over instances go with those of the last size as these do with the size before
    with_target = np.block([[instances, kept * instances[:, 3:]], [kept * instances[3:], instances[3:, 3:]]])
    design = np.stack([np.ones(5), -(every**-c)], axis=1)
    for here, chosen in ((True, slice(0, None, 2)), (False, slice(1, None, 2))):
        whole = noise + with_target * here
        total = noise[:4, :4] + instances
        # What is predicted: score at the target, and its difference from that of the last size.
        pick = np.array([[0, 0, 0, 0, 1.0], [0, 0, 0, -1.0, 1.0]])
        to_known = pick @ (noise + with_target * here)[:, :4]
        trend = np.linalg.inv(design[:4].T @ np.linalg.solve(total, design[:4]))
        fitted = trend @ design[:4].T @ np.linalg.solve(total, y)
        weights = np.linalg.solve(total, to_known.T).T
        mean = pick @ design @ fitted + weights @ (y - design[:4] @ fitted)
        miss = pick @ design - weights @ design[:4]
        covariance = pick @ whole @ pick.T - weights @ to_known.T + miss @ trend @ miss.T
        drawn = np.stack([draws.scores[chosen, 0], draws.gains[chosen, 0]], axis=1)
        assert drawn.mean(axis=0) == pytest.approx(mean, abs=0.03)
        assert drawn.std(axis=0) == pytest.approx(np.sqrt(np.diag(covariance)), rel=0.02)


def simulated(rng: np.random.Generator, *, largest: int) -> tuple[list[tuple[float, ...]], list[float], tuple[int, ...]]:
    """A curve whose runs, subsets and test instances are noisy; measured points, and true scores of further single runs."""
    sizes = (largest // 8, largest // 4, largest // 2, largest, 2 * largest, 4 * largest)
    c, rise = rng.uniform(0.1, 1.0), rng.uniform(3, 20)
    shape = -(np.array(sizes, dtype=float) ** -c)
    trend = 25 + rise * (shape - shape[0]) / (shape[3] - shape[0])
    subset = np.cumsum(rng.normal(0, 0.6, 6)) * 0.7
    score = trend + subset + rng.normal(0, 0.8, 6)
    common = rng.normal(0, 1.0)
    measured = score + common + rng.normal(0, math.sqrt(0.2), 6)
    return [(float(value),) for value in measured[:4]], [float(score[4] - score[3]), float(score[5] - score[3])], sizes


def test_intervals_hold_what_is_reached_as_often_as_they_say() -> None:
    rng = np.random.default_rng(8)
    held, curves = 0, 60
    for _ in range(curves):
        scores, gains, sizes = simulated(rng, largest=200)
        curve = LearningCurve(points(scores, sizes[:4]))
        for size, gain in zip(sizes[4:], gains, strict=True):
            interval = curve.forecast(size).gain
            assert interval is not None
            held += interval.low <= gain <= interval.high
    assert held / (2 * curves) >= COVERAGE - 0.1  # three standard errors of the share, curves being independent
    assert held < 2 * curves


def test_the_same_points_give_the_same_interval_and_a_wider_one_farther_on() -> None:
    curve, again = LearningCurve(points(RISING)), LearningCurve(points(RISING))
    near, far = curve.forecast(400), curve.forecast(800)
    assert near == again.forecast(400)
    assert near.gain is not None
    assert far.gain is not None
    assert near.gain.low < near.gain.value < near.gain.high
    assert far.gain.high - far.gain.low > near.gain.high - near.gain.low
    assert far.gain.value > near.gain.value > 0


def test_a_gain_is_known_better_than_a_score_where_all_sizes_share_their_test_instances() -> None:
    paired = LearningCurve(points(RISING, common=16.0, own=0.2)).forecast(400)
    apart = LearningCurve(points(RISING, common=0.0, own=16.2)).forecast(400)
    assert paired.gain is not None
    assert paired.score is not None
    assert apart.gain is not None
    assert paired.gain.high - paired.gain.low < 0.8 * (paired.score.high - paired.score.low)
    assert paired.gain.high - paired.gain.low < apart.gain.high - apart.gain.low


def test_runs_that_agree_narrow_the_interval_and_runs_that_differ_widen_it() -> None:
    def width(spread: float) -> float:
        runs = [tuple(score + spread * step for step in (-1, 0, 1)) for score in RISING]
        gain = LearningCurve(points(runs)).forecast(400).gain
        assert gain is not None
        return gain.high - gain.low

    single = LearningCurve(points(RISING)).forecast(400).gain
    assert single is not None
    assert width(0.2) < single.high - single.low < width(4.0)


def test_points_in_hundredths_of_the_scale_make_the_same_curve() -> None:
    whole = LearningCurve(points(RISING)).forecast(400).gain
    small = CurvePoints(SIZES, tuple((score / 100,) for score in RISING), points(RISING).instances / 100**2, 100)
    share = LearningCurve(small, upper=1.0).forecast(400).gain
    assert whole is not None
    assert share is not None
    assert np.array(whole) == pytest.approx(100 * np.array(share))


def test_no_forecast_leaves_the_scale() -> None:
    curve = LearningCurve(points((80.0, 88.0, 94.0, 99.5)))
    for size in (400, 800):
        forecast = curve.forecast(size)
        assert forecast.score is not None
        assert forecast.gain is not None
        assert forecast.score.high <= 100
        assert forecast.gain.high <= 0.5 + 1e-9


def test_the_curve_passes_its_points_and_can_be_drawn_between_them() -> None:
    curve = LearningCurve(points(RISING))
    between = curve.score(70)
    assert between is not None
    assert between.low < 27.5 < between.high
    for size, score in zip(SIZES, RISING, strict=True):
        interval = curve.score(size)
        assert interval is not None
        assert interval.low < score < interval.high


# --- refusals -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "size", "reason"),
    [
        (points((20.0,), (50,)), 100, "needs 3 sizes of the training set, and there is 1"),
        (points((20.0, 25.0), (50, 100)), 200, "and there are 2"),
        (points((20.0, 22.0, 24.0), (50, 75, 100)), 200, "span a factor of 4, and these go from 50 to 100"),
        (points(RISING, rows=12), 400, "12 test instances are too few"),
        (points((30.0, 30.4, 29.8, 30.2)), 400, "do not rise by more than their noise (+0.2 points from 25 to 200 examples)"),
        (points((35.0, 32.0, 31.0, 30.0)), 400, "do not rise by more than their noise (\u22125.0 points"),
        (points((20.0, 45.0, 22.0, 50.0)), 400, "jump by more than chance explains"),
        (points(RISING), 801, "801 is more than 4 times the 200 examples at hand"),
        (points((20.0, 24.0, 28.0, 32.0), common=9.0, own=9.0), 800, "points is possible"),
    ],
)
def test_what_the_points_do_not_support_is_refused_with_its_reason(given: CurvePoints, size: int, reason: str) -> None:
    forecast = LearningCurve(given).forecast(size)
    assert reason in forecast.refusal
    assert f"What {size - given.sizes[-1]} more examples would bring cannot be told: " in forecast.sentence
    assert forecast.sentence.endswith(".")


def test_a_forecast_is_a_sentence() -> None:
    forecast = LearningCurve(points(RISING)).forecast(400)
    assert forecast.refusal == ""
    assert forecast.gain is not None
    expected = f"200 more examples would bring {forecast.gain.low:.1f} to {forecast.gain.high:.1f} points (80% interval)."
    assert forecast.sentence == expected
    assert LearningCurve(points(RISING)).forecast(FARTHEST * 200).refusal == ""


def test_where_nothing_rises_the_gain_that_would_be_a_surprise_is_named() -> None:
    forecast = LearningCurve(points((30.0, 30.1, 29.9, 30.0), common=0.5, own=0.05)).forecast(400)
    assert forecast.unlikely is not None
    assert 0 <= forecast.unlikely < 3
    assert forecast.sentence.endswith(f" A gain of more than {forecast.unlikely:.1f} points is unlikely.")
    assert LearningCurve(points(RISING)).forecast(400).unlikely is None
    assert LearningCurve(points((30.0, 30.1, 29.9, 30.0))).forecast(900).unlikely is None


# --- points ---------------------------------------------------------------------------------------------------------------------


def samples(values: np.ndarray, key: str = "task", weight: float = 1.0) -> list[Sample]:
    return [Sample.of_values(values, key=key, weight=weight)]


def test_the_covariance_over_instances_is_that_of_paired_means() -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(30, 10, 400)
    rows = {size: hard + size / 10 + rng.normal(0, 3, 400) for size in (50, 100, 200)}
    made = CurvePoints.of_samples({size: [samples(values)] for size, values in rows.items()}, resamples=4000)
    assert made.means == pytest.approx([values.mean() for values in rows.values()])
    assert made.instances == pytest.approx(np.cov(list(rows.values())) / 397, rel=0.08)
    assert made.rows == 400


def test_runs_are_averaged_and_tasks_weighed() -> None:
    rng = np.random.default_rng(2)
    one, two = rng.normal(20, 5, (2, 2, 300)), rng.normal(40, 8, (2, 2, 100))  # sizes, runs, rows
    runs = {
        size: [samples(one[number, run], "one") + samples(two[number, run], "two", 3.0) for run in range(2)]
        for number, size in enumerate((50, 100))
    }
    made = CurvePoints.of_samples(runs, resamples=4000)
    assert made.means == pytest.approx([0.25 * one[k].mean() + 0.75 * two[k].mean() for k in range(2)])
    expected = [
        0.25**2 * one[k].mean(axis=0).var() / 297 * 300 / 300 + 0.75**2 * two[k].mean(axis=0).var() / 97 for k in range(2)
    ]
    assert np.diag(made.instances) == pytest.approx(expected, rel=0.1)
    assert [len(scores) for scores in made.scores] == [2, 2]


def test_measured_predictions_make_points() -> None:
    references = [f"the {word} boat leaves at dawn" for word in ("red", "old", "small", "long", "grey", "last") * 5]

    def answers(right: int) -> list[Prediction]:
        return [
            Prediction(
                id=str(number), task="t", language="English", input="", references=(reference,),
                prediction=reference if number < right else "the boat",
            )
            for number, reference in enumerate(references)
        ]  # fmt: skip

    measured = {size: measure(answers(right), ["chrf"]) for size, right in ((10, 4), (20, 9), (40, 15))}
    made = CurvePoints.of_samples({size: [runs.only(["chrf"]).samples()] for size, runs in measured.items()})
    assert made.means == pytest.approx([runs.scores()["chrf"] for runs in measured.values()])
    assert made.rows == 30
    assert LearningCurve(made).forecast(80).gain is not None


def test_plain_scores_are_taken_as_independent() -> None:
    made = CurvePoints.of_scores({100: 30.0, 25: [20.0, 22.0], 50: 25.0}, {25: 1.0, 50: 2.0, 100: 0.5})
    assert made.sizes == (25, 50, 100)
    assert made.scores == ((20.0, 22.0), (25.0,), (30.0,))
    assert made.instances == pytest.approx(np.diag([1.0, 4.0, 0.25]))
    assert LearningCurve(made).forecast(200).score is not None


@pytest.mark.parametrize("errors", [0.0, 1e-9, 30.0])
def test_no_error_and_large_ones_give_numbers(errors: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = LearningCurve(CurvePoints.of_scores(dict(zip(SIZES, RISING, strict=True)), dict.fromkeys(SIZES, errors)))
        forecast = curve.forecast(400)
    assert forecast.gain is not None
    assert forecast.score is not None
    assert np.isfinite([*forecast.gain, *forecast.score, *(curve.power_law or ())]).all()


@pytest.mark.parametrize("scores", [(0.0, 0.0, 0.0, 0.0), (100.0, 100.0, 100.0, 100.0), (0.0, 100.0, 0.0, 100.0)])
def test_ends_of_the_scale_give_numbers_or_reasons(scores: tuple[float, ...]) -> None:
    forecast = LearningCurve(points(scores, common=0.0, own=0.0)).forecast(400)
    assert forecast.refusal
    assert forecast.gain is not None
    assert np.isfinite(forecast.gain).all()


@pytest.mark.parametrize(
    ("sizes", "scores", "covariance"),
    [
        ((), (), np.zeros((0, 0))),
        ((50, 25, 100), ((1.0,), (2.0,), (3.0,)), np.eye(3)),
        ((25, 25, 100), ((1.0,), (2.0,), (3.0,)), np.eye(3)),
        ((0, 25, 100), ((1.0,), (2.0,), (3.0,)), np.eye(3)),
        ((25, 50, 100), ((1.0,), (2.0,)), np.eye(3)),
        ((25, 50, 100), ((1.0,), (), (3.0,)), np.eye(3)),
        ((25, 50, 100), ((1.0,), (math.nan,), (3.0,)), np.eye(3)),
        ((25, 50, 100), ((1.0,), (math.inf,), (3.0,)), np.eye(3)),
        ((25, 50, 100), ((1.0,), (2.0,), (3.0,)), np.eye(2)),
        ((25, 50, 100), ((1.0,), (2.0,), (3.0,)), np.full((3, 3), math.nan)),
        ((25, 50, 100), ((1.0,), (2.0,), (3.0,)), -np.eye(3)),
        ((25, 50, 100), ((1.0,), (2.0,), (3.0,)), np.eye(3) + np.triu(np.ones((3, 3)), 1)),
    ],
)
def test_what_is_no_curve_is_an_error(
    sizes: tuple[int, ...], scores: tuple[tuple[float, ...], ...], covariance: np.ndarray
) -> None:
    with pytest.raises(UserError):
        CurvePoints(sizes, scores, covariance)


def test_further_bad_input_is_an_error() -> None:
    rows = np.linspace(0, 1, 30)
    with pytest.raises(UserError, match="same test instances"):
        CurvePoints.of_samples({25: [samples(rows)], 50: [samples(rows[:20])]})
    with pytest.raises(UserError, match="one metric"):
        CurvePoints.of_samples({25: [[Sample(np.ones((30, 2)), lambda sums: sums, key="task")]]})
    with pytest.raises(UserError, match="without any run"):
        CurvePoints.of_samples({})
    with pytest.raises(UserError, match="negative"):
        CurvePoints.of_scores({25: 1.0}, {25: -1.0})
    with pytest.raises(UserError, match="one standard error"):
        CurvePoints.of_scores({25: 1.0, 50: 2.0}, {25: 1.0})
    with pytest.raises(UserError, match="not between 0 and 100"):
        LearningCurve(points((20.0, 25.0, 30.0, 120.0)))
    with pytest.raises(UserError, match="cannot end at"):
        LearningCurve(points(RISING), upper=math.nan)
    with pytest.raises(UserError, match="more than the 200 examples at hand"):
        LearningCurve(points(RISING)).forecast(200)
    with pytest.raises(UserError, match="begins at 25"):
        LearningCurve(points(RISING)).score(10)
