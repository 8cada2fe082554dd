"""A base whose files do not fit together is refused when it is opened, with the numbers and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests import tiny
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A base whose tokenizer uses every row of the embedding."""
    folder = tiny.write_base(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"filler{number}" for number in range(tiny.VOCABULARY - len(tokenizer))])
    tokenizer.save_pretrained(folder)
    return folder


def _open(folder: Path) -> Base:
    return load_base(str(folder), device="cpu", precision="fp32")


def _with_tokens(folder: Path, *tokens: str, special: bool = False, **named: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": list(tokens), **named})
    else:
        tokenizer.add_tokens(list(tokens))
    tokenizer.save_pretrained(folder)


def test_a_tokenizer_that_is_larger_than_the_embedding_is_refused(folder: Path) -> None:
    rows = _open(folder).vocabulary
    _with_tokens(folder, "[NAME]", "[CITY]")
    with pytest.raises(DataError) as refused:
        _open(folder)
    what = f"its tokenizer has {rows + 2} tokens, its embedding {rows} rows: there is none for '[NAME]', '[CITY]'"
    assert (refused.value.what, refused.value.where, refused.value.exit_code) == (what, str(folder), 2)
    assert "resize_token_embeddings" in str(refused.value.hint)


def test_special_tokens_that_no_text_spells_do_no_harm(folder: Path) -> None:
    """As the text models of Gemma 3 have it, whose tokenizer knows a token for images; a pad token is never looked up."""
    _with_tokens(folder, "<image>", special=True, pad_token="[PAD]")
    base = _open(folder)
    assert max(base.tokenize("an <image> of the [PAD] river")) < base.vocabulary
    assert base.pad in base.eos


@pytest.mark.parametrize("named", [{"eos_token": "[END]"}, {"bos_token": "[BEGIN]"}], ids=lambda named: next(iter(named)))
def test_special_tokens_of_every_row_are_needed(named: dict[str, str], folder: Path) -> None:
    _with_tokens(folder, special=True, **named)
    with pytest.raises(DataError, match=f"there is none for '{next(iter(named.values()))}'".replace("[", r"\[")):
        _open(folder)


def test_a_chat_template_that_writes_a_token_without_an_embedding(folder: Path) -> None:
    _with_tokens(folder, "<turn>", "<unused>", special=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = tiny.chat_template("<turn>")
    tokenizer.save_pretrained(folder)
    with pytest.raises(DataError, match=r"there is none for '<turn>'$"):
        _open(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value: float, folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[-1]
    tensors[name].view(-1)[3] = value
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(DataError, match=f"{name.rpartition('.')[0]}.*hold values that are no numbers"):
        _open(folder)


def test_large_weights_are_numbers(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "embed" in name)
    tensors[name] = torch.full_like(tensors[name], 1e36)
    save_file(tensors, path, metadata={"format": "pt"})
    assert _open(folder).vocabulary == tiny.VOCABULARY
