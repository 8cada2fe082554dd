"""``xeric study new`` and ``xeric study check`` as their user meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import regex

from tests import tiny
from xeric.cli import run

Xeric = Callable[..., tuple[int, str, str]]


@pytest.fixture
def xeric(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Xeric:
    monkeypatch.delenv("XERIC_TASKS", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(["study", *(str(argument) for argument in arguments)])
        return code, *capfd.readouterr()

    return call


def test_a_new_study_is_right_as_it_is_and_with_every_comment_taken_away(xeric: Xeric, tmp_path: Path) -> None:
    tiny.write_task(tmp_path / "tasks", "one", instances=20)
    code, printed, _ = xeric("new", "one", "email_subject_en", "--tasks-dir", "tasks", "-o", "mine.yaml")
    assert (code, printed) == (0, "mine.yaml: 2 tasks, 1 base; next: xeric study plan mine.yaml\n")
    assert xeric("check", "mine.yaml")[:2] == (0, "mine.yaml: no mistakes; 7 arms, 17 runs\n")
    text = Path("mine.yaml").read_text(encoding="utf-8")
    settings = regex.sub(r"(?m)^# (?=(?:methods|run|seeds|tuning|grids|tables|figures|claims):|  +[\w-])", "", text)
    settings = regex.sub(r"(?m)^  xeric.*$", "", settings)
    assert len(settings.splitlines()) == len(text.splitlines())
    Path("whole.yaml").write_text(settings, encoding="utf-8")
    assert "\ntuning: {trials: 4" in settings
    assert xeric("check", "whole.yaml")[:2] == (0, "whole.yaml: no mistakes; 7 arms, 17 runs\n")


def test_a_new_study_replaces_no_file_and_takes_no_unknown_name(xeric: Xeric) -> None:
    Path("mine.yaml").write_text("mine", encoding="utf-8")
    code, _, notes = xeric("new", "email_subject_en", "-o", "mine.yaml")
    assert (code, notes) == (2, "xeric: mine.yaml: is there already\nhint: name another file with -o\n")
    assert Path("mine.yaml").read_text(encoding="utf-8") == "mine"
    for arguments, complaint in (
        (("emial_subject_en",), "unknown task 'emial_subject_en'"),
        (("email_subject_en", "--base", "gema-3-270m"), "unknown base 'gema-3-270m'"),
    ):
        code, _, notes = xeric("new", *arguments, "-o", "other.yaml")
        assert code == 2
        assert complaint in notes
        assert not Path("other.yaml").exists()


def test_check_says_every_mistake_with_line_hint_and_example(xeric: Xeric) -> None:
    Path("mine.yaml").write_text(
        "bases: [gemma-3-270m]\ntasks: [email_subject_en]\nmethods:\n  lora: {rnk: 8}\nkeep: some\n", encoding="utf-8"
    )
    code, printed, _ = xeric("check", "mine.yaml")
    assert code == 2
    assert printed == (
        "mine.yaml: 2 mistakes\n\n"
        "line 4, methods.lora.rnk: unknown setting\n    hint: did you mean 'rank'?\n    for example: rank: 16\n\n"
        "line 5, keep: expected 'none', 'adapter' or 'all', found 'some'\n    for example: keep: \"adapter\"\n"
    )
    code, printed, _ = xeric("check", "mine.yaml", "--set", "keep=all", "--json")
    assert code == 2
    assert [(mistake["where"], mistake["line"]) for mistake in json.loads(printed)["mistakes"]] == [("methods.lora.rnk", 4)]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_plan_and_run_name_the_first_mistake_and_count_the_others(command: str, xeric: Xeric) -> None:
    Path("mine.yaml").write_text("bases: {}\ntasks: [email_subject_en]\nmethods: {}\nkeep: some\n", encoding="utf-8")
    code, printed, notes = xeric(command, "mine.yaml")
    assert (code, printed) == (2, "")
    first, hint = notes.splitlines()
    assert first == "xeric: bases: expected at least 1 entry, found {}"
    assert hint == "hint: `xeric study check` with the same arguments shows 2 more mistakes"
