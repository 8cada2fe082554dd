from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.samples import niv2
from xeric.data.importing import ImportOptions, import_task, task_to_json, write_task
from xeric.data.tasks import Instance, Task, load_task, parse_task
from xeric.errors import DataError, RunError, UserError


def table(source: Path | str, notes: list[str] | None = None, **changes: Any) -> Task:
    options = ImportOptions.model_validate(
        {
            "name": "mails",
            "definition": "Answer the mail.",
            "language": "Spanish",
            "input_column": "question",
            "output_column": "answer",
            **changes,
        }
    )
    return import_task(source, options, note=(notes if notes is not None else []).append)


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv(tmp_path: Path) -> None:
    path = put(tmp_path, "m.csv", 'id,question,answer,who\r\n7,"¿Qué, ""hoy""?\nSí",Mañana,ana\r\n8,b,c,\r\n')
    notes: list[str] = []
    task = table(path, notes, group_column="who", id_column="id", license="CC0-1.0")
    assert task.instances == (
        Instance("7", '¿Qué, "hoy"?\nSí', ("Mañana",), "ana"),
        Instance("8", "b", ("c",)),
    )
    assert (task.name, task.definition, task.language, task.input_languages) == (
        "mails",
        "Answer the mail.",
        "Spanish",
        ("Spanish",),
    )
    assert (task.sources, task.licenses, notes) == (("m.csv",), ("CC0-1.0",), [])


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolon"), ("\t", "tab"), ("|", "bar")])
def test_the_delimiter_is_found_and_said(tmp_path: Path, mark: str, word: str) -> None:
    rows = [["question", "answer, if any", "answer"], ["a, b, c", "d, e", "1,5"]]
    path = put(tmp_path, "m.csv", "\n".join(mark.join(row) for row in rows))
    notes: list[str] = []
    assert table(path, notes).instances == (Instance("mails-1", "a, b, c", ("1,5",)),)
    assert notes == [f"the columns of m.csv are parted by {word}s"]


def test_quotes_inside_tab_separated_cells_are_text(tmp_path: Path) -> None:
    path = put(tmp_path, "m.tsv", 'question\tanswer\n"No" he said\t"Yes\nx\ty "z"\n')
    notes: list[str] = []
    assert [(i.input, i.outputs[0]) for i in table(path, notes).instances] == [('"No" he said', '"Yes'), ("x", 'y "z"')]
    assert "quotation marks in m.tsv" in notes[0]


def test_jsonl_keeps_lists_as_references(tmp_path: Path) -> None:
    rows = [{"question": "a", "answer": ["b", "c"]}, {"question": 2, "answer": 1.5, "x": None}]
    task = table(put(tmp_path, "m.jsonl", "\n\n".join(map(json.dumps, rows))))
    assert [(i.input, i.outputs) for i in task.instances] == [("a", ("b", "c")), ("2", ("1.5",))]


def test_empty_rows_are_counted_and_half_empty_ones_left_to_cleaning(tmp_path: Path) -> None:
    notes: list[str] = []
    task = table(put(tmp_path, "m.csv", "question,answer\na,b\n,\n\n , \nc\n,d\n"), notes)
    assert [(i.id, i.input, i.outputs) for i in task.instances] == [
        ("mails-1", "a", ("b",)),
        ("mails-4", "c", ("",)),
        ("mails-5", "", ("d",)),
    ]
    assert notes == ["2 of 5 rows have neither input nor output and were left out"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_the_encoding_is_found_and_said_where_it_is_a_guess(tmp_path: Path, encoding: str) -> None:
    text = (
        "question,answer\n"
        + "¿Cuándo llegará mi pedido? El año pasado tardó más.,Llegará mañana por la mañana señora Muñoz\n" * 8
    )
    notes: list[str] = []
    task = table(put(tmp_path, "m.csv", text.encode(encoding)), notes)
    assert task.instances[0].outputs == ("Llegará mañana por la mañana señora Muñoz",)
    assert bool(notes) == (encoding in {"cp1252", "latin-1"})
    if notes:
        note = "m.csv is not UTF-8 and was read as cp1252, with words such as Cuándo, año, tardó; if that looks wrong, "
        assert notes == [note + "give --encoding"]


def test_an_encoding_given_is_used_or_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "m.csv", "question,answer\nкогда?,завтра\n".encode("cp1251"))
    assert table(path, encoding="cp1251", language="Russian").instances[0].input == "когда?"
    with pytest.raises(DataError, match="is not utf-8 text") as caught:
        table(path, encoding="utf-8")
    assert caught.value.where == f"{path}, line 2"
    with pytest.raises(UserError, match="there is no encoding 'klingon'"):
        table(path, encoding="klingon")


def test_an_unknown_language_is_said(tmp_path: Path) -> None:
    notes: list[str] = []
    assert table(put(tmp_path, "m.csv", "question,answer\na,b\n"), notes, language="Nowherish").language == "Nowherish"
    assert "'Nowherish' is unknown" in notes[0]
    assert table(tmp_path / "m.csv", language="es").language == "Spanish"


REFUSED = {
    "missing column": ("question,reply\na,b\n", "there is no column 'answer'", "the columns are 'question', 'reply'"),
    "column twice": ("question,answer,answer\na,b,c\n", "there are two columns 'answer'", "rename"),
    "too many cells": ("question,answer\na,b\nc,d,e\n", "the row has 3 cells, the header 2", "quotation marks"),
    "open quote": ('question,answer\n"a, b","c\nd,e\n', "a quotation mark never closes", "--quotes text"),
    "text behind a quote": ('question,answer\n"a, b","c" d\n', "text follows a closing quotation mark", "--quotes text"),
    "empty": ("", "holds no rows", ""),
    "header only": ("question,answer\n ,\n", "holds no rows with an input or an output", ""),
    "NUL": ("question,answer\na\0,b\n", "a NUL character", ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_csv_is_refused_with_a_hint(tmp_path: Path, case: str) -> None:
    content, what, hint = REFUSED[case]
    with pytest.raises(DataError, match=what) as caught:
        table(put(tmp_path, "m.csv", content))
    assert hint in (caught.value.hint or "")


def test_the_line_of_a_bad_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        table(put(tmp_path, "m.csv", 'question,answer\n"a\nb",c\nd,e,f\n'))
    assert caught.value.where == f"{tmp_path / 'm.csv'}, line 4"


BAD_LINES = {
    "no JSON": ('{"question": ', "not valid JSON"),
    "a list": ("[1]", "expected one JSON object per line"),
    "nested": ("[" * 100_000, "not valid JSON"),
    "an object": ('{"question": {"a": 1}, "answer": "b"}', "expected text, found an object"),
    "true": ('{"question": "a", "answer": true}', "expected text, found true or false"),
    "surrogate": ('{"question": "a", "answer": "\\ud800"}', "half of a surrogate pair"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_json_lines_are_refused(tmp_path: Path, case: str) -> None:
    line, what = BAD_LINES[case]
    with pytest.raises(DataError, match=what):
        table(put(tmp_path, "m.jsonl", '{"question": "a", "answer": "b"}\n' + line))


@pytest.mark.parametrize("source", ["missing.csv", "missing.jsonl", "x.json", "a b", "a\0b", "a" * 5000 + ".csv"])
def test_a_source_that_is_not_there_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError):
        table(tmp_path / source)


@pytest.mark.parametrize("source", ["missing.xlsx", "tables/missing.parquet", "missing.zip"])
def test_a_mistyped_file_is_not_looked_for_among_datasets(source: str) -> None:
    with pytest.raises(DataError, match="there is no such file") as caught:
        table(source)
    assert "check the path" in str(caught.value.hint)


def test_a_column_whose_name_is_empty_is_read(tmp_path: Path) -> None:
    rows = [{"": "una pregunta", "0": "una respuesta"}]
    task = table(put(tmp_path, "m.jsonl", json.dumps(rows[0])), input_column="", output_column="0")
    assert [instance.input for instance in task.instances] == ["una pregunta"]


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a table that can be imported"):
        table(put(tmp_path, "m.xlsx", b"PK"))


class Rows(list[dict[str, Any]]):
    column_names = ["question", "answer"]


def fake_datasets(rows: Rows) -> SimpleNamespace:
    asked: list[Any] = []

    def load(*args: Any, **options: Any) -> Any:
        asked.append((args, options))
        if args[0] == "owner/absent":
            raise FileNotFoundError("Dataset 'owner/absent' doesn't exist\nmore")
        return rows if options else {"train": rows, "test": Rows()}

    class DatasetsError(Exception):
        pass

    return SimpleNamespace(
        load_dataset=load, load_from_disk=load, exceptions=SimpleNamespace(DatasetsError=DatasetsError), asked=asked
    )


def test_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake_datasets(Rows([{"question": "a", "answer": ["b"]}, {"question": None, "answer": None}]))
    monkeypatch.setitem(sys.modules, "datasets", module)
    notes: list[str] = []
    task = table("owner/mails", notes, revision="abc", subset="es")
    assert (task.instances, task.sources) == ((Instance("mails-1", "a", ("b",)),), ("owner/mails",))
    assert notes == ["1 of 2 rows have neither input nor output and were left out"]
    assert module.asked == [(("owner/mails", "es"), {"split": "train", "revision": "abc"})]
    put(tmp_path, "dataset_dict.json", "{}")
    assert table(tmp_path).instances == task.instances
    with pytest.raises(UserError, match="there is no split 'dev'") as caught:
        table(tmp_path, split="dev")
    assert caught.value.hint == "give --split train or test"
    with pytest.raises(RunError, match=r"Dataset 'owner/absent' doesn't exist$"):
        table("owner/absent")


def test_class_labels_come_out_as_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    class Labelled(Rows):
        label = SimpleNamespace(names=["bad", "good"], int2str=lambda value: ["bad", "good"][value])
        features = {"question": SimpleNamespace(dtype="string"), "answer": label, "who": SimpleNamespace(feature=label)}
        column_names = ["question", "answer", "who"]

    rows = Labelled(
        [
            {"question": "a", "answer": 1, "who": [0, 1]},
            {"question": "b", "answer": 0, "who": []},
            {"question": "c", "answer": -1},
        ]
    )
    monkeypatch.setitem(sys.modules, "datasets", fake_datasets(rows))
    assert [i.outputs for i in table("owner/mails").instances] == [("good",), ("bad",), ("",)]
    assert [i.outputs for i in table("owner/mails", output_column="who").instances] == [("bad", "good"), ("",), ("",)]


@pytest.mark.parametrize("suffix", ["CSV", "Tsv", "JSONL", "JSON"])
def test_the_ending_of_a_file_may_be_in_capitals(tmp_path: Path, suffix: str) -> None:
    mark = "\t" if suffix == "Tsv" else ","
    text = '{"question": "a", "answer": "b"}' if suffix.startswith("J") else f"question{mark}answer\na{mark}b"
    assert table(put(tmp_path, f"m.{suffix}", text)).instances == (Instance("mails-1", "a", ("b",)),)


def test_columns_and_files_are_found_in_both_unicode_forms(tmp_path: Path) -> None:
    nfd, nfc = "re\u0301ponse", "r\u00e9ponse"
    for name, text in (
        (f"{nfd}.csv", f"question,{nfd},groupe\na,b,c\n"),
        (f"{nfd}.json", json.dumps([{"question": "a", nfd: "b", "groupe": "c"}])),
    ):
        put(tmp_path, name, text)
        for column in (nfd, nfc):
            path = tmp_path / name.replace(nfd, nfc)
            assert table(path, output_column=column, group_column="groupe").instances == (Instance("mails-1", "a", ("b",), "c"),)


def test_ids_that_stand_twice_are_told_apart_and_said(tmp_path: Path) -> None:
    notes: list[str] = []
    task = table(put(tmp_path, "m.csv", "nr,question,answer\n1,a,b\n1,c,d\n,e,f\n"), notes, id_column="nr")
    assert [i.id for i in task.instances] == ["1", "1~2", "mails-3"]
    assert notes == ["1 instance has an id that stands before it ('1'); a number was put behind"]


def test_half_a_surrogate_pair_is_refused_by_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="half of a surrogate pair") as caught:
        table(put(tmp_path, "m.jsonl", '{"question": "a", "answer": "b"}\n{"question": "a \\ud83d", "answer": "b"}'))
    assert caught.value.where == f"{tmp_path / 'm.jsonl'}, line 2, column 'question'"


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="needs the extra 'hub'") as caught:
        table("owner/mails")
    assert "xeric[hub]" in str(caught.value.hint)


def test_a_task_written_is_the_task_read(tmp_path: Path) -> None:
    task = parse_task(niv2(Definition=["Do it.", "Or this."]), name="made")
    write_task(task, tmp_path / "sub" / "made.json")
    again = load_task(tmp_path / "sub" / "made.json")
    assert task_to_json(again) == task_to_json(task)
    assert again.instances == task.instances
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["made.json"]
    with pytest.raises(UserError, match="is not a task name"):
        write_task(task, tmp_path / ".hidden.json")
    with pytest.raises(UserError, match="cannot be written"):
        write_task(task, tmp_path / "sub" / "made.json" / "x.json")


CELL = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5))
def test_any_text_survives_import_writing_and_reading(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    lines = "\n".join(json.dumps({"question": x, "answer": y}) for x, y in [*rows, ("end", "end")])
    task = table(put(folder, "m.jsonl", lines))
    assert [(i.input, i.outputs[0]) for i in task.instances] == [r for r in [*rows, ("end", "end")] if "".join(r).strip()]
    write_task(task, folder / "mails.json")
    assert load_task(folder / "mails.json").instances == task.instances
