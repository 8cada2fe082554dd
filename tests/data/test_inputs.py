"""Inputs as they come: plain text is plain text, whatever it begins with, and rows are rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xeric.data.inputs import InputRow, LineReader, input_format, input_rows, read_inputs
from xeric.errors import DataError, UserError
from xeric.json_io import Number


def texts(path: Path, content: str | bytes, **options: str) -> tuple[list[str], list[str]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    notes: list[str] = []
    return [row.input for row in read_inputs(path, note=notes.append, **options)], notes  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    [
        "{name}, your order\n[1] a footnote\n",
        '[]\n{"input": unfinished\n',
        '{ "a": 1,\nsecond line\n',
        '"quoted"\n12\n',
        "null\ntrue\n",
        '[1, 2]\n{"input": "a row that is not the first line"}\n',
    ],
)
@pytest.mark.parametrize("name", ["inputs.txt", "inputs", "letter.md"])
def test_plain_text_is_never_refused_as_json(tmp_path: Path, name: str, content: str) -> None:
    assert texts(tmp_path / name, content) == (content.splitlines(), [])


@pytest.mark.parametrize(
    "content",
    [
        '{"input": "a", "id": 1.10}\n{"input": "b"}\n',
        '[{"input": "a", "id": 1.10}, {"input": "b"}]',
        '{\n "input": "a",\n "id": 1.10\n}\n{\n "input": "b"\n}\n',
        '\n\n{"input": "a", "id": 1.10}\n\n{"input": "b"}\n',
        '{"input": ["a", "b"], "id": [1.10, null]}',
        '{"Definition": "Do it.", "Instances": [{"id": 1.10, "input": "a", "output": "x"}, {"input": "b", "output": "y"}]}',
        '{"data": [{"input": "a", "id": 1.10}, {"input": "b"}]}',
    ],
)
def test_json_rows_are_told_by_their_content(tmp_path: Path, content: str) -> None:
    (tmp_path / "rows.json").write_text(content, encoding="utf-8")
    rows = read_inputs(tmp_path / "rows.json", note=lambda _: None)
    assert rows == [InputRow("a", "1.10", None, structured=True), InputRow("b", None, None, structured=True)]
    assert isinstance(rows[0].id, Number)
    if not content.startswith(('{"input": [', '{"Def', '{"data')):  # whose key says nothing where the name says nothing
        assert input_rows(content, Path("piped"), note=lambda _: None) == rows


def test_a_json_row_among_plain_text_says_how_to_take_lines_as_they_are(tmp_path: Path) -> None:
    content = '{"input": "a"}\nplain\n'
    with pytest.raises(DataError, match="is no JSON object, as the lines before it are") as caught:
        texts(tmp_path / "inputs.txt", content)
    assert caught.value.where == f"{tmp_path / 'inputs.txt'}, line 2"
    assert "--format lines" in str(caught.value.hint)
    assert texts(tmp_path / "inputs.txt", content, form="lines")[0] == ['{"input": "a"}', "plain"]
    with pytest.raises(DataError, match="the row has no text under 'input'") as caught:
        texts(tmp_path / "inputs.txt", '{"question": "a"}\n')
    assert "--column" in str(caught.value.hint)
    assert texts(tmp_path / "inputs.txt", '{"question": "a"}\n', column="question")[0] == ["a"]


def test_empty_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    assert texts(tmp_path / "a.txt", "\n  one \n\ntwo") == (
        ["  one ", "two"],
        [f"{tmp_path / 'a.txt'}: 2 empty lines were skipped"],
    )
    assert texts(tmp_path / "b.txt", "one\r\ntwo\r\n") == (["one", "two"], [])
    with pytest.raises(DataError, match="holds no inputs"):
        texts(tmp_path / "c.txt", "\n \n")


def test_other_encodings(tmp_path: Path) -> None:
    assert texts(tmp_path / "a.txt", "\ufeffaño\nनदी".encode("utf-16"))[0] == ["año", "नदी"]
    assert texts(tmp_path / "b.txt", "año\n".encode("cp1252"), encoding="cp1252")[0] == ["año"]
    with pytest.raises(DataError, match="not UTF-8 text: byte 0xf1"):
        texts(tmp_path / "b.txt", "a\u00f1o\n".encode("cp1252"))


def test_tables_by_their_column(tmp_path: Path) -> None:
    table = 'id;question;task\n07;What now?;mails\n8;"Two\nlines";\n'
    (tmp_path / "a.csv").write_text(table, encoding="utf-8")
    rows = read_inputs(tmp_path / "a.csv", column="question", note=lambda _: None)
    assert [(row.id, row.input, row.task) for row in rows] == [("07", "What now?", "mails"), ("8", "Two\nlines", None)]
    with pytest.raises(DataError, match="there is no column 'input'") as caught:
        read_inputs(tmp_path / "a.csv", note=lambda _: None)
    assert "'question'" in str(caught.value.hint)


def test_lines_are_read_one_by_one() -> None:
    given: list[str] = []

    def lines() -> Iterator[str]:
        for line in ("\n", '{"input": "a", "task": "words"}\n', '{"input": "b"}\n'):
            given.append(line)
            yield line

    notes: list[str] = []
    rows = LineReader("pipe").rows(lines(), note=notes.append)
    assert next(rows) == InputRow("a", None, "words", structured=True)
    assert len(given) == 2, "the next line is asked for when the next row is"
    assert [row.input for row in rows] == ["b"]
    assert notes == ["pipe: 1 empty line was skipped"]


def test_formats_that_there_are_not() -> None:
    with pytest.raises(UserError, match="unknown format 'xml'"):
        input_format("xml")
    with pytest.raises(UserError, match="a table is not read while it is being written"):
        LineReader("pipe", form="table")
