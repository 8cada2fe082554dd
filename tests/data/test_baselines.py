"""What a person would answer without a model, text by text."""

from __future__ import annotations

import pytest

from xeric.data.baselines import first_sentence


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("The cat sat. It ran.", "The cat sat."),
        ("Mr. Smith met J. K. Rowling. She left.", "Mr. Smith met J. K. Rowling."),
        ("He paid 3.5 dollars. Then he left", "He paid 3.5 dollars."),
        ("¿Qué hora es? Son las tres.", "¿Qué hora es?"),
        ("¡Hola! ¿Qué tal?", "¡Hola!"),
        ("Llegó el Sr. Pérez. ¿Quién más?", "Llegó el Sr. Pérez."),
        ("राम घर गया। वह सो गया।", "राम घर गया।"),
        ("क्या हुआ? कुछ नहीं।", "क्या हुआ?"),
        ("今日は雨です。明日は晴れ。", "今日は雨です。"),
        ("她说：“走吧！”然后走了。", "她说：“走吧！”"),
        ("ما اسمك؟ اسمي زيد.", "ما اسمك؟"),
        ('He said "Stop." Then he left.', 'He said "Stop."'),
        ("a title without an end\nand a line. More", "a title without an end"),
        ("  no end  ", "no end"),
        ("", ""),
    ],
)
def test_the_first_sentence_in_many_scripts(text: str, first: str) -> None:
    assert first_sentence(text) == first
