"""``xeric instruct``: a task file, a difference that can be read, and a sentence for what cannot be searched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny
from tests.cli.conftest import Xeric
from tests.instructing.serving import serving

PROPOSED = "Say the words of the input backwards."


@pytest.fixture
def arguments(tmp_path: Path, base_folder: Callable[[str], Path]) -> list[str | Path]:
    tiny.write_task(tmp_path / "tasks", "one", instances=100)
    settings = ["data.n_train=60", "prompt.demonstrations=1", "decode.max_new_tokens=4"]
    budget = ["--candidates", "8", "--finalists", "2", "--device", "cpu", "--precision", "fp32"]
    return ["instruct", "one", *settings, "--tasks-dir", tmp_path / "tasks", "--base", base_folder("llama"), *budget]


def test_a_search_writes_a_task_and_shows_what_changed(xeric: Xeric, arguments: list[str | Path], tmp_path: Path) -> None:
    with serving(json.dumps([PROPOSED])) as server:
        code, out, err = xeric(*arguments, "-o", tmp_path / "better.json", "--proposer", server.address)
        assert code == 0, err
        assert "8 of 8 candidates scored, seed 0, plain layout" in out
        assert "nats per token" in out
        assert "shuffled" in out
        assert server.asked
        code, out, err = xeric(*arguments, "-o", tmp_path / "json.json", "--proposer", server.address, "--json")
    parsed = json.loads(out)
    assert (code, parsed["scored"]) == (0, 8)
    code, out, _ = xeric("tasks", "show", "better", "--tasks-dir", tmp_path, "--json")
    assert json.loads(out)["definition"] == parsed["chosen"]["definition"]


def test_a_difference_shows_removed_and_added_words(capsys: pytest.CaptureFixture[str]) -> None:
    from xeric.cli.instruct import show
    from xeric.instructing.outcome import Difference, InstructOutcome, ScoredPrompt

    own = ScoredPrompt(origin="own", definition="Write a short title.", demonstrations=(("a", "b"),), loss=2.0, chrf=10.0)
    chosen = ScoredPrompt(origin="delete", definition="Write one title.", demonstrations=(("c", "d"),), loss=1.5, chrf=12.5)
    outcome = InstructOutcome(
        task="one", base="b", template="plain", search="both", seed=0, scored=9, limit=9, proposer=None, instances=10,
        split="dev",
        chosen=chosen, own=own, finalists=(chosen, own), controls=(), difference=Difference(value=2.5, low=-1.0, high=6.0),
    )  # fmt: skip
    show(outcome, Path("better.json"))
    out = capsys.readouterr().out
    assert "Write [-a short-] {+one+} title." in out
    assert "- a -> b" in out
    assert "+ c -> d" in out
    assert "chrF++ +2.5 [−1.0, 6.0] against the own prompt" in out


def test_what_cannot_be_searched_is_one_sentence(xeric: Xeric, arguments: list[str | Path], tmp_path: Path) -> None:
    (tmp_path / "there.json").touch()
    for changed, message in (
        (["-o", tmp_path / "there.json"], "is there already"),
        (["two", "-o", tmp_path / "x.json"], "2 tasks are named"),
        (["-o", tmp_path / "x.json", "--search", "all"], "search"),
        (["-o", tmp_path / "x.json", "prompt.definition=other"], "prompt.definition"),
        (["-o", tmp_path / "x.json", "--proposer", "localhost"], "is not an http or https address"),
    ):
        code, _, err = xeric(*arguments, *changed)
        assert (code, message in err) == (2, True), err
        assert "Traceback" not in err
    with serving() as server:
        address = server.address
    code, _, err = xeric(*arguments, "-o", tmp_path / "x.json", "--proposer", address)
    assert code == 1
    assert "cannot be reached" in err
    assert not (tmp_path / "x.json").exists()
