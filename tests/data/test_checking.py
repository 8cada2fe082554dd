from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.data.samples import bad_instance, task, unlike
from xeric.data.checking import check_task
from xeric.data.importing import write_task


def test_a_check_counts_what_would_be_used(tmp_path: Path) -> None:
    write_task(task([*unlike(50), bad_instance("first<br>second")]), tmp_path / "good.json")
    check = check_task(tmp_path / "good.json")
    assert (check.name, check.ok, check.error, check.languages) == ("good", True, None, ("English",))
    assert (check.instances, check.kept, check.drops, check.clusters) == (51, 50, {"markup": 1}, 50)
    assert (check.test, check.max_train, check.mean_words) == (10, 40, {"input": 24.0, "output": 12.0})
    assert json.loads(json.dumps(check.as_json()))["drops"] == {"markup": 1}


def test_instances_of_one_input_are_merged_not_dropped(tmp_path: Path) -> None:
    again = [replace(i, id=f"{i.id}-again", outputs=(f"another answer to number {n}",)) for n, i in enumerate(unlike(50)[:3])]
    write_task(task([*unlike(50), *again]), tmp_path / "good.json")
    check = check_task(tmp_path / "good.json")
    assert (check.instances, check.kept, check.drops, check.merged) == (53, 50, {}, 3)


def test_an_unusable_task_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    write_task(task(unlike(5)), tmp_path / "few.json")
    assert "not valid JSON" in str(check_task(tmp_path / "bad.json").error)
    few = check_task(tmp_path / "few.json")
    assert (few.ok, few.kept) == (False, 5)
    assert "at least 10 are needed" in str(few.error)
