"""A stranger's file as a task: every option is applied or refused, and no row is lost without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from xeric.adapt.source import SourceOptions, read_source
from xeric.data.tasks import Task
from xeric.errors import DataError, UserError

POLISH = [f"Jaka jest stolica województwa {number} w łańcuchu żółtych gór i dlaczego właśnie ona?" for number in range(40)]
GREEK = [f"Ποια είναι η πρωτεύουσα του νομού {number} και γιατί ακριβώς αυτή;" for number in range(40)]


def read(source: Path, notes: list[str] | None = None, **options: Any) -> Task:
    return read_source(str(source), SourceOptions(**options), (notes if notes is not None else []).append)


def put(path: Path, header: str, rows: list[str], encoding: str = "utf-8") -> Path:
    lines = [header, *(f"{row},Odpowiedź: {row}" if encoding == "cp1250" else f"{row},{row}" for row in rows)]
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


def a_task_file(folder: Path, **more: Any) -> Path:
    path = tiny.write_task(folder, "mine", instances=30)
    data = json.loads(path.read_text(encoding="utf-8"))
    for number, instance in enumerate(data["Instances"]):
        instance["customer"] = f"c{number % 7}"
    path.write_text(json.dumps({**data, **more}, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("options", [{}, {"input_column": "treść"}, {"language": "pl"}, {"input_language": "Polish"}])
def test_a_file_in_another_code_page_has_the_names_and_texts_that_its_language_gives(
    options: dict[str, Any], tmp_path: Path
) -> None:
    notes: list[str] = []
    task = read(put(tmp_path / "pl.csv", "treść,odpowiedź", POLISH, "cp1250"), notes, **options)
    assert [instance.input for instance in task.instances] == POLISH
    assert task.definition == "Given the treść, write the odpowiedź."
    assert task.language == "Polish"
    assert len([note for note in notes if "was read as cp1250" in note]) == 1
    assert len(notes) == len(set(notes))


def test_other_scripts_than_latin_are_told_by_their_texts_too(tmp_path: Path) -> None:
    task = read(put(tmp_path / "el.csv", "ερώτηση,απάντηση", GREEK, "cp1253"))
    assert (task.language, task.instances[7].input) == ("Greek", GREEK[7])


def test_the_encoding_that_is_given_is_that_of_the_task(tmp_path: Path) -> None:
    task = read(put(tmp_path / "pl.csv", "treść,odpowiedź", POLISH, "cp1250"), encoding="cp1252")
    assert task.instances[0].input == POLISH[0].encode("cp1250").decode("cp1252")


@pytest.mark.parametrize("name", ["../../../precious", "a/b", "", "mine.json", ".hidden"])
def test_a_name_that_is_a_path_is_refused_for_tables_and_tasks(name: str, tmp_path: Path) -> None:
    for source in (a_task_file(tmp_path), put(tmp_path / "t.csv", "question,answer", POLISH)):
        with pytest.raises(UserError, match="not a task name") as caught:
            read(source, name=name)
        assert caught.value.where == "--name"
        assert "--" not in str(caught.value.hint)


def test_what_is_said_of_a_task_file_is_applied(tmp_path: Path) -> None:
    path = a_task_file(tmp_path)
    task = read(path, group_column="customer", input_language="fr", language="es", license="CC0-1.0", name="other")
    assert {instance.group for instance in task.instances} == {f"c{number}" for number in range(7)}
    assert (task.input_languages, task.output_languages, task.licenses, task.name) == (
        ("French",),
        ("Spanish",),
        ("CC0-1.0",),
        "other",
    )
    with pytest.raises(UserError, match="no instance has the key 'nosuch'"):
        read(path, group_column="nosuch")
    notes: list[str] = []
    read(path, notes, input_language="Spnish")
    assert "'Spnish' is unknown" in notes[0]


def test_a_task_file_without_the_groups_that_it_names(tmp_path: Path) -> None:
    path = a_task_file(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace('"customer"', '"group"'), encoding="utf-8")
    assert len({instance.group for instance in read(path).instances}) == 7
    assert {instance.group for instance in read(path, group_column="none").instances} == {None}


@pytest.mark.parametrize("option", [{"encoding": "cp1252"}, {"delimiter": ";"}, {"quotes": "text"}, {"split": "test"}])
def test_options_of_tables_are_refused_for_a_task_file(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a task") as caught:
        read(a_task_file(tmp_path), **option)
    assert f"--{next(iter(option))}" in str(caught.value.hint)


def test_json_is_read_as_other_tables_are(tmp_path: Path) -> None:
    rows = [{"question": f"¿Dónde está el número {n}?", "answer": f"Allí está, señor, el número {n}."} for n in range(40)]
    (tmp_path / "lines.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "latin.json").write_bytes(json.dumps(rows, ensure_ascii=False).encode("cp1252"))
    for name in ("lines.json", "latin.json"):
        assert [instance.input for instance in read(tmp_path / name).instances] == [row["question"] for row in rows]
    (tmp_path / "broken.json").write_text('{"question": ')
    with pytest.raises(DataError, match="not valid JSON"):
        read(tmp_path / "broken.json")


def test_a_task_file_that_is_not_unicode_is_refused_as_what_it_is(tmp_path: Path) -> None:
    path = a_task_file(tmp_path, Definition=["Resúmelo."])
    path.write_bytes(path.read_text(encoding="utf-8").encode("cp1252", "replace"))
    with pytest.raises(DataError, match="not UTF-8"):
        read(path)


def test_a_column_without_a_name_is_a_column(tmp_path: Path) -> None:
    task = read(put(tmp_path / "series.csv", ",0", POLISH))
    assert [instance.input for instance in task.instances] == POLISH
    assert task.definition == "Given the column 1, write the 0."
    assert [i.input for i in read(tmp_path / "series.csv", input_column="column 1", output_column="0").instances] == POLISH


def test_a_column_that_stands_twice_is_not_guessed(tmp_path: Path) -> None:
    lines = ["question,answer,answer", *(f"{text},{text} a,{text} b" for text in POLISH)]
    (tmp_path / "twice.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match="two columns 'answer'"):
        read(tmp_path / "twice.csv")


def test_the_header_is_found_by_the_group_as_well(tmp_path: Path) -> None:
    lines = ["Export of May,,", "question,answer,client", *(f"{text},{text} a,c{n % 9}" for n, text in enumerate(POLISH))]
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    assert {instance.group for instance in read(tmp_path / "t.csv", group_column="client").instances} == {
        f"c{number}" for number in range(9)
    }


def test_a_table_without_a_header_loses_no_row(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the first line looks like a row"):
        read(put(tmp_path / "t.csv", f"{POLISH[0]},{POLISH[0]}", POLISH[1:]))
