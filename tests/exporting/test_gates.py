"""Exports of a gated combined method: what has a place for gates, and what refuses them in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import xeric
from tests.exporting.asking import run_texts, texts_of
from tests.exporting.conftest import SaveRun
from xeric.errors import UserError

BaseFolder = Callable[[str], Path]


def test_scalar_gates_of_lora_are_folded_into_the_weights(save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path) -> None:
    run = save_run(base_folder("llama"), "combined", scale=0.05, gate="scalar", prefix=False, embedding=False)
    xeric.export(run, "merged", tmp_path / "out", device="cpu")
    opened = AutoTokenizer.from_pretrained(tmp_path / "out"), AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert texts_of(tmp_path / "out", *opened) == run_texts(run)


def test_what_is_left_of_gated_parts_keeps_its_gates(save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path) -> None:
    run = save_run(base_folder("llama"), "combined", scale=0.05, gate="scalar")
    export = xeric.export(run, "merged", tmp_path / "out", device="cpu", without=["prefix", "embedding"])
    assert export.description["difference"]["logit"] > 0


@pytest.mark.parametrize(
    ("gate", "target", "alone", "complaint", "hint"),
    [
        ("scalar", "peft", True, "PEFT's format has no place for the gates", "--to merged"),
        ("scalar", "peft", False, "PEFT's format has no place for the gates", "xeric generate"),
        ("scalar", "gguf-adapter", True, "llama.cpp's adapter format has no place for the gates", "--to merged"),
        ("scalar", "merged", False, "prefix and embedding cannot be merged", "--without prefix --without embedding"),
        ("token", "merged", True, "gates that depend on tokens cannot be merged", "xeric generate"),
        ("token", "gguf", True, "gates that depend on tokens cannot be merged", "xeric generate"),
    ],
)
def test_what_has_no_place_for_gates_says_so(
    gate: str, target: str, alone: bool, complaint: str, hint: str, save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path
) -> None:
    parts = {"prefix": False, "embedding": False} if alone else {}
    run = save_run(base_folder("llama"), "combined", gate=gate, **parts)
    with pytest.raises(UserError, match=complaint) as caught:
        xeric.export(run, target, tmp_path / "out", device="cpu")
    assert hint in (caught.value.hint or "")
    assert not (tmp_path / "out").exists()
