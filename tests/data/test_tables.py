"""Tables come out as the rows that they hold, or are refused by line; no row disappears in another one."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

import pytest

from xeric.data.quoting import Quotes
from xeric.data.tables import Table, delimited_table, json_table, the_delimiter
from xeric.errors import DataError, UserError


def read(
    text: str, name: str = "m.csv", notes: list[str] | None = None, quotes: Quotes = "auto", delimiter: str | None = None
) -> list[tuple[str, ...]]:
    parsed = table(text, name, notes, quotes, delimiter)
    return [(row.get("input", ""), row.get("output", "")) for _, row in parsed.rows]


def table(
    text: str, name: str = "m.csv", notes: list[str] | None = None, quotes: Quotes = "auto", delimiter: str | None = None
) -> Table:
    say = (notes if notes is not None else []).append
    return delimited_table(text, Path(name), ["input", "output"], delimiter, quotes, say)


def swallowing(mark: str) -> str:
    rows = [(f"line {n} of the report", f"report {n}") for n in range(1, 13)]
    rows[2] = (rows[2][0], '"We leave at dawn')
    rows[5] = (rows[5][0], 'She answered: not today"')
    return "".join(f"{x}{mark}{y}\n" for x, y in [("input", "output"), *rows])


def test_lone_marks_swallow_no_rows_of_a_tsv() -> None:
    notes: list[str] = []
    rows = read(swallowing("\t"), "m.tsv", notes)
    assert [x for x, _ in rows] == [f"line {n} of the report" for n in range(1, 13)]
    assert (rows[2][1], rows[5][1]) == ('"We leave at dawn', 'She answered: not today"')
    assert notes == ["quotation marks in m.tsv were read as text, because they do not enclose whole cells"]


def test_a_row_that_ends_early_does_not_make_marks_in_a_tsv_enclose() -> None:
    text = swallowing("\t").replace("\treport 5\n", "\n")
    assert [x for x, _ in read(text, "m.tsv")] == [f"line {n} of the report" for n in range(1, 13)]


def test_lone_marks_in_a_csv_are_refused_by_line_until_the_user_decides() -> None:
    with pytest.raises(DataError, match="opens in line 4 and closes in line 7, and each of these lines could be a row") as caught:
        read(swallowing(","))
    assert caught.value.where == "m.csv, line 4"
    assert len(read(swallowing(","), quotes="text")) == 12
    assert len(read(swallowing(","), quotes="enclose")) == 9
    # Cells that are enclosed as they should be elsewhere in the file do not make it a row.
    with pytest.raises(DataError, match="opens in line 4"):
        read(swallowing(",") + 'x,"a, b"\n"c ""d""",e\n')


@pytest.mark.parametrize("between", ["\n", "\nrow with one cell\n"])
def test_lines_that_are_no_rows_between_do_not_hide_that_rows_are_swallowed(between: str) -> None:
    text = swallowing(",").replace("report 4\n", f"report 4\n{between}")
    with pytest.raises(DataError, match="opens in line 4"):
        read(text)


def test_cells_of_several_lines_are_one_cell_where_the_file_shows_it() -> None:
    notes: list[str] = []
    poem = 'input,output\na,"Roses are red,\nviolets are blue"\nb,"one\ntwo, three"\nc,"x\n\ny"\n'
    assert read(poem, notes=notes) == [("a", "Roses are red,\nviolets are blue"), ("b", "one\ntwo, three"), ("c", "x\n\ny")]
    reason = "a quotation mark opens in line 4 and closes in line 5, and each of these lines could be a row"
    assert notes == [f"{reason}: read as one row of m.csv; if that is wrong, give --quotes text"]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('input\toutput\nx\t"Yes"\ny\tno\n', [("x", '"Yes"'), ("y", "no")]),
        ('input\toutput\n"No" he said\t"Yes\n', [('"No" he said', '"Yes')]),
        ('input\toutput\nx\t5" pipe\n', [("x", '5" pipe')]),
        ('"input"\t"output"\n"x"\t"Yes"\n"y"\t"a ""b"""\n', [("x", "Yes"), ("y", 'a "b"')]),
        ('input\toutput\nx\t"a\tb"\ny\t"c\nd"\n', [("x", "a\tb"), ("y", "c\nd")]),
        ('input\toutput\nx\t"a, b"\ny\tc\n', [("x", "a, b"), ("y", "c")]),
    ],
)
def test_marks_in_a_tsv_are_text_unless_they_were_needed(text: str, rows: list[tuple[str, str]]) -> None:
    assert read(text, "m.tsv") == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('input,output\nx,"Yes"\n', [("x", "Yes")]),
        ('input,output\nx,5" pipe\n', [("x", '5" pipe')]),
        ('input,output\nx,"We left\ny,z\n', [("x", '"We left'), ("y", "z")]),
        ('input,output\n"No" he said,x\n', [('"No" he said', "x")]),
        ('input, output\n x , "a, b" \n', [(" x ", "a, b")]),
        ('input,output\n"",x\n', [("", "x")]),
    ],
)
def test_marks_in_a_csv(text: str, rows: list[tuple[str, str]]) -> None:
    assert read(text) == rows


@pytest.mark.parametrize("style", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_what_a_csv_writer_writes_is_read_back(mark: str, style: int) -> None:
    rng = random.Random(0)
    words = ["a", "Quoth", '"', ",", ";", "\t", "|", "\n", "\r\n", " ", "é", "word", "another"]
    for _ in range(200):
        rows = [["".join(rng.choices(words, k=rng.randint(1, 9))) + "x" for _ in range(2)] for _ in range(6)]
        # Two rows leave no doubt that the file encloses its cells and that they may have several lines.
        rows += [["a\nb", f"c{mark}d"], [f"e{mark}\nf", "g"]]
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=mark, quoting=style).writerows([["input", "output"], *rows])  # type: ignore[arg-type]
        try:
            parsed = read(out.getvalue())
        except DataError:  # refusing is right, another row is not
            continue
        assert [list(row) for row in parsed] == rows


@pytest.mark.parametrize("name", ["m.csv", "m.tsv"])
def test_marks_anywhere_cost_no_row(name: str) -> None:
    """Cells without delimiters and line ends, written as they are: the rows come out, or the file is refused."""
    rng = random.Random(1)
    mark = "\t" if name == "m.tsv" else ","
    refused = 0
    for _ in range(1000):
        cells = [
            ["".join(rng.choices(["a", "b ", '"', '""', "c"], [4, 2, 1, 0.3, 4], k=rng.randint(1, 6))) for _ in "xy"]
            for _ in range(8)
        ]
        text = f"input{mark}output\n" + "".join(mark.join(row) + "\n" for row in cells)
        try:
            parsed = read(text, name)
        except DataError:
            refused += 1
            continue
        assert len(parsed) == len(cells)
        # A mark inside a cell that none encloses: whoever wrote that means text.
        if mark == "\t" and any('"' in cell.strip('"') or cell.count('"') == 1 for row in cells for cell in row):
            assert [list(row) for row in parsed] == cells
    assert (refused == 0) == (mark == "\t")
    assert refused < 500


SHAPES = {
    "Excel's first line": ('\ufeffsep=;\r\ninput;output\r\nuno; "dos"\r\ntres;cuatro\r\n', [("uno", "dos"), ("tres", "cuatro")]),
    "Excel's first line, enclosed": ('"sep=,"\ninput,output\na,b\n', [("a", "b")]),
    "an empty cell too many": ("input,output\na b c,d e f,\ng h,i j,\n", [("a b c", "d e f"), ("g h", "i j")]),
    "several empty cells too many": ("input,output\na,b,,,\n", [("a", "b")]),
    "empty names behind the header": ("input,output,,\na,b,,\nc,d,,\n", [("a", "b"), ("c", "d")]),
    "line ends of old Macs": ("input,output\ra,b\rc,d\r", [("a", "b"), ("c", "d")]),
    "mixed line ends": ("input,output\r\na,b\nc,d\re,f", [("a", "b"), ("c", "d"), ("e", "f")]),
    "doubled line ends": ("input,output\r\r\na,b\r\r\n", [("a", "b")]),
    "empty first lines": ("\n\r\n\ninput,output\na,b\n", [("a", "b")]),
    "first lines of empty cells": (",,\n,,\ninput,output\na,b\n", [("a", "b")]),
    "a title above the header": ("Report of May,\n,\ninput,output\na,b\n", [("a", "b")]),
    "two files": ("input,output\na,b\ninput,output\nc,d\n", [("a", "b"), ("c", "d")]),
    "two files with marks": ("\ufeffinput,output\r\na,b\r\n\ufeffinput,output\r\nc,d\r\n", [("a", "b"), ("c", "d")]),
    "two files without a line end": ("\ufeffinput,output\na,b\ufeffinput,output\nc,d\n", [("a", "b"), ("c", "d")]),
    "two files in another order": ("input,output\na,b\noutput,input\nd,c\n", [("a", "b"), ("c", "d")]),
    "the end mark of DOS": ("input,output\na,b\n\x1a", [("a", "b")]),
    "a header of enclosed names": ('"input","output"\n"a","b"\n', [("a", "b")]),
    "blanks around names": (" input , output \na,b\n", [("a", "b")]),
    "an index without a name": (",input,output\n0,a,b\n1,c,d\n", [("a", "b"), ("c", "d")]),
    "two files with an index": (",input,output\n0,a,b\n,input,output\n0,c,d\n", [("a", "b"), ("c", "d")]),
    "rows that end early": ("input,output\na\n", [("a", "")]),
}


@pytest.mark.parametrize("case", SHAPES)
def test_habits_of_spreadsheets_make_no_difference(case: str) -> None:
    text, rows = SHAPES[case]
    assert read(text) == rows


def test_columns_without_a_name_are_called_by_their_places() -> None:
    parsed = delimited_table(",0,\nuno,dos,\n,tres,\n", Path("m.csv"), [], None, "auto", lambda _: None)
    assert parsed.columns == ("column 1", "0", "column 3")
    assert [dict(row) for _, row in parsed.rows] == [
        {"column 1": "uno", "0": "dos", "column 3": ""},
        {"column 1": "", "0": "tres", "column 3": ""},
    ]


def test_what_was_left_out_is_said() -> None:
    notes: list[str] = []
    read("May,\ninput,output\na,b\ninput,output\n", notes=notes)
    assert notes == [
        "the header of m.csv stands in line 2; what stands above it was left out",
        "the header of m.csv stands again in line 4 and was left out there",
    ]


def test_rows_have_the_numbers_of_their_lines() -> None:
    parsed = table('sep=,\r\n\r\ninput,output\r\n"a\r\nb",c\r\n\r\nd,e\r\n')
    assert [where for where, _ in parsed.rows] == ["m.csv, line 4", "m.csv, line 7"]
    with pytest.raises(DataError, match="the row has 3 cells, the header 2") as caught:
        read('input,output\n"a\nb",c\nd,e,f\n')
    assert caught.value.where == "m.csv, line 4"


@pytest.mark.parametrize(
    ("given", "mark"), [("tab", "\t"), ("\\t", "\t"), ("\t", "\t"), ("pipe", "|"), ("^", "^"), ("space", " ")]
)
def test_a_delimiter_can_be_named(given: str, mark: str) -> None:
    assert the_delimiter(given) == mark
    assert read(f"input{mark}output\na{mark}b\n", delimiter=mark) == [("a", "b")]


@pytest.mark.parametrize("given", ["", "::", '"', "\n"])
def test_what_is_no_delimiter_is_refused(given: str) -> None:
    with pytest.raises(UserError, match="is not a delimiter"):
        the_delimiter(given)


def test_a_tsv_with_other_delimiters_is_read_by_its_header() -> None:
    notes: list[str] = []
    assert read("input;output\na;b\n", "m.tsv", notes) == [("a", "b")]
    assert notes == ["the columns of m.tsv are parted by semicolons"]


ROWS = [{"input": "a", "output": 1.10}, {"input": "b", "output": ["c"]}]
WRITTEN = '[{"input": "a", "output": 1.10}, {"input": "b", "output": ["c"]}]'


@pytest.mark.parametrize(
    "text",
    [
        WRITTEN,
        WRITTEN.replace("}, {", "},\n {"),
        '{"input": "a", "output": 1.10}\n{"input": "b", "output": ["c"]}\n',
        '{"version": 1, "data": ' + WRITTEN + "}",
        '{"input": ["a", "b"], "output": [1.10, ["c"]]}',
        '{"input": {"0": "a", "1": "b"}, "output": {"0": 1.10, "1": ["c"]}}',
        json.dumps(ROWS, indent=2).replace("1.1", "1.10"),
        "\n".join(json.dumps(row, indent=2) for row in ROWS).replace("1.1", "1.10"),
    ],
)
def test_json_rows_in_every_form(text: str) -> None:
    parsed = json_table(text, Path("m.json"), lambda _: None)
    assert parsed.columns == ("input", "output")
    assert [row for _, row in parsed.rows] == [{"input": "a", "output": "1.10"}, {"input": "b", "output": ["c"]}]


def test_a_task_file_is_no_table() -> None:
    with pytest.raises(DataError, match="is a task file"):
        json_table('{"Definition": ["d"], "Instances": [{"input": "a"}]}', Path("m.json"), lambda _: None)
