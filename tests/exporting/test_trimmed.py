"""A run on a base with a trimmed vocabulary: exported with that vocabulary, and refused on the base that was trimmed."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import xeric
from tests import ggufs
from tests.exporting.asking import run_texts, texts_of
from tests.exporting.conftest import SaveRun
from tests.exporting.test_gguf import opened
from xeric.bases.finding import find_folder
from xeric.bases.gguf_header import read_header
from xeric.errors import XericError
from xeric.run.adapted import open_adapted


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XERIC_HOME", str(tmp_path / "home"))


@pytest.fixture(params=["llama", "gemma3"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, int]:
    """A byte-level and a SentencePiece vocabulary: the base, the trimmed one, and how many tokens that has."""
    changes = {"head_dim": 256} if request.param == "gemma3" else {}
    file = ggufs.write_gguf(tmp_path / "base.gguf", ggufs.random_model(request.param, **changes), request.param)
    (tmp_path / "texts.txt").write_text("the quiet dog leaves our cold town near the river", encoding="utf-8")
    result = xeric.trim_base(str(file), [tmp_path / "texts.txt"], tmp_path / "trimmed", more=3, device="cpu")
    return find_folder(str(file)), tmp_path / "trimmed", len(result.kept)


def test_exports_have_the_trimmed_vocabulary_and_give_the_runs_texts(
    base: tuple[Path, Path, int], save_run: SaveRun, tmp_path: Path
) -> None:
    _, trimmed, tokens = base
    run = save_run(trimmed, "lora", scale=0.05)
    xeric.export(run, "gguf", tmp_path / "gguf", device="cpu")
    assert len(read_header(tmp_path / "gguf/model.gguf")["tokenizer.ggml.tokens"].value) == tokens
    assert texts_of(tmp_path / "gguf", *opened(tmp_path / "gguf")) == run_texts(run)
    xeric.export(run, "merged", tmp_path / "merged", device="cpu")
    tokenizer, model = (kind.from_pretrained(tmp_path / "merged") for kind in (AutoTokenizer, AutoModelForCausalLM))
    assert model.get_input_embeddings().weight.shape[0] == tokens
    assert texts_of(tmp_path / "merged", tokenizer, model) == run_texts(run)


def test_the_base_that_was_trimmed_is_another_base(base: tuple[Path, Path, int], save_run: SaveRun) -> None:
    whole, trimmed, _ = base
    run = save_run(trimmed, "lora")
    assert open_adapted(run, device="cpu").base.source == trimmed
    with pytest.raises(XericError, match="base"):
        open_adapted(run, base=str(whole), device="cpu")
