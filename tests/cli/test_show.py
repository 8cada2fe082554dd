"""Tables on a terminal: nothing is lost where it is narrow."""

from __future__ import annotations

import pytest

from xeric.cli.show import show_sheet
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
