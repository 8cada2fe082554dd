"""What truncation takes away is said with counts: before training, with the results, and at every call of generate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import xeric as package
from tests import tiny
from tests.cli.conftest import Xeric

CONTEXT = "the base has a context of 256 tokens"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 instances: the first 8 have inputs that no context holds, the next 8 fit only without demonstrations."""
    folder = tmp_path_factory.mktemp("tasks")
    data = tiny.task_data("long", instances=40)
    data["Positive Examples"] = [{"input": f"word {n} " * 4, "output": f"other {n}", "explanation": ""} for n in ("one", "two")]
    for number, instance in enumerate(data["Instances"]):
        words = " ".join(f"w{number}x{position}" for position in range(400 if number < 8 else 20 if number < 16 else 3))
        instance["input"] = f"{instance['input']} {words}"
    (folder / "long.json").write_text(json.dumps(data))
    tiny.write_task(folder, "short", instances=40)
    return folder


@pytest.fixture
def quick(tasks: Path, base_folder: Callable[[str], Path]) -> list[str]:
    return [
        *("--tasks-dir", str(tasks), "--base", str(base_folder("llama")), "--n-train", "32", "metrics=[chrf]"),
        *("train.max_steps=1", "decode.max_new_tokens=4", "data.cleaning.length_outlier=false"),
    ]


def test_counts_are_said_before_training_and_at_the_end(xeric: Xeric, quick: list[str], tmp_path: Path) -> None:
    code, printed, notes = xeric("train", "long", *quick, "-o", tmp_path / "out")
    assert code == 0, notes
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    data = record["tasks"]["long"]["data"]
    train, test = data["cuts"]["train"], data["cuts"]["test"]
    assert train["input"] + test["input"] == 8
    assert 8 < train["demonstrations"] + test["demonstrations"] <= 40
    expected = [
        f"long: {cuts['input']} of {data[part]} {what} are cut in the middle, "
        f"{cuts['demonstrations']} of {data[part]} {what} lose demonstrations: {CONTEXT}"
        for part, what, cuts in (("train", "training inputs", train), ("test", "test inputs", test))
    ]
    before = notes[: notes.index("memory: about")]
    assert [line for line in before.splitlines() if "cut" in line] == expected
    assert [line for line in printed.splitlines() if "cut in the middle" in line] == expected

    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    inputs = [*(row["input"] for row in rows), "short"]
    (tmp_path / "inputs.jsonl").write_text("".join(json.dumps({"input": text}) + "\n" for text in inputs))
    code, printed, notes = xeric("generate", tmp_path / "out", "--file", tmp_path / "inputs.jsonl")
    count = len(inputs)
    cut, lost = (f"{test[key]} of {count} inputs" for key in ("input", "demonstrations"))
    assert notes.splitlines() == [f"long: {cut} are cut in the middle, {lost} lose demonstrations: {CONTEXT}"]
    assert len(printed.splitlines()) == count
    assert xeric("generate", tmp_path / "out", "--input", "short")[2] == ""
    with pytest.warns(UserWarning, match="1 of 1 inputs are cut in the middle") as caught:
        package.generate(tmp_path / "out", ["word " * 4000])
    assert [warning.filename for warning in caught if "cut in the middle" in str(warning.message)] == [__file__]


def test_where_nothing_is_cut_nothing_is_said(xeric: Xeric, quick: list[str], tmp_path: Path) -> None:
    code, printed, notes = xeric("train", "short", *quick, "-o", tmp_path / "out", "prompt.demonstrations=0")
    assert code == 0
    assert "context" not in printed + notes


def test_a_stage_before_says_so_too(xeric: Xeric, quick: list[str], tmp_path: Path) -> None:
    code, _, notes = xeric("train", "short", *quick, "-o", tmp_path / "out", "--sources", "long", "prompt.demonstrations=0")
    assert code == 0, notes
    assert f"lose demonstrations: {CONTEXT}" in notes


def test_targets_too_long_to_be_trained_on_are_counted(xeric: Xeric, quick: list[str], tasks: Path, tmp_path: Path) -> None:
    data = json.loads((tasks / "short.json").read_text())
    for number, instance in enumerate(data["Instances"][:20]):
        instance["output"] = [" ".join(f"w{number}x{position}" for position in range(400))]
    (tasks / "outputs.json").write_text(json.dumps(data))
    code, _, notes = xeric("train", "outputs", *quick, "-o", tmp_path / "out")
    assert code == 0, notes
    record = json.loads((tmp_path / "out" / "record.json").read_text())["tasks"]["outputs"]["data"]
    left = record["cuts"]["train"]["target_too_long"]
    assert left > 5
    assert (
        f"outputs: {left} of {record['train']} training inputs are left out, as their targets alone do not fit: {CONTEXT}"
        in notes
    )
