"""What a plan says a study can see, before anything is run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import scipy.stats

from tests import small_study as small
from tests.execution.test_run_study import Told
from xeric.execution.preview import preview
from xeric.statistics.decisions import detectable_difference
from xeric.statistics.estimates import VarianceComponent

# Instances differ by 12 points, runs by 1.5 points on a task: what plans assume, docs/concepts/statistics.md.
POWER = scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8)


@pytest.mark.parametrize("names", ["[one]", "[one, two]"])
def test_one_run_sees_what_the_verdicts_assume_of_it(names: str, tasks: Path, base: Path, tmp_path: Path) -> None:
    """However many tasks there are, a verdict takes a single run to spread by a point."""
    study = small.study(tasks, base, "tuning=null", "seeds=[0]", f"tasks={names}")
    shown = preview(study, tmp_path / "out", progress=Told())
    instances = 6 * len(study.tasks)
    assert shown.tasks[study.tasks[0]]["test"] == 6
    # A little more than the textbooks' figure for a spread that is known: that of a few instances is not.
    assert 1.05 < shown.detectable / (POWER * math.sqrt(2 * 1.0 + 144 / instances)) < 1.35
    assert shown.assumes == "standard deviations of 12 points between test instances and 1 between seeds"


def test_several_runs_spread_less_over_more_tasks(tasks: Path, base: Path, tmp_path: Path) -> None:
    study = small.study(tasks, base, "tuning=null", "seeds=[0, 1, 2]")
    shown = preview(study, tmp_path / "out", progress=Told())
    # Two tasks with independent spreads of 1.5 points: their mean spreads by that times the square root of a half.
    expected = detectable_difference(seeds=3, instances=VarianceComponent(144 / 12, 10), seed_sd=1.5 * math.sqrt(0.5))
    assert shown.detectable == pytest.approx(expected)
    assert shown.assumes.endswith("1.5 between seeds on a task")
