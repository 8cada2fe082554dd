"""Where training comes to beat prompting, on arms whose scores are given as numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.analysis.points import run
from xeric.analysis.break_even import break_even, crossing, with_break_evens
from xeric.analysis.comparison import Arms, resample_arms
from xeric.analysis.results import ArmResult, FigurePoint, FigureResult, FigureSeries, Interval
from xeric.statistics.decisions import ASSUMED_SEED_SD
from xeric.studies.config import ArmKey

SIZES = {10: "n10", 40: "n40", 160: "n160"}


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([-2, -1, 1], 80.0),  # half way between 40 and 160 on a logarithmic scale
        ([-3, 1, 2], 10 * 4**0.75),
        ([1, 2, 3], 0.0),
        ([-1, -1, -1], math.inf),
        ([1, 2, -1], math.inf),
        ([-1, 1, -1], math.inf),
        ([1, -1, 1], 80.0),  # the last crossing counts: from there on it stays
    ],
)
def test_the_last_crossing_on_a_logarithmic_scale(differences: list[float], expected: float) -> None:
    assert crossing(list(SIZES), differences) == pytest.approx(expected)


def arms(*means: float, noise: float = 3.0, seeds: int = 3) -> Arms:
    """Prompting at 20 points, and training on 10, 40 and 160 examples at these."""
    hard = np.random.default_rng(0).normal(0, 10, size=(2, 80))
    own = np.random.default_rng(1)

    def of(mean: float) -> dict:
        return {seed: run(*(hard + mean + own.normal(0, noise, size=hard.shape))) for seed in range(seeds)}

    trained = {name: of(mean) for name, mean in zip(SIZES.values(), means, strict=True)}
    prompting = {"few": {0: run(*(hard + 20.0))}, "zero": {0: run(*(hard + 12.0))}}
    return resample_arms({**trained, **prompting}, fixed=["few", "zero"], draws=400)


def test_it_lies_where_the_means_cross_and_the_interval_holds_it() -> None:
    even = break_even(arms(16.0, 18.0, 22.0), SIZES, ["zero", "few"], "points")
    assert even is not None
    assert (even.prompting, even.sizes) == ("few", (10, 40, 160))
    assert even.value == pytest.approx(80, rel=0.25)
    assert even.low is not None
    assert even.high is not None
    assert 40 < even.low < even.value < even.high < 160


def test_ends_beyond_the_sizes_are_said_to_be_so() -> None:
    better = break_even(arms(30.0, 31.0, 32.0), SIZES, ["few"], "points")
    assert better is not None
    assert (better.value, better.low, better.high) == (0, 0, 0)
    worse = break_even(arms(10.0, 11.0, 12.0), SIZES, ["few"], "points")
    assert worse is not None
    assert (worse.value, worse.low, worse.high) == (None, None, None)
    unsure = break_even(arms(19.0, 19.5, 20.1, noise=12.0), SIZES, ["few"], "points")
    assert unsure is not None
    assert unsure.high is None, "where some resamples have no break-even, the interval is open"


def test_one_run_is_as_unsure_as_it_is_taken_to_be_in_every_comparison() -> None:
    """Covers the true 80 as often as it says, of arms of one run whose spread between runs is the assumed one."""
    covered = 0
    for study in range(60):
        rng = np.random.default_rng(study)
        hard = rng.normal(0, 10, size=(2, 80))
        means = np.array([18.0, 19.0, 21.0]) + rng.normal(0, ASSUMED_SEED_SD, size=3)
        trained = {
            name: {0: run(*(hard + mean + rng.normal(0, 3, size=hard.shape)))}
            for name, mean in zip(SIZES.values(), means, strict=True)
        }
        made = resample_arms({**trained, "few": {0: run(*(hard + 20.0))}}, fixed=["few"], draws=300)
        even = break_even(made, SIZES, ["few"], "points")
        assert even is not None
        covered += (even.low is not None and even.low <= 80) and (even.high is None or even.high >= 80)
    assert covered / 60 > 0.88


def test_nothing_is_said_of_one_size_or_without_prompting() -> None:
    made = arms(16.0, 18.0, 22.0)
    assert break_even(made, {10: "n10"}, ["few"], "points") is None
    assert break_even(made, SIZES, [], "points") is None


def test_a_curve_says_it_below_itself() -> None:
    keys = {name: ArmKey(base="b", method="lora", n_train=size) for size, name in SIZES.items()}
    keys["few"] = ArmKey(base="b", method="none", setting="few-shot")
    labels = {name: f"b, lora, n = {key.n_train}" if key.n_train else "b, few-shot" for name, key in keys.items()}
    results = [ArmResult(id=name, label=labels[name], key=key) for name, key in keys.items()]
    points = tuple(FigurePoint(x=1.0, y=Interval(value=1.0), label=label) for label in labels.values())
    series = (FigureSeries(arm="n10", label="b, lora", points=points),)
    figure = FigureResult(name="f", title="t", kind="curve", x_label="n", y_label="points", series=series)
    sizes = {name: size for size, name in SIZES.items()}
    shown = with_break_evens(figure, arms(16.0, 18.0, 22.0), results, sizes)
    assert [even.arms for even in shown.break_evens] == [("n10", "n40", "n160")]
    (note,) = shown.notes
    assert note.startswith("b, lora beats b, few-shot in points from ")
    (note,) = with_break_evens(figure, arms(10.0, 11.0, 12.0), results, sizes).notes
    assert note == "b, lora does not beat b, few-shot in points with up to 160 examples."
    assert with_break_evens(figure.model_copy(update={"kind": "bars"}), arms(1.0, 2.0, 3.0), results, sizes).break_evens == ()
