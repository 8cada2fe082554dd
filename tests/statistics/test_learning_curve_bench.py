"""The learners and the count of bench/task_curves.py and bench/learning_curves.py do what they say."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from tests.scripts import load_script
from xeric.data.tasks import Instance


@pytest.fixture(scope="module")
def learners() -> ModuleType:
    return load_script("bench/task_curves.py")


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load_script("bench/learning_curves.py")


COLOURS = ("red", "green", "blue", "white", "black", "grey")
TRAIN = [
    Instance(str(number), f"The {colour} boat leaves on {day}.", (f"{colour} {day}.",))
    for number, (colour, day) in enumerate((c, d) for c in COLOURS for d in ("Monday", "Friday", "Sunday"))
]


def test_the_nearest_example_answers(learners: ModuleType) -> None:
    assert learners.nearest(TRAIN, ["The blue boat leaves on Friday!"]) == ["blue Friday."]


def test_words_are_kept_by_what_they_are(learners: ModuleType) -> None:
    assert learners.keep(TRAIN, ["The green boat leaves on Sunday.", "The red boat leaves on Monday."]) == [
        "green Sunday.",
        "red Monday.",
    ]


def test_words_are_written_that_go_with_the_input(learners: ModuleType) -> None:
    written = learners.generate(TRAIN, ["The white boat leaves on Friday."])[0].split()
    assert len(written) == 2
    assert written[0] == "white"


def test_curves_of_made_scores_are_cut_off_forecast_and_compared(bench: ModuleType) -> None:
    rng = np.random.default_rng(4)
    columns = 25
    right = np.array([0.2, 0.25, 0.32, 0.4, 0.5, 0.55, 0.58])
    rows = np.zeros((2, len(right), 250, columns))
    hits = rng.random((2, 1, 250)) < right[None, :, None]

    class Share:
        """The share of rows that are right, as a score of sums."""

        @staticmethod
        def score_sums(sums: np.ndarray) -> np.ndarray:
            return np.asarray(100 * sums[..., 0] / sums[..., 1])

    rows[..., 0], rows[..., 1] = hits, 1
    outcomes = list(bench._of_task("made", "task", rows, Share()))
    # 3 points at 50 to 400, 4 at 100 to 400, 5 at 200 and 400; twice and four times each, but 400 only twice
    assert len(outcomes) == 2 * (4 + 3 + 2) - 3
    first = next(o for o in outcomes if (o.points, o.size, o.factor) == (3, 50, 2))
    own = 100 * hits[:, :, :100].mean(axis=(0, 2))
    assert first.reached == pytest.approx(own[3] - own[2])
    assert first.elsewhere == pytest.approx(100 * (hits[:, 3, 100:].mean() - hits[:, 2, 100:].mean()))
    assert first.runs == 2


def test_the_share_that_held_is_counted(bench: ModuleType) -> None:
    outcome = bench.Outcome("s", "a", 1, 4, 100, 2, 0.0, 2.0, "", 1.0, 3.0, (1.0, 1.2, 0.0))
    outcomes = [outcome, replace(outcome, task="b", reached=2.5), replace(outcome, task="c", reached=-0.1), outcome]
    assert bench.held(outcomes, other_rows=False).startswith("50% [")
    assert bench.held(outcomes, other_rows=True).startswith("0% [0, 0]")
    assert bench.held([replace(outcome, elsewhere=None)], other_rows=True) == ""
    assert bench.answer(outcome) == "given"
    assert bench.answer(replace(outcome, refusal="the scores jump by more than chance explains")) == "jumps"
    cells = bench.line(outcomes).split(" | ")
    assert cells[0] == "4 of 3 tasks"
    assert cells[3] == "2.0"
