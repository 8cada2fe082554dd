"""From how many training examples on does training beat prompting?

For a method trained on several sizes n and the best untrained arm of the same base, d(n) is the difference of their means over
tasks. The break-even is where d crosses 0 for the last time, between two sizes by interpolation over log n. Its interval is the
middle 95% of the break-evens under resampling: test instances within each task (the same ones for all arms), and what other runs
of each arm would change, by the t distribution of its runs or, of one run, the spread that is assumed in every comparison of such
an arm. A resample in which training is better at every size has its break-even at or below the smallest; one in which it is not
better at the largest has none, and counts as beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from xeric.analysis.comparison import Arms
from xeric.analysis.results import ArmResult, BreakEven, FigureResult
from xeric.statistics.arrays import FloatArray
from xeric.statistics.resampling import DEFAULT_SEED, LEVEL
from xeric.studies.config import ArmKey

__all__ = ["break_even", "crossing", "with_break_evens"]


def with_break_evens(
    figure: FigureResult, arms: Arms | None, results: Sequence[ArmResult], sizes: Mapping[str, int]
) -> FigureResult:
    """Return a curve over training sizes with where each of its methods comes to beat prompting; other figures as they are.

    Args:
        figure: with its series.
        arms: all arms, resampled together; None where no run is done.
        results: of all arms.
        sizes: training examples of the trained arms, by id.
    """
    if arms is None or figure.kind != "curve" or figure.better != "higher" or figure.y_label not in arms.metrics:
        return figure
    labels = {point.label for series in figure.series for point in series.points}
    keys = {arm.id: arm.key for arm in results if arm.key is not None and arm.label in labels and arm.id in arms.arms}
    methods: dict[ArmKey, dict[int, str]] = {}
    for arm, key in keys.items():
        if not key.untrained and arm in sizes:
            methods.setdefault(key.model_copy(update={"n_train": None}), {})[sizes[arm]] = arm
    break_evens = []
    for method, by_size in methods.items():
        prompting = [arm for arm, key in keys.items() if key.untrained and key.base == method.base]
        if (even := break_even(arms, by_size, prompting, figure.y_label)) is not None:
            break_evens.append(even)
    names = {arm.id: arm.label for arm in results}
    notes = (*figure.notes, *(_note(even, names) for even in break_evens))
    return figure.model_copy(update={"break_evens": tuple(break_evens), "notes": notes})


def break_even(arms: Arms, sizes: Mapping[int, str], prompting: Sequence[str], metric: str) -> BreakEven | None:
    """Return where training on n examples comes to beat the best of some untrained arms; None for fewer than two sizes.

    Args:
        arms: all arms, resampled together.
        sizes: ids of a method's arms by their training examples.
        prompting: ids of the untrained arms of the same base.
        metric: that they are compared on, one that is better high.
    """
    sizes = dict(sorted(sizes.items()))
    if len(sizes) < 2 or not prompting:
        return None
    best = max(prompting, key=lambda arm: float(arms.run_means(arm, [metric]).mean()))
    level, level_drawn = float(arms.run_means(best, [metric]).mean()), _drawn_means(arms, best, metric)
    differences = np.array([arms.run_means(arm, [metric]).mean() - level for arm in sizes.values()])
    drawn = np.stack([_drawn_means(arms, arm, metric) - level_drawn for arm in sizes.values()], axis=1)
    crossings = np.array([crossing(list(sizes), row) for row in drawn])
    low, high = np.quantile(crossings, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="closest_observation")
    return BreakEven(
        arms=tuple(sizes.values()),
        sizes=tuple(sizes),
        prompting=best,
        metric=metric,
        value=_finite(crossing(list(sizes), differences)),
        low=_finite(float(low)),
        high=_finite(float(high)),
    )


def crossing(sizes: Sequence[int], differences: Sequence[float] | FloatArray) -> float:
    """Return the size from which on the differences stay above 0: 0.0 where all do, infinity where the last does not."""
    above = [difference > 0 for difference in differences]
    if not above[-1]:
        return math.inf
    if all(above):
        return 0.0
    last = max(number for number, is_above in enumerate(above) if not is_above)
    (a, b), (d, e) = sizes[last : last + 2], differences[last : last + 2]
    share = -float(d) / (float(e) - float(d))
    return float(math.exp(math.log(a) + share * (math.log(b) - math.log(a))))


def _note(even: BreakEven, labels: Mapping[str, str]) -> str:
    """Return a break-even in one sentence.

    Args:
        even: the break-even.
        labels: of arms, by id.
    """
    first, last = even.sizes[0], even.sizes[-1]
    method = labels[even.arms[0]].removesuffix(f", n = {first}")

    def size(value: float | None) -> str:
        return f"more than {last}" if value is None else f"{first} or fewer" if not value else f"{value:.0f}"

    prompting = labels[even.prompting]
    if even.value is None:
        earliest = "" if even.low is None else f", though by the 95% interval it may from {size(even.low)} on"
        return f"{method} does not beat {prompting} in {even.metric} with up to {last} examples{earliest}."
    interval = f"95% interval: {size(even.low)} to {size(even.high)}"
    return f"{method} beats {prompting} in {even.metric} from {size(even.value)} examples on ({interval})."


def _drawn_means(arms: Arms, arm: str, metric: str) -> FloatArray:
    """Return an arm's mean over runs and tasks on every draw of test instances and of other runs, ``[draws]``."""
    drawn = arms.drawn_means(arm, [metric]).mean(axis=1)
    runs = arms.of_runs(arm, [metric])
    rng = np.random.default_rng([DEFAULT_SEED, *arm.encode()])
    unit = rng.standard_normal(len(drawn)) if math.isinf(runs.df) else rng.standard_t(runs.df, len(drawn))
    return np.asarray(drawn + math.sqrt(runs.variance) * unit)


def _finite(size: float) -> float | None:
    return size if math.isfinite(size) else None
