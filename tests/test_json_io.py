"""JSON: broken text is refused at its line, and files are written whole, with finite numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xeric.config import Config
from xeric.errors import DataError
from xeric.json_io import read_json, write_json, write_jsonl


class Loose(Config):
    anything: dict[str, Any]


def test_rows_that_fail_half_way_leave_nothing(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"a": 1}
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_jsonl(tmp_path / "f.jsonl", rows())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_never_written(tmp_path: Path, value: float) -> None:
    attempts: list[Callable[[], None]] = [
        lambda: write_json(tmp_path / "a.json", {"x": {"y": [value]}}),
        lambda: write_jsonl(tmp_path / "b.jsonl", [{"x": 1.0}, {"x": value}]),
        # Where a field may hold anything, the model itself does not look.
        lambda: write_json(tmp_path / "c.json", Loose(anything={"seconds": value})),
        lambda: write_jsonl(tmp_path / "d.jsonl", [Loose(anything={"x": [value]})]),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="not JSON compliant"):
            attempt()
    assert list(tmp_path.iterdir()) == []


def test_the_same_values_are_the_same_bytes_and_can_be_read_by_people(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", Loose(anything={"कविता": {"bleu": 31.25, "n": None}}))
    write_json(tmp_path / "b.json", Loose.model_validate_json((tmp_path / "a.json").read_bytes()))
    content = (tmp_path / "a.json").read_bytes()
    assert content == (tmp_path / "b.json").read_bytes()
    assert "कविता".encode() in content
    assert content.endswith(b"}\n")


def test_broken_json_is_refused_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text('{\n "a": 1,\n "b": oops\n}\n', encoding="utf-8")
    with pytest.raises(DataError, match="Expecting value") as caught:
        read_json(path)
    assert caught.value.where == f"{path}, line 3"
    path.write_text("9" * 5000, encoding="utf-8")
    with pytest.raises(DataError, match="too many digits"):
        read_json(path)
    path.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(DataError, match="too deeply"):
        read_json(path)
