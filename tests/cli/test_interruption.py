"""Ctrl-C and ``kill``: one sentence that says how to go on, the shell's exit code, and no step lost."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import tiny
from tests.cli.conftest import Xeric
from xeric.cli.progress import TerminalProgress
from xeric.interruption import Interrupted, PutOff, raising


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell starts what runs in the background with Ctrl-C ignored; the tests must not depend on who started them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def command(base_folder: Callable[[str], Path], tmp_path: Path) -> list[str | Path]:
    tiny.write_task(tmp_path / "tasks", "one", instances=90)
    settings = [
        "prompt.demonstrations=1",
        "train.max_steps=12",
        "train.select=loss",
        "train.dev_every=3",
        "decode.max_new_tokens=2",
        "data.max_test=3",
    ]
    chosen = ["--tasks-dir", tmp_path / "tasks", "--base", base_folder("llama"), "--n-train", "60", "metrics=[chrf]"]
    return ["train", "one", "--before", "none", *chosen, *settings]


def _signal_at(units: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process a signal while the ``units``-th unit of progress is told of."""
    advance, left = TerminalProgress.advance, [units]

    def counted(self: TerminalProgress, done: int, loss: float | None = None) -> None:
        advance(self, done, loss)
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(number)

    monkeypatch.setattr(TerminalProgress, "advance", counted)


def _steps(folder: Path) -> list[int]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "loss" in row]


@pytest.mark.parametrize(("number", "code", "what"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "SIGTERM")])
def test_an_interrupted_training_loses_no_step(
    number: int, code: int, what: str, xeric: Xeric, command: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    assert xeric(*command, "-o", undisturbed)[0] == 0
    with monkeypatch.context() as patch:
        _signal_at(5, number, patch)
        left, printed, notes = xeric(*command, "-o", out)
    assert (left, printed) == (code, "")
    assert what in notes.splitlines()[-2]
    assert notes.splitlines()[-1] == "hint: what was finished is kept; the same command goes on from there"
    assert _steps(out) == [1, 2, 3, 4, 5]
    assert not (out / "locks").exists()
    left, _, notes = xeric(*command, "-o", out)
    assert left == 0
    assert "train: 7 of 12 to do" in notes
    for name in ("log.jsonl", "adapter/adapter_model.safetensors", "predictions.jsonl"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_an_evaluation_is_left_at_once_and_made_again(
    xeric: Xeric, command: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("xeric.run.session.dev_loss", lambda *_, **__: signal.raise_signal(signal.SIGINT))
        assert xeric(*command, "-o", out)[0] == 130
    assert _steps(out) == [1, 2, 3]
    assert xeric(*command, "-o", out)[0] == 0
    evaluated = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines() if '"dev"' in line]
    assert [row["step"] for row in evaluated] == [3, 6, 9, 12]


def test_a_command_that_keeps_nothing_promises_nothing(xeric: Xeric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.write_task(tmp_path, "one")
    _signal_at(1, signal.SIGINT, monkeypatch)
    code, out, errors = xeric("tasks", "check", "--tasks-dir", tmp_path)
    assert (code, out) == (130, "")
    assert re.fullmatch(r"check: 1\ncheck: 1 of 1, in [^\n]* s\nxeric: interrupted\n", errors)


def test_the_first_signal_waits_and_the_second_does_not() -> None:
    heard: list[str] = []

    def work(times: int) -> None:
        with raising(), PutOff(lambda: heard.append("first")) as interruption:
            for _ in range(times):
                signal.raise_signal(signal.SIGTERM)
                assert interruption.asked
                heard.append("went on")

    with pytest.raises(Interrupted) as left:
        work(1)
    assert left.value.exit_code == 143
    with pytest.raises(Interrupted):
        work(2)
    assert heard == ["first", "went on", "first", "went on"]


def test_signals_are_as_they_were_afterwards_and_ignored_ones_stay_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with raising():
            with PutOff() as interruption:
                signal.raise_signal(signal.SIGTERM)
                assert not interruption.asked
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
