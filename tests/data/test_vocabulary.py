"""The texts that a vocabulary is chosen by: everything that a run may read or learn to write, and no output that it tests."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from xeric.data.cleaning import clean
from xeric.data.splits import SplitOptions, split
from xeric.data.tasks import load_task
from xeric.data.vocabulary import read_vocabulary_texts
from xeric.errors import DataError


def write_task(folder: Path) -> Path:
    words = ["".join(random.Random(n).choices("abcdefghijklmnopqrstuvwxyz", k=6)) for n in range(320)]
    pairs = [(" ".join(words[n : n + 5]), " ".join(words[n + 5 : n + 8])) for n in range(0, 320, 8)]
    instances = [{"id": f"i{n}", "input": x, "output": [y]} for n, (x, y) in enumerate(pairs)]
    example = {"input": "shown question", "output": "shown answer", "explanation": ""}
    content = {"Definition": ["Answer."], "Output_language": ["English"], "Positive Examples": [example], "Instances": instances}
    path = folder / "answers.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("seed", [0, 3])
def test_outputs_that_are_tested_are_not_read_and_all_else_of_a_task_is(seed: int, tmp_path: Path) -> None:
    path = write_task(tmp_path)
    sides = split(clean(load_task(path)), SplitOptions(split_seed=seed))
    read = read_vocabulary_texts([path], split_seed=seed)
    together = "\n".join(read.segments)
    assert sides.test
    for instance in sides.held_out:
        assert instance.input in read.texts
        assert instance.outputs[0] not in together
    for instance in sides.pool:
        assert {instance.input, *instance.outputs} <= set(read.texts)
        assert f" {instance.outputs[0]}" in read.segments, "as a target stands in a row"
    assert {"Answer.", "shown question", "shown answer"} <= set(read.texts)
    assert "Input: shown question\nOutput: shown answer\n\n" in read.segments


def test_tables_rows_and_plain_text_are_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer\nwarum,darum\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "zeile", "tags": ["eins", "zwei"], "none": null}\n', encoding="utf-8")
    (tmp_path / "c.txt").write_text("Erster Absatz.\n\nZweiter Absatz.\n", encoding="utf-8")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/d.txt").write_text("Im Ordner.", encoding="utf-8")
    read = read_vocabulary_texts([tmp_path / name for name in ("a.csv", "b.jsonl", "c.txt", "texts")])
    assert {"warum", "darum", "zeile", "eins", "zwei", "Erster Absatz.", "Zweiter Absatz.", "Im Ordner."} <= set(read.texts)
    assert [name for name, _ in read.files] == ["a.csv", "b.jsonl", "c.txt", "d.txt"]


def test_a_task_is_found_by_its_name(tmp_path: Path) -> None:
    path = write_task(tmp_path)
    by_name, by_path = read_vocabulary_texts(["answers"], tasks_dirs=[tmp_path]), read_vocabulary_texts([path])
    assert by_name == by_path
    assert by_name.fingerprint == by_path.fingerprint


def test_what_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text(" \n", encoding="utf-8")
    with pytest.raises(DataError, match="no such file, folder or task"):
        read_vocabulary_texts([tmp_path / "nothing.csv"])
    with pytest.raises(DataError, match="no text"):
        read_vocabulary_texts([tmp_path / "blank.txt"])
