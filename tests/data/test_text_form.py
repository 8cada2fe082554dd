from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xeric.data.text_form import one_form


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("a\u0301\u00a0b\t c ", "á b c"),
        ("one\r\ntwo\rthree\u2028four\x85five\x0bsix", "one\ntwo\nthree\nfour\nfive\nsix"),
        ("first verse \n second verse\n\n\n\n third ", "first verse\nsecond verse\n\nthird"),
        ("\ufeffsoft\u00adhyphen \x07bell\x7f zero\u200bwidth", "softhyphen bell zerowidth"),
        ("क\u094dष \u0915\u094d\u200d\u0937 می\u200cروم", "क्ष क्\u200dष می\u200cروم"),
        ("ខ្មែរ\u200bភាសា", "ខ្មែរ\u200bភាសា"),
        ("  \n ", ""),
        ("\u1e9b\u0323 ﬁ ①", "\u1e9b\u0323 ﬁ ①"),
    ],
)
def test_one_form(text: str, form: str) -> None:
    assert one_form(text) == form


@given(st.text(max_size=60), st.booleans())
def test_one_form_is_final(text: str, keep: bool) -> None:
    once = one_form(text, keep_indentation=keep)
    assert one_form(once, keep_indentation=keep) == once
    assert unicodedata.is_normalized("NFC", once)


def test_indentation_stays_where_asked() -> None:
    code = "def f(x):\n    if x:\t# why  not\n\treturn  1   \n"
    assert one_form(code, keep_indentation=True) == "def f(x):\n    if x: # why not\n\treturn 1"
