"""A run's results on a terminal: scores beside baselines and the base before, cut texts, gates, names as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from xeric.cli.show_run import show_run
from xeric.records import Record, Score, TaskResult, TrivialScores


@pytest.mark.parametrize(("length", "is_named"), [(2, False), (3, True)])
def test_a_task_whose_texts_are_often_cut_off_is_named(length: int, is_named: bool, capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"train": 40, "dev": 10, "test": 20, "instances": 90}
    tasks = {
        name: TaskResult(scores={}, data={**counts, "ended": {"test": ended}}, fingerprint="f")
        for name, ended in (
            ("one", {"eos": 20 - length, "stop": 0, "length": length}),
            ("two", {"eos": 10, "stop": 10, "length": 0}),
        )
    }
    further = {"parameters": {"trainable": 0, "total": 9}, "resolved": {"decode.max_new_tokens": 24}}
    record = Record(run_id="r", status="ok", method="none", base={}, fingerprint="f", tasks=tasks, **further)  # type: ignore[arg-type]
    show_run(record, Path("out"), fresh=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if "limit" in line]
    assert lines == ["one: 15% of the texts end at the limit of 24 new tokens (decode.max_new_tokens)"] * is_named


def record(own: dict[str, float], *tasks: str, **trivial: dict[str, float]) -> Record:
    def scores(values: dict[str, float]) -> dict[str, Score]:
        return {metric: Score(score=value, low=value - 1, high=value + 1, signature=metric) for metric, value in values.items()}

    data = {"train": 9, "dev": 1, "test": 5, "instances": 15}
    return Record(
        run_id="0",
        status="ok",
        method="lora",
        base={},
        scores=scores(own),
        tasks={task: TaskResult(scores=scores(own), data=data, fingerprint="") for task in tasks},
        baselines={name: TrivialScores(scores=scores(by_metric), tasks={}) for name, by_metric in trivial.items()},
        parameters={"trainable": 1, "total": 2},
        fingerprint="",
    )


def shown(result: Record, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[list[list[str]], str]:
    """The cells of the table, row by row, and all that was printed."""
    monkeypatch.setenv("COLUMNS", "200")
    show_run(result, Path("out"), fresh=True)
    printed = capsys.readouterr().out
    rows = [line.replace("\u2503", "\u2502").strip("\u2502").split("\u2502") for line in printed.splitlines()]
    return [[cell.strip() for cell in row] for row in rows if len(row) > 1], printed


def test_a_runs_scores_stand_beside_the_trivial_baselines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trivial = {"cut_input": {"chrf": 14.0, "bleu": 3.0}, "first_sentences": {"chrf": 15.9, "bleu": 2.0}}
    own = {"chrf": 14.7, "bleu": 4.0, "copy_rate": 30.0}
    rows, printed = shown(record(own, "a", **trivial), capsys, monkeypatch)
    assert rows[-4:] == [
        ["", "chrf", "bleu"],
        ["this run", "14.7", "4.0"],
        ["cut input", "14.0", "3.0"],
        ["first sentences", "15.9", "2.0"],
    ]
    assert rows[:2] == [["metric", "score", "95% interval"], ["chrf", "14.7", "[13.7, 15.7]"]]
    assert "chrf 14.7 is below the 15.9 of the best trivial baseline, first sentences, which needs no model\n" in printed
    beside = rows[-3:]
    rows, printed = shown(record(own, "a", "b", **trivial), capsys, monkeypatch)
    assert rows[-4:] == [["mean over tasks", "chrf", "bleu"], *beside]
    assert "chrf 14.7 (mean over tasks) is below the 15.9" in printed


@pytest.mark.parametrize(
    ("own", "trivial"), [({"chrf": 15.9}, {"chrf": 15.9}), ({"bleu": 1.0}, {"bleu": 9.0}), ({"chrf": 1.0}, {})]
)
def test_nothing_is_said_where_the_run_is_not_below(
    own: dict[str, float], trivial: dict[str, float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"first_sentences": trivial} if trivial else {}
    assert "below" not in shown(record(own, "a", **given), capsys, monkeypatch)[1]


def test_brackets_and_colons_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    shown_record = record({"chrf": 10.0}, "mail [v2]", "[/b] :smile:", copy_input={"chrf": 5.0})
    show_run(shown_record, Path("out[/old]"), fresh=False)
    printed = capsys.readouterr().out
    assert printed.count("out[/old]") == 2
    assert "mail [v2]: 9 train" in printed
    assert "[/b] :smile:: 9 train" in printed
