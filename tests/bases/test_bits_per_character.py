"""What ``bench/bits_per_character.py`` measures is what a token-by-token computation gives."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests import tiny


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[2] / "bench" / "bits_per_character.py"
    spec = importlib.util.spec_from_file_location("bits_per_character", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("context", "bos"), [(256, True), (24, True), (256, False)])
def test_bits_are_those_of_a_token_by_token_computation(bench: ModuleType, tmp_path: Path, context: int, bos: bool) -> None:
    base = tiny.open_base(tmp_path, max_position_embeddings=context, bos=bos)
    first = base.tokenizer.bos_token_id if bos else base.tokenizer.eos_token_id
    texts = ["the river ferry leaves", "नदी की नाव, and some words that it has never seen before: ¡año!"]
    bits, characters = 0.0, 0
    for text in texts:
        ids = base.tokenize(text)
        for place, token in enumerate(ids):
            begin = place - place % (context - 1)
            with torch.no_grad():
                logits = base.model(torch.tensor([[first, *ids[begin:place]]])).logits[0, -1]
            bits -= float(logits.double().log_softmax(-1)[token]) / math.log(2)
        characters += len(text)
    assert len(ids) > 24, "one text must be longer than the short context"
    assert bench.bits_per_character(base, texts) == pytest.approx(bits / characters, rel=1e-4)


def test_a_file_of_quotations_is_read_quotation_by_quotation(bench: ModuleType, tmp_path: Path) -> None:
    quotation, paragraph = "word " * 30, "line " * 40
    (tmp_path / "quotations").write_text(f"{quotation}\n\n{quotation}\n%\n{paragraph}\n%\ntoo short\n")
    (tmp_path / "paragraphs").write_text(f"{quotation}\n\n{paragraph}\n\ntoo short\n")
    found = bench.pieces_of(tmp_path / "quotations", 1000, 20_000)
    assert sorted(found) == [paragraph.strip(), f"{quotation}\n\n{quotation}".strip()]
    assert sorted(bench.pieces_of(tmp_path / "paragraphs", 120, 20_000)) == [paragraph[:120], quotation[:120]]
