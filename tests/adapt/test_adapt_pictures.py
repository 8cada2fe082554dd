"""From a table with a column of pictures to a model that looks at one, on a tiny base."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import drawn
from tests.cli.conftest import Xeric, xeric
from xeric.adapt import adapting, studies
from xeric.adapt.costs import MeasuredCosts
from xeric.bases.tensors import read_tensors
from xeric.data.tasks import Instance, Task
from xeric.record_io import read_predictions

__all__ = ["xeric"]

COLOURS = ["red", "green", "blue", "yellow", "purple", "orange"]


def write_table(folder: Path, rows: int) -> Path:
    (folder / "photos").mkdir(parents=True)
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "caption"])
        for number in range(rows):
            drawn.draw(folder / "photos" / f"{number}.png", f"photo {number}")
            writer.writerow([f"photos/{number}.png", f"{COLOURS[number % 6]} squares and {COLOURS[number * 5 % 6]} {number}"])
    return folder / "captions.csv"


@pytest.mark.parametrize(
    ("pictured", "text", "asked"),
    [(True, "", "--image FILE"), (True, "a word", "--image FILE --input TEXT"), (False, "a word", "--input TEXT")],
)
def test_the_command_that_is_shown_asks_for_what_instances_have(pictured: bool, text: str, asked: str) -> None:
    instance = Instance("1", text, ("said",), picture=drawn.picture("a") if pictured else None)
    assert adapting._asked(Task(name="t", definition="d", instances=(instance,))) == asked


def test_a_table_with_pictures_is_adapted_to_and_a_new_picture_is_answered(
    xeric: Xeric, base_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "_TRIALS", 1)
    # Both candidates look at pictures, so what is handed over does.
    looking = {**studies._WITH_PICTURES["pictures"], "picture": {"encoder": "pixels"}}
    monkeypatch.setattr(studies, "_WITH_PICTURES", {"pictures": looking, "lora": {**looking, "lora": {"rank": 2}}})
    monkeypatch.setattr(MeasuredCosts, "step", lambda self, candidate: 0.01)
    monkeypatch.setattr(MeasuredCosts, "text", lambda self: 0.001)
    table, out = write_table(tmp_path / "table", 70), tmp_path / "out"
    known = "--language", "en", "--definition", "Say what the picture shows.", "--name", "captions"
    where = "--for", "10m", "--device", "cpu", "--precision", "fp32", "--base", base_folder("llama"), "-o", out
    code, said, errors = xeric("adapt", table, "--image", "file", "--output", "caption", *known, *where)
    assert code == 0, errors
    assert (out / "report.html").is_file()
    (run, *_) = (path.parent for path in (out / "work" / "final" / "runs").glob("*-trained-*/predictions.jsonl"))
    assert {row.input for row in read_predictions(run / "predictions.jsonl")} == {""}
    tensors = read_tensors(out / "adapter" / "picture" / "picture.safetensors", "weights")
    assert tensors["picture_prefix.scale"].abs().max() > 0
    drawn.draw(tmp_path / "new.png", "new")
    code, said, errors = xeric("generate", out, "--image", tmp_path / "new.png", "--json")
    assert code == 0, errors
    assert json.loads(said.splitlines()[-1])
