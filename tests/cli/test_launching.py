"""``xeric train --processes N``: the run of one process, files by one, and one sentence where a process ends."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.cli.conftest import Xeric
from xeric.cli import launching
from xeric.cli.progress import TerminalProgress


@pytest.fixture
def command(base_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str | Path]:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    tiny.write_task(tmp_path / "tasks", "one", instances=90)
    tiny.write_task(tmp_path / "tasks", "two", instances=40, language="Hindi")
    training = ["train.max_steps=6", "train.select=chrf", "train.dev_every=2", "train.patience=9", "decode.max_new_tokens=4"]
    stage = ["--sources", "two", "stages.0.train.max_steps=4", "stages.0.train.select=loss", "stages.0.train.dev_every=2"]
    small = ["--n-train", "60", "--before", "none", "metrics=[chrf]", "data.max_test=3", "prompt.demonstrations=1"]
    where = ["--tasks-dir", tmp_path / "tasks", "--base", base_folder("llama"), "--device", "cpu", "--precision", "fp32"]
    return ["train", "one", *where, *small, *training, *stage]


def read(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return record


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_two_processes_make_the_run_of_one(
    command: list[str | Path], xeric: Xeric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage, dev selection by chrF++, Ctrl-C in the middle of the run's own training: the same record but for its cost."""
    alone, pair = tmp_path / "alone" / "run", tmp_path / "pair" / "run"
    assert xeric(*command, "-o", alone)[0] == 0
    with monkeypatch.context() as patched:
        advance, left = TerminalProgress.advance, [4 + 3]

        def interrupt(self: TerminalProgress, units: int, loss: float | None = None) -> None:
            advance(self, units, loss)
            left[0] -= loss is not None
            if left[0] == 0 and loss is not None:
                signal.raise_signal(signal.SIGTERM)

        patched.setattr(TerminalProgress, "advance", interrupt)
        code, _, error = xeric(*command, "--processes", "2", "-o", pair)
    assert (code, (pair / "record.json").exists()) == (143, False), error
    steps = [row["step"] for row in map(json.loads, (pair / "log.jsonl").read_text().splitlines()) if "loss" in row]
    assert steps == [1, 2, 3]
    code, output, error = xeric(*command, "--processes", "2", "--json", "-o", pair)
    assert code == 0, error
    record, expected = read(pair), read(alone)
    assert json.loads(output) == record
    assert record["cost"]["processes"] == 2
    assert "processes" not in expected["cost"]
    assert record["stages"][0]["id"] == expected["stages"][0]["id"]
    for part in ("run_id", "status", "done_steps", "best_step", "scores", "tasks", "fingerprint", "parameters"):
        assert record[part] == expected[part], part
    assert (pair / "predictions.jsonl").read_bytes() == (alone / "predictions.jsonl").read_bytes()
    assert files(pair.parent) == files(alone.parent)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit('no GPU left')", "xeric: process 1 left with exit code 1: no GPU left"),
        (
            "import os; from xeric.training.trainer import Trainer; Trainer._step = lambda *_: os.kill(os.getpid(), 9)",
            "xeric: process 1 ended by SIGKILL, as the system does when memory is exhausted",
        ),
    ],
    ids=["before it joins", "in training"],
)
def test_a_process_that_ends_is_named(
    code: str, message: str, command: list[str | Path], xeric: Xeric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "_CODE", launching._CODE.replace("from xeric", f"{code}; from xeric", 1))
    exit_code, output, error = xeric(*command, "--processes", "2", "-o", tmp_path / "out")
    assert (exit_code, output) == (1, "")
    assert error.splitlines()[-2:] == [message, "hint: the same command goes on from the last checkpoint"]


@pytest.mark.parametrize(
    ("variables", "more", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, ["--processes", "2"], "--processes: a launcher has started several processes already"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, [], "environment: RANK=2 and WORLD_SIZE=2 name no process of a run"),
    ],
)
def test_launchers_that_contradict_the_command_are_refused(
    variables: dict[str, str],
    more: list[str],
    message: str,
    command: list[str | Path],
    xeric: Xeric,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, _, error = xeric(*command, *more)
    assert (code, error.splitlines()[0]) == (2, f"xeric: {message}")
