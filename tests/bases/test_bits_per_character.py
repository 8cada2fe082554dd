"""Bits per character: every token counted once, in windows and without."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests import tiny
from xeric.bases import bits_per_character as module
from xeric.bases.base import Base
from xeric.bases.bits_per_character import bits_per_character

TEXT = "the river ferry leaves at dawn. नदी की नाव सुबह चलती है। " * 3


def by_hand(base: Base, ids: list[int], first: int, context: Callable[[int], int]) -> float:
    """Sum of -log2 P of the tokens from ``first`` on, each from its own forward pass over what is before it."""
    bits = 0.0
    for position in range(first, len(ids)):
        with torch.no_grad():
            logits = base.model(input_ids=torch.tensor([ids[context(position) : position]])).logits[0, -1].double()
        bits -= float(logits.log_softmax(-1)[ids[position]]) / math.log(2)
    return bits


def test_equals_a_sum_over_single_tokens(open_base: Callable[[], Base]) -> None:
    base = open_base()
    ids = base.tokenizer(TEXT)["input_ids"]
    assert ids[0] == base.bos
    expected = by_hand(base, ids, 1, lambda _: 0) / len(TEXT)
    assert bits_per_character(base.model, base.tokenizer, TEXT) == pytest.approx(expected, rel=1e-4)


def test_without_bos_the_first_token_costs_nothing(tmp_path: Path) -> None:
    base = tiny.open_base(tmp_path, bos=False)
    ids = base.tokenizer(TEXT)["input_ids"]
    assert bits_per_character(base.model, base.tokenizer, TEXT) == pytest.approx(
        by_hand(base, ids, 1, lambda _: 0) / len(TEXT), rel=1e-4
    )


@pytest.mark.parametrize("extra", [0, 1, 7, 8, 9, 16])
def test_windows_count_every_token_once(open_base: Callable[[], Base], monkeypatch: pytest.MonkeyPatch, extra: int) -> None:
    base = open_base()
    monkeypatch.setattr(module, "_WINDOW", 16)
    text = TEXT
    while len(base.tokenizer(text)["input_ids"]) > 32 + extra:
        text = text[:-1]
    ids = base.tokenizer(text)["input_ids"]
    starts = list(range(0, max(len(ids) - 8, 1), 8))
    # A token is predicted in the first window that holds it.
    expected = by_hand(base, ids, 1, lambda position: next(start for start in starts if position < start + 16))
    assert bits_per_character(base.model, base.tokenizer, text) == pytest.approx(expected / len(text), rel=1e-4)


def test_special_tokens_in_a_text_are_text(open_base: Callable[[], Base]) -> None:
    base = open_base()
    assert bits_per_character(base.model, base.tokenizer, "a </s> b") > 0
    assert 2 not in base.tokenizer("a </s> b", split_special_tokens=True)["input_ids"]
