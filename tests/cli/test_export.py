"""``xeric export``: what it prints, and what is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny
from tests.cli.conftest import Xeric


@pytest.fixture
def run(xeric: Xeric, base_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    tiny.write_task(tmp_path / "tasks", "words", instances=60)
    settings = ("prompt.demonstrations=0", "train.max_steps=1", "decode.max_new_tokens=4", "metrics=[chrf]")
    given = ("--tasks-dir", tmp_path / "tasks", "--base", base_folder("llama"), "--device", "cpu", "--precision", "fp32")
    code, _, notes = xeric("train", "words", *given, "--n-train", "20", *settings, "-o", tmp_path / "run")
    assert code == 0, notes
    return tmp_path / "run"


def test_the_folder_goes_to_standard_output_and_the_difference_beside(xeric: Xeric, run: Path, tmp_path: Path) -> None:
    for to, file in (
        ("peft", "adapter_model.safetensors"),
        ("merged", "model.safetensors"),
        ("gguf", "model.gguf"),
        ("gguf-adapter", "adapter.gguf"),
    ):
        code, out, notes = xeric("export", run, "--to", to, "-o", tmp_path / to, "--device", "cpu")
        assert (code, out) == (0, f"{tmp_path / to}\n"), notes
        assert ("measured on 4 inputs" in notes) == (to != "gguf-adapter")
        assert {file, "README.md", "prompt.json", "export.json"} <= {path.name for path in (tmp_path / to).iterdir()}
    code, out, _ = xeric("export", run, "--to", "merged", "-o", tmp_path / "merged", "--precision", "bf16", "--json")
    described = json.loads(out)
    assert (code, described["to"], described["precision"]) == (0, "merged", "bf16")
    assert described["difference"]["same_texts"] <= 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--to", "onnx"), "unknown target 'onnx'"),
        (("--to", "merged", "--precision", "int4"), "unknown precision 'int4'"),
        (("--to", "gguf", "--quantisation", "q4_k_m"), "unknown quantisation 'q4_k_m'"),
        (("--to", "merged", "--without", "lora"), "has no parts to leave out"),
        (("--to", "merged", "--task", "wrds"), "unknown task 'wrds'"),
        (("--to", "merged", "--base", "/nowhere"), "/nowhere"),
        (("--to", "merged", "--device", "tpu"), "tpu"),
    ],
)
def test_what_is_at_fault_is_said_in_a_sentence_and_a_hint(
    arguments: tuple[str, ...], complaint: str, xeric: Xeric, run: Path, tmp_path: Path
) -> None:
    code, out, notes = xeric("export", run, *arguments, "-o", tmp_path / "out")
    lines = [line for line in notes.splitlines() if line.startswith(("xeric: ", "hint: "))]
    assert (code, out, len(lines)) == (2, "", 2), notes
    assert complaint in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_none_and_a_base_with_other_weights_are_refused(
    xeric: Xeric, run: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    code, _, notes = xeric("export", tmp_path, "--to", "peft", "-o", tmp_path / "out")
    assert (code, "holds no finished run" in notes) == (2, True)
    code, _, notes = xeric("export", run, "--to", "peft", "-o", tmp_path / "out", "--base", base_folder("gemma3"))
    assert (code, "has other weights than the base" in notes) == (2, True)
    code, _, notes = xeric("export", run, "--to", "peft", "-o", run)
    assert (code, "holds files that are not those of an export" in notes) == (2, True)
