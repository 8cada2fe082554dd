"""Logs of a training: cut to a checkpoint, and closed to a process that has lost the work to another one."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from xeric.errors import StorageError
from xeric.training.log import StepLog, TimeLog


def test_a_log_goes_on_from_the_bytes_that_a_checkpoint_names(tmp_path: Path) -> None:
    first = StepLog(tmp_path / "log.jsonl")
    first.cut(0)
    first.write({"step": 1})
    size = first.sync()
    first.write({"step": 2})
    first.close()
    second = StepLog(tmp_path / "log.jsonl")
    second.cut(size)
    second.write({"step": 2, "again": True})
    second.close()
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        {"step": 1},
        {"step": 2, "again": True},
    ]


def test_a_process_that_lost_the_work_adds_nothing_to_the_log_of_its_successor(tmp_path: Path) -> None:
    path, times = tmp_path / "log.jsonl", tmp_path / "times.jsonl"
    stopped, successor = (StepLog(path), TimeLog(times)), (StepLog(path), TimeLog(times))
    for steps, seconds in (stopped, successor):
        steps.cut(0)
        seconds.cut(0)
    successor[0].write({"step": 1})
    successor[1].write(1, 0.5)
    stopped[0].write({"step": 1})
    stopped[1].write(1, 99.0)
    successor[0].write({"step": 2})
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    assert [json.loads(line)["seconds"] for line in times.read_text().splitlines()] == [0.5]
    for log in (*stopped, *successor):
        log.close()


def test_a_full_disk_names_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    log = StepLog(tmp_path / "log.jsonl")
    log.cut(0)
    monkeypatch.setattr("xeric.training.log.os.fsync", full)
    with pytest.raises(StorageError, match=r"log\.jsonl: cannot be written: No space left on device"):
        log.sync()
    log.close()
