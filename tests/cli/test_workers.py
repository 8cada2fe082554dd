"""Commands that make a study's results count its predictions with every processor, and say the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Xeric
from tests.studies import made
from xeric.studies import analysis
from xeric.studies.config import Grid


def test_results_are_made_with_every_processor(xeric: Xeric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grids = {"one": Grid(bases=("multi",), methods=("lora",))}
    study = made.changed(grids=grids, tables={}, figures={}, claims={}, seeds=(0,), tuning=None)
    root = made.write_study(tmp_path / "study", study, instances=4)
    asked: list[int] = []
    count = analysis.measure_runs

    def counted(*arguments: Any, workers: int) -> Any:
        asked.append(workers)
        return count(*arguments, workers=1)

    monkeypatch.setattr(analysis, "measure_runs", counted)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    for command in (["report"], ["recommend"], ["study", "rescore"]):
        (root / "results.json").unlink(missing_ok=True)
        asked.clear()
        assert xeric(*command, root)[0] == 0
        assert set(asked) == {3}, command
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert xeric("study", "rescore", root)[0] == 0
    assert set(asked) == {3, 1}
