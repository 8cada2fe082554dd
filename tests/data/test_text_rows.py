"""Rows of plain text: every token of every document is a target once, predicted from what stands before it in the document."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.data.test_encoding import BOS, EOS, encoder, kinds, letters


@given(
    documents=st.lists(st.text(alphabet="abcनदी\n ", min_size=1, max_size=60), min_size=1, max_size=5),
    window=st.integers(8, 30),
    context=st.integers(9, 40),
    bos=st.sampled_from([BOS, None]),
)
def test_every_token_of_every_document_is_a_target_exactly_once(
    documents: list[str], window: int, context: int, bos: int | None
) -> None:
    encoded = encoder(context, bos=bos).text_rows("text", [(str(n), text) for n, text in enumerate(documents)], window)
    targets: dict[str, list[int]] = {}
    for row in encoded.rows:
        assert encoded.prefix_of(row).ids == ()
        assert row.ids[0] == (EOS if bos is None else BOS), "something to predict the first token from"
        assert row.target_start == 1
        assert kinds(row) == ["instruction"] + ["target"] * row.target_tokens
        assert 1 <= row.target_tokens <= min(window, context - 1)
        assert len(row.ids) <= context
        targets.setdefault(row.id.partition("@")[0], []).extend(row.ids[1:])
    assert targets == {str(n): [*letters(text), EOS] for n, text in enumerate(documents)}


def test_windows_of_a_document_are_equally_long() -> None:
    rows = encoder().text_rows("text", [("d", "x" * 21)], 8).rows
    assert [row.target_tokens for row in rows] == [7, 7, 8]
    assert [row.id for row in rows] == ["d@0", "d@7", "d@14"]
    assert [EOS in row.ids for row in rows] == [False, False, True]


def test_a_text_that_spells_special_tokens_stays_text() -> None:
    (row,) = encoder().text_rows("text", [("d", "a|b")], 10).rows
    assert row.ids == (BOS, *letters("a|b"), EOS)


def test_bos_stays_behind_a_learned_prefix_that_began_as_it() -> None:
    (row,) = replace(encoder(), begun=True).text_rows("text", [("d", "ab")], 10).rows
    assert row.ids == (BOS, *letters("ab"), EOS)
