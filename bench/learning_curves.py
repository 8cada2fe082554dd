"""How often does the interval of a learning curve's continuation hold what is then reached?

    python bench/task_curves.py TASKS_DIR -o CURVES          # once: real curves of three simple learners
    python bench/learning_curves.py CURVES [--lcdb database-accuracy.csv] [--curves 150]

A curve is cut off at n examples, forecast at 2 n and 4 n from what is left, and compared with what was reached there. Scores
are chrF++ on 100 test rows. The truth is measured twice: on the same rows, and on 150 rows that the forecast has not seen; what
chance makes of these counts against the forecast. The prior of :mod:`xeric.statistics.curve_prior` was chosen on the first 24
tasks and on LCDB's data sets of even number.

``--lcdb`` adds curves of another kind: accuracies of classifiers from the Learning Curve Database (Mohr, Viering, Loog & van Rijn
2022), data sets of odd number; the file is ``lcdb/database-accuracy.csv`` of the package ``lcdb``.
"""

from __future__ import annotations

import argparse
import csv
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xeric.metrics.bleu import Chrf
from xeric.statistics.arrays import FloatArray
from xeric.statistics.curve_points import CurvePoints
from xeric.statistics.learning_curve import COVERAGE, LearningCurve
from xeric.statistics.resampling import Sample

SIZES = (12, 25, 50, 100, 200, 400, 800)  # as in task_curves.py
LCDB_SIZES = (16, 32, 64, 128, 256, 512, 1024)
OWN_ROWS = 100
TUNED_TASKS, SEEN_TASKS = 24, 72
POINTS = (3, 4, 5)


@dataclass(frozen=True)
class Outcome:
    """One forecast and what came of it; gains in points.

    Attributes:
        source: what the curve is of.
        task: curves of one task are not independent.
        runs: that each size was scored by.
        points: sizes that were fitted.
        size: the largest of them.
        factor: how far the forecast reaches.
        low: end of the interval of the gain.
        high: the other end.
        refusal: why none was made.
        reached: gain on the same test rows.
        elsewhere: gain on other test rows; None where there are none.
        guesses: of the gain: the middle of the interval, the power law, and none at all.
    """

    source: str
    task: str
    runs: int
    points: int
    size: int
    factor: int
    low: float
    high: float
    refusal: str
    reached: float
    elsewhere: float | None
    guesses: tuple[float, float, float]


def task_outcomes(folder: Path) -> Iterator[Outcome]:
    """Forecast the curves of task_curves.py."""
    paths = sorted(folder.glob("*.npz"), key=lambda path: zlib.crc32(path.stem.encode()))
    metric = Chrf()
    for number, path in enumerate(paths):
        with np.load(path) as curves:
            for learner in curves.files:
                rows = curves[learner].astype(np.float64)  # [orders, sizes, rows, columns]
                for orders in ([0], [1], [*range(len(rows))]):
                    yield from _of_task(_part(number), path.stem, rows[orders], metric)


def _part(number: int) -> str:
    if number < TUNED_TASKS:
        return "tasks the prior was chosen on"
    return "tasks held out, first part" if number < SEEN_TASKS else "tasks held out, second part"


def _of_task(source: str, task: str, rows: FloatArray, metric: Chrf) -> Iterator[Outcome]:
    own, other = (metric.score_sums(part.sum(axis=2)).mean(axis=0) for part in np.split(rows, [OWN_ROWS], axis=2))
    for last in range(2, len(SIZES) - 1):
        for points in POINTS:
            used = range(last - points + 1, last + 1)
            if used.start < 0:
                continue
            samples = {
                SIZES[size]: [[Sample(order[size, :OWN_ROWS], metric.score_sums, key="rows")] for order in rows] for size in used
            }
            curve = LearningCurve(CurvePoints.of_samples(samples, resamples=300))
            yield from _compared(source, task, curve, SIZES, own, other)


def lcdb_outcomes(file: Path, curves: int) -> Iterator[Outcome]:
    """Forecast a random choice of LCDB's curves: one run, and the mean of three that differ in their training sets."""
    scores: defaultdict[tuple[str, str], dict[tuple[int, int], float]] = defaultdict(dict)
    rows: dict[str, int] = {}
    with file.open(encoding="utf-8", newline="") as opened:
        for line in csv.DictReader(opened):
            size, inner = int(line["size_train"]), int(line["inner_seed"])
            if (
                size in LCDB_SIZES
                and line["outer_seed"] == "0"
                and inner < 3
                and line["score_test"]
                and int(line["openmlid"]) % 2
            ):
                scores[line["openmlid"], line["learner"]][size, inner] = 100 * float(line["score_test"])
                rows[line["openmlid"]] = int(line["size_test"])
    whole = sorted(key for key, own in scores.items() if len(own) == 3 * len(LCDB_SIZES) and rows[key[0]] >= OWN_ROWS)
    for index in np.random.default_rng(0).permutation(len(whole))[:curves]:
        own = scores[whole[index]]
        table = np.array([[own[size, inner] for size in LCDB_SIZES] for inner in range(3)])
        for runs in (table[:1], table):
            yield from _of_lcdb(whole[index][0], runs, rows[whole[index][0]])


def _of_lcdb(task: str, runs: FloatArray, rows: int) -> Iterator[Outcome]:
    means = runs.mean(axis=0)
    for last in range(2, len(LCDB_SIZES) - 1):
        for points in POINTS:
            used = slice(last - points + 1, last + 1)
            if used.start < 0:
                continue
            share = np.clip(means[used] / 100, 0.01, 0.99)
            errors = 100 * np.sqrt(share * (1 - share) / rows)
            # The database has no scores of single rows: neighbouring sizes are taken to agree on most of them.
            covariance = np.outer(errors, errors) * (0.8 + 0.2 * np.eye(points))
            scores = tuple(tuple(column) for column in runs.T[used].tolist())
            curve = LearningCurve(CurvePoints(LCDB_SIZES[used], scores, covariance))
            yield from _compared("LCDB, accuracy", task, curve, LCDB_SIZES, means, None)


def _compared(
    source: str, task: str, curve: LearningCurve, sizes: Sequence[int], reached: FloatArray, elsewhere: FloatArray | None
) -> Iterator[Outcome]:
    last = sizes.index(curve.points.sizes[-1])
    for steps in (1, 2):
        if last + steps == len(sizes):
            return
        then = sizes[last + steps]
        forecast, law = curve.forecast(then), curve.power_law
        assert forecast.gain is not None
        assert law is not None
        yield Outcome(
            source,
            task,
            len(curve.points.scores[0]),
            len(curve.points.sizes),
            sizes[last],
            2**steps,
            forecast.gain.low,
            forecast.gain.high,
            forecast.refusal,
            float(reached[last + steps] - reached[last]),
            None if elsewhere is None else float(elsewhere[last + steps] - elsewhere[last]),
            (forecast.gain.value, float(law(then)) - float(reached[last]), 0.0),
        )


# --- tables ---------------------------------------------------------------------------------------------------------------------


def held(outcomes: Sequence[Outcome], *, other_rows: bool) -> str:
    """Return the share of intervals that held, with a 95% interval: tasks drawn with replacement."""
    by_task: defaultdict[str, list[bool]] = defaultdict(list)
    for outcome in outcomes:
        truth = outcome.elsewhere if other_rows else outcome.reached
        if truth is not None:
            by_task[outcome.task].append(outcome.low <= truth <= outcome.high)
    if not by_task:
        return ""
    counts = np.array([(sum(right), len(right)) for right in by_task.values()], dtype=np.float64)
    drawn = counts[np.random.default_rng(0).integers(len(counts), size=(1000, len(counts)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    right, every = counts.sum(axis=0)
    return f"{right / every:.0%} [{100 * low:.0f}, {100 * high:.0f}]"


ANSWERS = {"": "given", "do not rise": "not rising", "jump": "jumps", "anything from": "too wide"}
"""Kinds of answers, by a part of the refusal."""

_COLUMNS = "number | held, same rows | held, other rows | median width | error | of power law | of no change |"


def answer(outcome: Outcome) -> str:
    """Return the kind of answer that was given."""
    return next(kind for part, kind in ANSWERS.items() if (part in outcome.refusal if part else not outcome.refusal))


def line(outcomes: Sequence[Outcome]) -> str:
    """Return a line of the table."""
    if not outcomes:
        return "0 | | | | | | |"
    reached = np.array([outcome.reached for outcome in outcomes])
    errors = np.abs(np.array([outcome.guesses for outcome in outcomes]) - reached[:, None]).mean(axis=0)
    width = float(np.median([outcome.high - outcome.low for outcome in outcomes]))
    cells = [
        f"{len(outcomes)} of {len({outcome.task for outcome in outcomes})} tasks",
        held(outcomes, other_rows=False),
        held(outcomes, other_rows=True),
        f"{width:.1f}",
        *(f"{error:.2f}" for error in errors),
    ]
    return " | ".join(cells) + " |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lcdb", type=Path)
    parser.add_argument("--curves", type=int, default=150, help="of LCDB")
    given = parser.parse_args()
    outcomes = list(task_outcomes(given.folder))
    if given.lcdb:
        outcomes += lcdb_outcomes(given.lcdb, given.curves)
    print(f"Nominal: {COVERAGE:.0%}. In brackets: 95% intervals, tasks drawn with replacement. Widths and errors in points.\n")
    print(f"| curves | answer | forecast | {_COLUMNS}\n|" + "---|" * 10)
    for source in dict.fromkeys(outcome.source for outcome in outcomes):
        for kind in ANSWERS.values():
            for factor in (2, 4):
                chosen = [o for o in outcomes if (o.source, answer(o), o.factor) == (source, kind, factor)]
                print(f"| {source} | {kind} | {factor}x | " + line(chosen))
    _details([outcome for outcome in outcomes if outcome.source.startswith("tasks held out")])


def _details(outcomes: Sequence[Outcome]) -> None:
    print(f"\nTasks held out, forecasts given:\n\n| | forecast | {_COLUMNS}\n|" + "---|" * 9)
    given = [outcome for outcome in outcomes if not outcome.refusal]
    groups = {
        **{f"{points} sizes": [o for o in given if o.points == points] for points in POINTS},
        **{f"{runs} run{'s' * (runs > 1)} per size": [o for o in given if o.runs == runs] for runs in (1, 3)},
        **{f"n = {size}": [o for o in given if o.size == size] for size in SIZES[2:-1]},
    }
    for name, chosen in groups.items():
        for factor in (2, 4):
            if of_factor := [outcome for outcome in chosen if outcome.factor == factor]:
                print(f"| {name} | {factor}x | " + line(of_factor))


if __name__ == "__main__":
    main()
