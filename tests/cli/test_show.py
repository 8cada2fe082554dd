"""Tables on a terminal: nothing is lost where it is narrow."""

from __future__ import annotations

from pathlib import Path

import pytest

from xeric.cli.show import show_run, show_sheet
from xeric.records import Record, TaskResult
from xeric.report.tables import Column, Sheet


@pytest.mark.parametrize("width", [40, 60, 200])
def test_a_table_loses_nothing_in_a_narrow_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    headings = [f"heading-{number}" for number in range(8)]
    columns = (Column("line", "line"), *(Column(heading, heading, "number") for heading in headings))
    rows = (("first-line", *range(101, 109)), ("second-line", *range(201, 209)))
    show_sheet(Sheet("t", "The table's title", columns, rows))
    said = capsys.readouterr().out
    assert all(len(line) <= width for line in said.splitlines())
    assert all(heading in said for heading in headings)
    assert all(f"{number}.0" in said for row in rows for number in row[1:])
    assert said.count("heading-0") == said.count("The table's title") == 1
    parts = said.count("first-line")
    assert parts == 1 if width == 200 else parts > 1


@pytest.mark.parametrize(("length", "said"), [(2, False), (3, True)])
def test_a_task_whose_texts_are_often_cut_off_is_named(length: int, said: bool, capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"train": 40, "dev": 10, "test": 20, "instances": 90}
    tasks = {
        name: TaskResult(scores={}, data={**counts, "ended": {"test": ended}}, fingerprint="f")
        for name, ended in (
            ("one", {"eos": 20 - length, "stop": 0, "length": length}),
            ("two", {"eos": 10, "stop": 10, "length": 0}),
        )
    }
    known = {"parameters": {"trainable": 0, "total": 9}, "resolved": {"decode.max_new_tokens": 24}}
    record = Record(run_id="r", status="ok", method="none", base={}, fingerprint="f", tasks=tasks, **known)  # type: ignore[arg-type]
    show_run(record, Path("out"), fresh=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if "limit" in line]
    assert lines == ["one: 15% of the texts end at the limit of 24 new tokens (decode.max_new_tokens)"] * said
