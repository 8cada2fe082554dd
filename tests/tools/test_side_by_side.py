"""``tools/side_by_side.py``: which instances are shown, and that every arm's text stands beside the reference."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.report import made
from tests.scripts import load_script
from xeric.records import Prediction
from xeric.report.reading import ArmOutputs


@pytest.fixture(scope="module")
def side_by_side() -> ModuleType:
    return load_script("tools/side_by_side.py")


def rows(count: int) -> list[Prediction]:
    return [
        Prediction(task="t", id=f"i{number}", input=f"in {number}", prediction="p", references=("r",), language="English")
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([3.0, 1.0, 2.0, 5.0, 4.0], ["i0", "i4", "i1"]),  # the median is the first already: the next above it
        ([9.0, 3.0, 1.0, 2.0, 4.0], ["i0", "i1", "i2"]),
        ([1.0, 2.0, 3.0], ["i0", "i1", "i2"]),
        ([5.0], ["i0"]),
    ],
)
def test_first_median_and_worst_and_never_the_same_twice(
    side_by_side: ModuleType, means: list[float], expected: list[str]
) -> None:
    instances = rows(len(means))
    arms = [
        ArmOutputs(name, 0, tuple(instances), {("t", f"i{number}"): mean + shift for number, mean in enumerate(means)})
        for name, shift in (("a", -0.5), ("b", 0.5))
    ]
    assert [row.id for _, row in side_by_side.chosen(instances, arms)] == expected


def test_every_arm_stands_beside_the_reference(
    side_by_side: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = made.make_study(tmp_path, hostile=False, figures=False)
    side_by_side.main([str(tmp_path), "--longest", "40"])
    page = capsys.readouterr().out
    finished = {run.arm for run in results.runs if run.status == "ok"}
    arms = [arm for arm in results.arms if arm.key is not None and arm.id in finished]
    tables = page.split("| **reference** |")[1:]
    assert len(tables) == 3 * len(results.tasks)
    labels = [label.replace("[", r"\[").replace("_", r"\_") for label in (arm.label for arm in arms)]
    for table in tables:
        assert [label for label in labels if f"| {label} |" in table] == labels
