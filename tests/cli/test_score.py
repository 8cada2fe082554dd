"""``xeric score``: what is said below the table, and what a script reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Xeric


@pytest.fixture
def short(tmp_path: Path) -> Path:
    path = tmp_path / "short.jsonl"
    texts = ["the dog", "a quiet river", "boats", "red rain"]
    path.write_text("".join(json.dumps({"prediction": text, "references": [text]}) + "\n" for text in texts))
    return path


def test_a_score_that_says_nothing_is_marked_and_explained(xeric: Xeric, short: Path) -> None:
    code, printed, _ = xeric("score", short, "--language", "English")
    assert code == 0
    row = next(line for line in printed.splitlines() if " bleu " in line)
    assert "none" in row
    assert "0.0" not in row
    assert "bleu (task): no reference has the four words that BLEU counts, so that a right answer would score 0" in printed
    parsed = json.loads(xeric("score", short, "--language", "English", "--json")[1])
    assert list(parsed)[:2] == ["bleu", "chrf"]
    assert parsed["bleu"]["score"] is None
    assert "task" in parsed["bleu"]["notes"]
    assert parsed["chrf"]["score"] == 100
    code, printed, _ = xeric("score", short, "--against", short, "--language", "English", "--metric", "bleu")
    assert (code, "none" in printed) == (0, True)


def test_signatures_take_one_line_unless_asked_for(xeric: Xeric, short: Path) -> None:
    printed = xeric("score", short, "--language", "English")[1]
    below = printed[printed.rindex("\u2518") + 1 :].strip().splitlines()
    assert [line.split(":")[0] for line in below] == ["bleu (task)", "signatures"]
    assert "norm:nfc|invisible:no" in below[-1]
    assert "bs:1000|seed:0" in below[-1]
    assert "tok:" not in below[-1], "metrics differ in it"
    whole = xeric("score", short, "--language", "English", "--signatures")[1]
    values = json.loads(xeric("score", short, "--language", "English", "--json")[1])
    for metric, row in values.items():
        assert (f"{metric}: {row.get('signature')}" in whole) == ("signature" in row)
    single = xeric("score", short, "--language", "English", "--metric", "chrf")[1]
    assert values["chrf"]["signature"].removeprefix("chrf|") in single


def test_numbers_are_scored_as_they_are_written(xeric: Xeric, tmp_path: Path) -> None:
    path = tmp_path / "numbers.jsonl"
    path.write_text('{"prediction": 3.10, "references": ["3.10"]}\n{"prediction": "42", "references": [42, 7]}\n')
    parsed = json.loads(xeric("score", path, "--language", "en", "--metric", "chrf", "--json")[1])
    assert parsed["chrf"]["score"] == 100


def test_a_typing_error_in_the_language_is_refused_and_an_unknown_one_in_the_file_is_scored(xeric: Xeric, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prediction": "a b c d", "references": ["a b c d"], "language": "Nowherish"}\n')
    code, _, notes = xeric("score", path, "--language", "Spansh")
    assert code == 2
    assert "Spanish" in notes
    code, printed, _ = xeric("score", path)
    assert code == 0
    assert "wrong_script_rate (task): no script is known for Nowherish" in printed
    for name in ("grn", "hin_Deva", "en-US", "pt-BR", "Guarani"):
        assert xeric("score", path, "--language", name, "--metric", "meteor")[0] == 0
