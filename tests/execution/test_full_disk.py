"""A study whose disk is full stops, instead of training on what cannot be saved; with room it goes on."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import small_study as small
from tests import tiny
from xeric.errors import StorageError
from xeric.execution.run_study import run_study
from xeric.records import RECORD_FILE


def test_a_study_stops_at_a_full_disk_and_goes_on_with_room(
    base_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in ("one", "two"):
        tiny.write_task(tmp_path / "tasks", task)
    study = small.study(tmp_path / "tasks", base_folder("llama"), "tuning=null", "seeds=[0]", "grids={methods: {}}")
    begun: list[int] = []

    def full(*_: object, **__: object) -> None:
        begun.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("xeric.bases.tensors.save_file", full)
        with pytest.raises(StorageError, match="No space left on device") as refused:
            run_study(study, tmp_path / "study")
    assert begun == [1], "one run found the disk full, and no other was tried"
    assert refused.value.exit_code == 1
    assert not list((tmp_path / "study").rglob("failure.json"))
    done = run_study(study, tmp_path / "study")
    assert len(list((tmp_path / "study" / "runs").glob(f"*/{RECORD_FILE}"))) == len(done.plan.runs) == 2
