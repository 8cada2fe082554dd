"""A run's folder: one process at a time, files of other programs, and a file system that refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny
from xeric import locks
from xeric.errors import RunError, StorageError, UserError
from xeric.locks import Lock, acquire
from xeric.progress import Silent
from xeric.records import RECORD_FILE
from xeric.run.config import RunConfig, run_config
from xeric.run.execute import execute


@pytest.fixture
def config(base_folder: Callable[[str], Path], tmp_path: Path) -> RunConfig:
    tiny.write_task(tmp_path / "tasks", "one")
    settings = {
        "tasks": ["one"],
        "tasks_dirs": [str(tmp_path / "tasks")],
        "base": str(base_folder("llama")),
        "method": "lora",
        "data": {"n_train": 20, "max_test": 3},
        "prompt": {"demonstrations": 1},
        "train": {"max_steps": 2},
        "decode": {"max_new_tokens": 2},
        "metrics": ["chrf"],
        "device": "cpu",
    }
    return run_config(settings)[0]


class _Notes(Silent):
    def __init__(self, then: Callable[[str], None] = lambda _: None) -> None:
        self.notes: list[str] = []
        self._then = then

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._then(text)


def test_the_second_process_waits_and_finds_the_run_done(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks.time, "sleep", lambda _: None)
    done, folder = execute(config, tmp_path / "done").folder, tmp_path / "run"
    first = acquire(folder / "locks", "run")
    assert first is not None

    def finish(note: str) -> None:
        if "another process works in" in note:
            (folder / RECORD_FILE).write_bytes((done / RECORD_FILE).read_bytes())
            first.release()

    progress = _Notes(finish)
    assert not execute(config, folder, progress=progress).fresh
    assert any(str(folder) in note for note in progress.notes)
    assert [path.name for path in folder.iterdir()] == [RECORD_FILE]


def test_a_run_that_another_process_has_taken_over_stops(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lock, "lost", property(lambda _: True))
    with pytest.raises(Exception, match="taken this run over"):
        execute(config, tmp_path / "run")


@pytest.mark.parametrize("name", [".DS_Store", "._adapter", "Thumbs.db", ".nfs0001"])
def test_files_of_other_programs_do_not_keep_a_run_from_going_on(name: str, config: RunConfig, tmp_path: Path) -> None:
    run = execute(config, tmp_path / "run")
    (run.folder / RECORD_FILE).unlink()
    (run.folder / name).touch()
    assert execute(config, run.folder).fresh
    (run.folder / RECORD_FILE).unlink()
    (run.folder / "notes.txt").touch()
    with pytest.raises(UserError, match="not a run's: notes"):
        execute(config, run.folder)


@pytest.mark.parametrize("name", ["adapter/adapter_model.safetensors", "predictions.jsonl"])
def test_files_that_only_have_a_runs_names_are_left_alone(name: str, config: RunConfig, tmp_path: Path) -> None:
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"of somebody else")
    with pytest.raises(UserError, match=r"and no config\.yaml, which a run writes first"):
        execute(config, tmp_path / "out")
    assert file.read_bytes() == b"of somebody else"


def test_a_path_through_a_file_is_refused_before_the_base_is_loaded(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("xeric.run.execute.load_base", lambda *_, **__: pytest.fail("loaded"))
    for bad, reason in ((tmp_path / "file" / "run", "Not a directory"), (tmp_path / ("x" * 300), "File name too long")):
        with pytest.raises(StorageError, match=reason) as refused:
            execute(config, bad)
        assert (refused.value.where, refused.value.exit_code) == (str(bad), 2)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "tasks"}


def test_a_disk_that_fills_up_in_the_middle_ends_the_run_with_the_path(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("xeric.bases.tensors.save_file", full)
        with pytest.raises(StorageError, match=r"adapter_model\.safetensors: cannot be written: No space left") as refused:
            execute(config, tmp_path / "run")
    assert refused.value.exit_code == 1
    assert "same command again" in str(refused.value.hint)
    assert execute(config, tmp_path / "run").fresh
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()] == [1, 2]


def test_what_a_kill_after_the_record_left_goes_with_the_same_command(config: RunConfig, tmp_path: Path) -> None:
    folder = execute(config, tmp_path / "run").folder
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for left in ("checkpoint/training.safetensors", "adapter/.tmpUfmrdP", ".record.json.0badcafe-1.00000000.part", "locks/run.1"):
        (folder / left).parent.mkdir(exist_ok=True)
        (folder / left).write_text("")
    old = 1000.0
    os.utime(folder / "locks" / "run.1", (old, old))
    assert not execute(config, folder).fresh
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not (folder / "locks").exists()


def test_nothing_is_taken_from_a_process_that_works_in_a_finished_run(config: RunConfig, tmp_path: Path) -> None:
    folder = execute(config, tmp_path / "run").folder
    lock = acquire(folder / "locks", "run")
    assert lock is not None
    (folder / "checkpoint").mkdir()
    assert not execute(config, folder).fresh
    assert (folder / "checkpoint").is_dir()
    lock.release()


def test_an_error_in_a_run_that_was_taken_over_says_so(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: object, **__: object) -> None:
        (tmp_path / "run" / "locks" / "run.2").write_text("{}")
        monkeypatch.setattr(Lock, "lost", True)
        raise FileNotFoundError(2, "No such file or directory", "predictions.jsonl")

    monkeypatch.setattr("xeric.run.finishing.write_jsonl", taken)
    with pytest.raises(RunError, match="another process has taken this run over"):
        execute(config, tmp_path / "run")
