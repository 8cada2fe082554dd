"""``xeric generate``: in which precision, and when its texts may not be those of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.cli.conftest import Xeric

ROUNDING = "texts may differ from the run's where two words are nearly as likely: in bf16 rounding depends on"


@pytest.fixture
def run(xeric: Xeric, base_folder: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    tiny.write_task(tmp_path / "tasks", "words", instances=60)

    def made(precision: str) -> Path:
        out = tmp_path / precision
        settings = ("prompt.demonstrations=0", "train.max_steps=1", "decode.max_new_tokens=4", "metrics=[chrf]")
        given = ("--tasks-dir", tmp_path / "tasks", "--base", base_folder("llama"), "--device", "cpu", "--n-train", "20")
        code, _, notes = xeric("train", "words", *given, "--precision", precision, *settings, "-o", out)
        assert code == 0, notes
        return out

    return made


def first(out: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads((out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()[0])
    return row


def test_the_runs_own_precision_unless_another_is_asked_for(xeric: Xeric, run: Callable[[str], Path]) -> None:
    out = run("fp32")
    row = first(out)
    code, said, notes = xeric("generate", out, "--input", row["input"])
    assert (code, said.strip(), notes) == (0, row["prediction"], "")
    assert xeric("generate", out, "--input", row["input"], "--precision", "fp32")[1:] == (said, "")
    code, _, notes = xeric("generate", out, "--input", row["input"], "--precision", "bf16")
    assert code == 0
    assert notes.splitlines() == [
        "texts may differ from the run's: it was computed in fp32 on cpu, and this is computed in bf16 on cpu"
    ]


def test_sixteen_bits_promise_no_equal_texts(xeric: Xeric, run: Callable[[str], Path]) -> None:
    out = run("bf16")
    code, _, notes = xeric("generate", out, "--input", first(out)["input"])
    assert code == 0
    assert ROUNDING in notes
    assert "it was computed in bf16 on cpu" in xeric("generate", out, "--input", "a boat", "--precision", "fp32")[2]


def test_another_device_than_the_runs_is_said(xeric: Xeric, run: Callable[[str], Path]) -> None:
    out = run("fp32")
    path = out / "adapter" / "adapted.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    assert description["device"] == "cpu"
    path.write_text(json.dumps({**description, "device": "cuda"}), encoding="utf-8")
    assert (
        "it was computed in fp32 on cuda, and this is computed in fp32 on cpu" in xeric("generate", out, "--input", "a boat")[2]
    )
    del description["device"]  # an adaptation of an earlier version
    path.write_text(json.dumps(description), encoding="utf-8")
    assert xeric("generate", out, "--input", "a boat")[2] == ""


def test_a_precision_that_there_is_not_is_refused(xeric: Xeric, run: Callable[[str], Path]) -> None:
    out = run("fp32")
    code, _, notes = xeric("generate", out, "--input", "a boat", "--precision", "fp16")
    assert (code, "unknown precision 'fp16'" in notes, "bf16" in notes) == (2, True, True)
    code, _, notes = xeric("generate", out, "--input", "a boat", "--precision", "4bit")
    assert (code, "CUDA" in notes) == (2, True)
