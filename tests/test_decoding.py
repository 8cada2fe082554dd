"""Greedy texts are those of the plain computation, whatever the batch size and the order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests import rows, tiny
from xeric.bases.base import Base
from xeric.data.encoding import EncodedTask
from xeric.decoding import decode


def greedy_by_hand(base: Base, task: EncodedTask, limit: int) -> list[str]:
    """One row at a time, the whole row run again for every token: no cache, no padding, no generate()."""
    texts = []
    for row in task.rows:
        ids = [*task.prefix_of(row).ids, *row.ids]
        new: list[int] = []
        with torch.no_grad():
            while len(new) < limit:
                token = int(base.model(torch.tensor([ids + new])).logits[0, -1].argmax())
                if token in base.eos:
                    break
                new.append(token)
        texts.append(base.detokenize(new))
    return texts


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_text_is_greedy_and_independent_of_batch_size_and_order(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    task = rows.decoding_rows(base, rows.task("one"))
    expected = greedy_by_hand(base, task, 12)
    assert len(set(expected)) > 1, "the texts should differ for the test to see anything"
    for size in (1, 5, 12):
        assert decode(base, task, max_new_tokens=12, batch_size=size) == expected
    assert base.shares_prefix
    assert decode(base, task, max_new_tokens=12, batch_size=5, shared=False) == expected
    backwards = replace(task, rows=task.rows[::-1])
    assert decode(base, backwards, max_new_tokens=12, batch_size=5) == expected[::-1]


def test_rows_with_fewer_demonstrations_keep_their_place(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    full = rows.decoding_rows(base, rows.task("one"), demonstrations=2)
    mixed = replace(full, rows=tuple(replace(row, prefix=n % 3) for n, row in enumerate(full.rows)))
    assert decode(base, mixed, max_new_tokens=8, batch_size=4) == greedy_by_hand(base, mixed, 8)


def test_text_ends_at_the_end_token_and_nothing_is_sampled(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    task = rows.decoding_rows(base, rows.task("one"), 4)
    free = decode(base, task, max_new_tokens=10, batch_size=4)
    new = [base.tokenize(text) for text in free]
    stopper = new[0][2]
    stopping = replace(base, eos=(2, stopper))
    stopping.shares_prefix = None
    texts = decode(stopping, task, max_new_tokens=10, batch_size=4)
    assert texts == greedy_by_hand(stopping, task, 10)
    assert texts != free


def test_progress_counts_every_row_once(open_base: Callable[[str], Base]) -> None:
    seen: list[int] = []
    base = open_base("gpt2")
    decode(base, rows.decoding_rows(base, rows.task("one")), max_new_tokens=2, batch_size=5, progress=seen.append)
    assert sum(seen) == 12
