"""What a run leaves behind: whole or not at all, readable again, and refused by file and line where it is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xeric import files
from xeric.errors import DataError
from xeric.json_io import iter_jsonl, read_json, write_json, write_jsonl
from xeric.record_io import read_predictions, read_record
from xeric.records import RECORD_FILE, Prediction, Record, Score, TaskResult
from xeric.yaml_io import load_yaml

ROW = {"prediction": "a cat", "references": ["the cat", "a cat"], "language": "English"}

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(content: str | bytes) -> Path:
        path = tmp_path / "predictions.jsonl"
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return path

    return put


def row(**changes: Any) -> str:
    return json.dumps({key: value for key, value in {**ROW, **changes}.items() if value is not ...}, ensure_ascii=False)


def record(**changes: Any) -> Record:
    score = Score(score=31.25, low=30.1, high=None, signature="bleu|tok:13a")
    task = TaskResult(scores={"bleu": score}, data={"read": 80, "dropped": {"empty": 2}}, fingerprint="ab")
    settings: dict[str, Any] = {
        "run_id": "0123456789abcdef",
        "status": "ok",
        "method": "lora",
        "base": {"name": "smollm2-135m", "sha256": {"weights": "cd"}},
        "planned_steps": 10,
        "done_steps": 10,
        "best_step": 0,
        "scores": {"bleu": score},
        "tasks": {"कविता": task},
        "seeds": {"split": 0, "init": -1},
        "fingerprint": "ef",
        "versions": {"python": "3.11"},
        "cost": {"seconds": {"train": 1.5}, "device": "cpu"},
    }
    return Record(**{**settings, **changes})


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_record_is_read_back_as_it_was(tmp_path: Path) -> None:
    for written in (
        record(),
        record(status="failed", error="the disk is full", scores={}),
        record(status="diverged", best_step=None),
    ):
        write_json(tmp_path / RECORD_FILE, written)
        assert read_record(tmp_path) == written


def test_a_folder_without_a_whole_record_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_record(tmp_path / "nowhere") is None
    (tmp_path / "log.jsonl").write_text("{}\n", encoding="utf-8")
    assert read_record(tmp_path) is None

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_json(tmp_path / RECORD_FILE, record())
    assert read_record(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "not valid JSON"),
        (b'{"run_id": "x"', "not valid JSON"),
        (b"[]", "expected an object"),
        (b"{}", "'run_id' is missing"),
        (record(status="ok").model_dump_json().replace('"ok"', '"done"').encode(), "field 'status': expected 'ok', 'failed'"),
        (record().model_dump_json().replace('"31.25"', "").replace("31.25", '"31.25"').encode(), "field 'scores.bleu.score'"),
        (record().model_dump_json().replace('"error"', '"eror"').encode(), "field 'eror'"),
    ],
)
def test_a_record_that_is_none_of_ours_is_refused_by_file(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / RECORD_FILE).write_bytes(content)
    with pytest.raises(DataError, match=what) as caught:
        read_record(tmp_path)
    assert caught.value.where == str(tmp_path / RECORD_FILE)
    assert "not a run record" in caught.value.what


# --- predictions ------------------------------------------------------------------------------------------------------


def test_predictions_are_read_back_as_they_were(tmp_path: Path) -> None:
    rows = [
        Prediction(id="1", task="t", language="Hindi", input="", prediction="", references=("नदी", "")),
        Prediction(id="2", task="t", language="Hindi", input="a\u2028b\x85c\n", prediction="\t\\n\"'", references=("x",)),
        Prediction(id="1", task="u", language="Hindi", input="", prediction="👩\u200d👩\x00", references=("\ufeffx",)),
        Prediction(id="2", task="u", language="Hindi", input="", prediction="y", references=("y",), group="a thread"),
    ]
    write_jsonl(tmp_path / "p.jsonl", rows)
    assert read_predictions(tmp_path / "p.jsonl") == rows
    lines = (tmp_path / "p.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    assert ["group" in json.loads(line) for line in lines] == [False, False, False, True]


def test_files_of_other_programs_are_read_as_far_as_they_are_clear(write: Write) -> None:
    lines = [
        row(),
        row(references="the cat"),
        row(references=..., reference="the cat"),
        row(references=None, reference=["x", "y"], id=None, task=None, input=None),
        row(id=7, extra={"score": 1}),
        row(prediction=""),
    ]
    predictions = read_predictions(write("\n".join(lines)))
    assert [p.references for p in predictions] == [
        ("the cat", "a cat"),
        ("the cat",),
        ("the cat",),
        ("x", "y"),
        *[("the cat", "a cat")] * 2,
    ]
    assert [p.id for p in predictions] == ["1", "2", "3", "4", "7", "6"]
    assert {p.task for p in predictions} == {"task"}
    assert {p.input for p in predictions} == {""}
    assert predictions[-1].prediction == ""


@pytest.mark.parametrize("content", ["\ufeff{0}\n{0}\n", "{0}\r\n{0}\r\n", "\ufeff{0}\r\n{0}", "{0}\n\n{0}\n  \n", "{0}\r{0}\r"])
def test_marks_and_line_ends_of_other_systems_do_not_matter(write: Write, content: str) -> None:
    predictions = read_predictions(write(content.format(row(prediction="a\r\nb"))))
    assert len(predictions) == 2
    assert {p.prediction for p in predictions} == {"a\r\nb"}


def test_the_language_given_takes_the_place_of_the_files(write: Write) -> None:
    path = write(row() + "\n" + row(language=...))
    assert [p.language for p in read_predictions(path, language="Spanish")] == ["Spanish", "Spanish"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{oops}", "not valid JSON: Expecting property name"),
        (row()[:-1], "not valid JSON"),
        (row() + row(), "not valid JSON: Extra data"),
        ("[1]", "expected one JSON object per line"),
        ("null", "expected one JSON object per line"),
        ('{"prediction": "a", "prediction": "b"}', "the key 'prediction' stands twice in one object"),
        ("[" * 100_000, "not valid JSON: nested too deeply"),
        (row(language=...), "the row names no language"),
        (row(language=None), "the row names no language"),
        (row(language=""), "the row names no language"),
        (row(language=True), "field 'language': expected text"),
        (row(language=3), "field 'language': expected a name or code"),
        (row(prediction=...), "the field 'prediction' is missing"),
        (row(prediction=None), "the field 'prediction' is missing"),
        (row(prediction=False), "field 'prediction': expected text"),
        (row(references=...), "the field 'references' is missing"),
        (row(references=[]), "field 'references'.*expected at least 1 entry"),
        (row(references=["a", True]), r"field 'references\.1': expected text"),
        (row(references={"a": "b"}), "field 'references': expected a list"),
        (row(id=[1]), "field 'id': expected text"),
        (row(id=True), "field 'id': expected text"),
        (row(task=True), "field 'task': expected text"),
        (row(input=["x"]), "field 'input': expected text"),
        ('{"prediction": "\\ud800", "references": ["b"], "language": "English"}', r"half of a surrogate pair \('.ud800'\)"),
        (row(id="first"), "the id 'first' stands twice in task 'task'"),
    ],
)
def test_a_broken_row_is_refused_by_file_and_line(write: Write, line: str, what: str) -> None:
    path = write("\ufeff" + row(id="first") + "\r\n\r\n" + line + "\r\n")
    with pytest.raises(DataError, match=what) as caught:
        read_predictions(path)
    assert caught.value.where == f"{path}, line 3"


def test_an_id_may_stand_in_two_tasks_and_a_number_is_its_text(write: Write) -> None:
    assert len(read_predictions(write(row(id="1", task="a") + "\n" + row(id="1", task="b")))) == 2
    with pytest.raises(DataError, match="stands twice"):
        read_predictions(write(row(id="1") + "\n" + row(id=1)))


@pytest.mark.parametrize("number", ["3", "3.10", "-0", "1e5", "007", "9" * 5000])
def test_a_number_is_taken_as_the_text_that_it_is_written_as(write: Write, number: str) -> None:
    line = f'{{"id": 1, "prediction": {number}, "references": [{number}, "x"], "input": {number}, "language": "en"}}'
    if number == "007":
        with pytest.raises(DataError, match="not valid JSON"):
            read_predictions(write(line))
        return
    (row,) = read_predictions(write(line))
    assert (row.prediction, row.references, row.input) == (number, (number, "x"), number)
    assert read_predictions(write(line.replace(f'[{number}, "x"]', number)))[0].references == (number,)


@pytest.mark.parametrize("content", ["", "\n \r\n\n", "\ufeff"])
def test_a_file_without_predictions_is_refused(write: Write, content: str) -> None:
    path = write(content)
    with pytest.raises(DataError, match="holds no predictions") as caught:
        read_predictions(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("read", [read_json, lambda path: list(iter_jsonl(path)), read_predictions])
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, write: Write, read: Callable[[Path], Any]) -> None:
    for path, what in (
        (tmp_path / "nowhere.json", "No such file"),
        (tmp_path, "Is a directory"),
        (write(row(prediction="año").encode("latin-1")), "not UTF-8 text: byte 0xf1"),
    ):
        with pytest.raises(DataError, match=what) as caught:
            read(path)
        assert str(caught.value.where).removesuffix(", line 1") == str(path)


@pytest.mark.parametrize("name", ["a\0b.json", "\ud800.json"])
def test_a_path_that_no_file_can_have_is_refused_like_a_missing_one(tmp_path: Path, name: str) -> None:
    for read in (read_json, lambda path: list(iter_jsonl(path)), read_predictions, load_yaml):
        with pytest.raises(DataError, match="not a path") as caught:
            read(tmp_path / name)
        assert str(caught.value).isprintable()
    assert read_record(tmp_path / name) is None


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1e400", "1.10", "0"])
def test_numbers_in_rows_are_the_text_that_was_written(write: Write, number: str) -> None:
    path = write(f'{{"id": {number}, "prediction": {number}, "references": [{number}], "language": "en"}}')
    (row,) = read_predictions(path)
    assert (row.id, row.prediction, row.references) == (number, number, (number,))


def test_rows_may_stand_in_one_list_or_over_several_lines(write: Write) -> None:
    rows = [json.loads(row(id="e\u0301", task="re\u0301s")), json.loads(row(id="f"))]
    pretty = "\n".join(json.dumps(record, indent=2) for record in rows)
    for content in (json.dumps(rows), json.dumps(rows, indent=1).replace("\n", "\r\n"), pretty):
        assert [(p.id, p.task) for p in read_predictions(write(content))] == [("\u00e9", "r\u00e9s"), ("f", "task")]
    for content, line in (
        ("[\n{}\n,\n3]", 4),
        ("[\n{}\n{}]", 3),
        ("[{}]\n{}", 1),
        ("[\n{},\n{oops}\n]", 3),
        ("[\n{},\n]", 3),
        ("[{", 1),
    ):
        with pytest.raises(DataError) as caught:
            list(iter_jsonl(write(content)))
        assert caught.value.where == f"{write(content)}, line {line}", content
