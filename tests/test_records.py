"""The schema of what a run leaves behind, and the versions that made it."""

from __future__ import annotations

import math

import pytest

from xeric.records import Score, versions


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_is_a_finite_number(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Score(score=value, signature="s")


def test_the_versions_name_what_can_move_a_result() -> None:
    installed = versions()
    assert {"python", "xeric", "torch", "transformers", "sacrebleu"} <= set(installed)
    assert installed["python"].startswith("3.")
    assert installed["torch"] != "not installed"
