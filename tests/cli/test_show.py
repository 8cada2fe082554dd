"""Tables on a terminal: nothing is lost where it is narrow, and names are no markup."""

from __future__ import annotations

import pytest

from xeric.cli.show import show_table
from xeric.report.tables import Column, Table


@pytest.mark.parametrize("width", [40, 60, 200])
def test_a_table_loses_nothing_in_a_narrow_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    headings = [f"heading-{number}" for number in range(8)]
    columns = (Column("arm", "arm"), *(Column(heading, heading, "number") for heading in headings))
    rows = (("first-arm", *range(101, 109)), ("second-arm", *range(201, 209)))
    show_table(Table("t", "The table's title", columns, rows))
    printed = capsys.readouterr().out
    assert all(len(line) <= width for line in printed.splitlines())
    assert all(heading in printed for heading in headings)
    assert all(f"{number}.0" in printed for row in rows for number in row[1:])
    assert printed.count("heading-0") == printed.count("The table's title") == 1
    parts = printed.count("first-arm")
    assert parts == 1 if width == 200 else parts > 1


def test_brackets_in_titles_and_cells_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(Table("t", "[red]Title[/red]", (Column("arm", "[b]arm"), Column("x", "[x]", "number")), (("[lora]", 1),)))
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("[red]Title[/red]", "[b]arm", "[x]", "[lora]"))
