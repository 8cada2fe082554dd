"""Statistics beside predictions: they say what counting says, are never believed of other predictions, and stand in for texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.metrics.test_scoring import make
from xeric.errors import DataError
from xeric.json_io import write_jsonl
from xeric.metrics import METRICS, Measured, measure, score_measured, stored
from xeric.metrics.stored import measured, renewed, statistics_file, stored_metrics

OF_A = [row.model_copy(update={"group": f"thread {number // 3}"}) for number, row in enumerate(make("a", 12))]
ROWS = OF_A + make("b", 9, "hi", references=3)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    path = tmp_path / "predictions.jsonl"
    write_jsonl(path, ROWS)
    return path


@pytest.fixture
def no_counting(predictions: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Predictions whose statistics are written, where nothing may be counted any more."""
    renewed(predictions, METRICS.names())
    monkeypatch.setattr(stored, "measure", lambda *_: pytest.fail("texts were counted again"))
    return predictions


def test_scores_intervals_and_signatures_are_those_of_counting(no_counting: Path) -> None:
    expected = measure(ROWS)
    counted = measured(no_counting, METRICS.names())
    assert score_measured(counted) == score_measured(expected)
    assert counted.signatures() == expected.signatures()
    assert counted.rows == expected.rows
    assert counted.per_example("chrf") == expected.per_example("chrf")
    assert list(measured(no_counting, ["meteor", "bleu"]).metrics) == ["meteor", "bleu"]


def test_the_same_statistics_are_the_same_bytes(predictions: Path) -> None:
    counted = renewed(predictions, ["bleu", "chrf"])
    first = statistics_file(predictions).read_bytes()
    stored.write_statistics(predictions, measured(predictions, ["bleu", "chrf"]))
    assert statistics_file(predictions).read_bytes() == first
    assert score_measured(measured(predictions, ["bleu", "chrf"])) == score_measured(counted)


def test_statistics_of_other_predictions_are_renewed(predictions: Path) -> None:
    before = renewed(predictions, ["chrf"]).scores()
    better = [row.model_copy(update={"prediction": row.references[0]}) for row in ROWS]
    write_jsonl(predictions, better)
    assert measured(predictions, ["chrf"]).scores() == {"chrf": pytest.approx(100)}
    assert before["chrf"] < 90
    write_jsonl(predictions, ROWS)
    assert measured(predictions, ["chrf"]).scores() == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"x" * 99])
def test_a_torn_file_is_made_again(predictions: Path, content: bytes) -> None:
    expected = renewed(predictions, ["chrf"]).scores()
    statistics_file(predictions).write_bytes(content)
    assert measured(predictions, ["chrf"]).scores() == expected
    assert stored_metrics(predictions) == ["chrf"]


def test_a_metric_that_is_missing_is_added(predictions: Path) -> None:
    renewed(predictions, ["chrf"])
    assert set(measured(predictions, ["bleu"]).scores()) == {"bleu"}
    assert stored_metrics(predictions) == ["bleu", "chrf"]


def test_statistics_stand_for_texts_that_are_gone(no_counting: Path) -> None:
    no_counting.unlink()
    assert measured(no_counting, ["chrf"]).scores() == measure(ROWS, ["chrf"]).scores()
    statistics_file(no_counting).unlink()
    with pytest.raises(DataError, match="its texts are not here, and its statistics lack chrf"):
        measured(no_counting, ["chrf"])


def test_a_folder_that_cannot_be_written_is_read(predictions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise stored.StorageError("read-only file system")

    monkeypatch.setattr(stored, "write_statistics", refuse)
    assert measured(predictions, ["chrf"]).scores() == measure(ROWS, ["chrf"]).scores()
    assert not statistics_file(predictions).exists()


def test_tasks_measured_apart_are_the_tasks_measured_together() -> None:
    apart = [measure([row for row in ROWS if row.task == task], ["bleu", "chrf"]) for task in "ba"]
    assert score_measured(Measured.joined(apart)) == score_measured(measure(ROWS, ["bleu", "chrf"]))
    with pytest.raises(DataError, match="the same rows"):
        Measured.joined([apart[0], apart[0]])
