"""What is shown first is what is best, whichever direction of the metric is better."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from xeric.adapt.outcome import compared_arms
from xeric.analysis.results import ArmResult, Interval


@pytest.mark.parametrize(("metric", "order"), [("chrf", ["high", "low", "none"]), ("wrong_script_rate", ["low", "high", "none"])])
def test_the_best_baseline_comes_first(metric: str, order: list[str]) -> None:
    scored = {
        "low": {metric: Interval(value=10.0)},
        "high": {metric: Interval(value=90.0)},
        "none": {"other": Interval(value=1.0)},
    }
    arms = [ArmResult(id=name, label=name, baseline=name, scores=scores) for name, scores in scored.items()]
    results = cast("Any", SimpleNamespace(arms=arms, claims=()))
    assert [arm.label for arm in compared_arms(results, "trained", metric)] == order
