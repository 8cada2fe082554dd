"""When results that lie in a study's folder still hold, and when they are made again."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.made_study import small, write_study
from xeric.analysis.analyse import analyse, current_results


def test_results_are_made_again_where_what_they_were_made_from_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_study(tmp_path / "s", small(seeds=(0, 1)))
    kept = tmp_path / "kept"

    def seeds() -> dict[str, int]:
        assert current_results(root) == analyse(root)
        return {arm.id: arm.seeds for arm in current_results(root).arms if arm.key}

    assert seeds() == {"multi-full": 2, "multi-lora": 2}
    shutil.move(root / "runs" / "multi-lora-s1", kept)
    assert seeds() == {"multi-full": 2, "multi-lora": 1}, "a run that is gone"
    for path in (kept, *kept.iterdir()):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    shutil.move(kept, root / "runs" / "multi-lora-s1")
    assert seeds() == {"multi-full": 2, "multi-lora": 2}, "an old run that came back"
    shutil.rmtree(root / "baselines")
    seeds()
    assert not [arm.id for arm in current_results(root).arms if arm.baseline], "a whole folder that is gone"
    before = (root / "results.json").stat().st_mtime_ns
    current_results(root)
    assert (root / "results.json").stat().st_mtime_ns == before
    monkeypatch.setattr("xeric.analysis.analyse.__version__", "0.0.1")
    current_results(root)
    assert (root / "results.json").stat().st_mtime_ns > before, "another version"


def test_an_old_file_in_the_place_of_another_is_seen(tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", small(seeds=(0, 1)))
    current_results(root)
    record = root / "runs" / "multi-lora-s1" / "record.json"
    diverged = record.read_text(encoding="utf-8").replace('"status": "ok"', '"status": "diverged"')
    old = tmp_path / "record.json"
    old.write_text(diverged, encoding="utf-8")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    time.sleep(0.02)
    shutil.move(old, record)
    assert {run.id: run.status for run in current_results(root).runs}["multi-lora-s1"] == "diverged"


def test_a_copy_of_a_study_has_the_same_results_to_the_byte(tmp_path: Path) -> None:
    root = write_study(tmp_path / "one" / "s", small())
    shutil.copytree(root, tmp_path / "two" / "s", copy_function=shutil.copy)
    texts = []
    for parent in ("one", "two"):
        current_results(tmp_path / parent / "s")
        text = (tmp_path / parent / "s" / "results.json").read_text(encoding="utf-8")
        texts.append(text.replace(str(tmp_path / parent), ""))
    assert texts[0] == texts[1]
