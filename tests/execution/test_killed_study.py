"""The comparison of ``bench/killed_study.py`` finds what it is there to find."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import load_script


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load_script("bench/killed_study.py")


def test_cost_may_differ_and_nothing_else(bench: ModuleType, undisturbed: Path, tmp_path: Path) -> None:
    expected = bench.contents(undisturbed)
    assert len(expected) > 30
    copy = tmp_path / "copy"
    shutil.copytree(undisturbed, copy)
    first, second, third = sorted(path.parent for path in copy.glob("runs/*/record.json"))[:3]
    record = json.loads((first / "record.json").read_bytes())
    (first / "record.json").write_text(json.dumps(record | {"cost": {"seconds": {"train": 1e6}}}))
    assert bench.differences(copy, expected) == []

    (first / "record.json").write_text(json.dumps(record | {"done_steps": 99}))
    predictions = (second / "predictions.jsonl").read_bytes()
    (second / "predictions.jsonl").write_bytes(predictions.replace(b'"id"', b'"ID"', 1))
    (third / "log.jsonl").unlink()
    (third / "checkpoint").mkdir()
    names = [str(copied.relative_to(copy)) for copied in (first, second, third)]
    assert sorted(bench.differences(copy, expected)) == [
        f"differs: {names[0]}/record.json",
        f"differs: {names[1]}/predictions.jsonl",
        f"missing: {names[2]}/log.jsonl",
        f"not in the undisturbed study: {names[2]}/checkpoint",
    ]
