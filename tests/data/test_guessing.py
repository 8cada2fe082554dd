"""Columns and languages of tables that do not say them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from xeric.data.guessing import guess_columns, guess_language
from xeric.data.tables import Table
from xeric.errors import UserError

ENGLISH = "The train to the coast was late again, so we walked along the river and talked about the winter that had gone."
SPANISH = "El tren a la costa llegó tarde otra vez, así que caminamos junto al río y hablamos del invierno que había pasado."
SWAHILI = "Treni ya kwenda pwani ilichelewa tena, kwa hiyo tulitembea kando ya mto na kuzungumza juu ya majira yaliyopita."
GUARANI = "Che réra María ha aiko Paraguáipe. Mba'éichapa reiko, che angirũ? Ko ára iporã ha ñande rohayhu ñane retã."


def table(**columns: list[object]) -> Table:
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return Table(tuple(columns), [(f"row {number}", row) for number, row in enumerate(rows)])


def texts(word: str, count: int = 30) -> list[object]:
    return [f"{word} number {number} of many" for number in range(count)]


def ids(count: int = 30) -> list[object]:
    return [f"A{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"id": ids(), "question": texts("q"), "answer": texts("a")}, ("question", "answer")),
        ({"answer": texts("a"), "question": texts("q")}, ("question", "answer")),
        ({"Article Text": texts("q"), "headline": texts("a"), "date": [20200101.0] * 30}, ("Article Text", "headline")),
        ({"pregunta": texts("q"), "respuesta": texts("a"), "tema": ["banco"] * 30}, ("pregunta", "respuesta")),
        ({"customer_message": texts("q"), "agent_reply": texts("a")}, ("customer_message", "agent_reply")),
        ({"left": texts("q"), "right": texts("a"), "label": ["yes", "no"] * 15}, ("left", "right")),
        ({"dialogue": texts("q"), "what_was_said": texts("a")}, ("dialogue", "what_was_said")),
    ],
)
def test_columns_are_told_by_name_or_by_what_is_left(columns: dict[str, list[object]], expected: tuple[str, str]) -> None:
    guessed = guess_columns(table(**columns))
    assert (guessed.input, guessed.output) == expected
    assert any(repr(expected[0]) in sentence for sentence in guessed.guessed)
    assert any(repr(expected[1]) in sentence for sentence in guessed.guessed)


def test_nothing_is_guessed_where_several_readings_are_left() -> None:
    with pytest.raises(UserError, match=r"which column holds the inputs and outputs: the columns are 'a', 'b', 'c'") as caught:
        guess_columns(table(a=texts("x"), b=texts("y"), c=texts("z")))
    assert "--input" in str(caught.value.hint)


def test_what_is_named_is_not_guessed() -> None:
    three = table(a=texts("x"), b=texts("y"), c=texts("z"))
    columns = guess_columns(three, input_column="c", output_column="a")
    assert (columns.input, columns.output, columns.group, columns.guessed) == ("c", "a", None, ())
    with pytest.raises(UserError, match="no column 'd'"):
        guess_columns(three, input_column="d", output_column="a")


def test_one_column_for_both_is_refused() -> None:
    with pytest.raises(UserError, match="both inputs and outputs"):
        guess_columns(table(a=texts("x"), b=texts("y")), input_column="a", output_column="a")
    with pytest.raises(UserError, match=r"one column alone \('a'\)") as caught:
        guess_columns(table(a=texts("x")))
    assert "--delimiter" in str(caught.value.hint)


def test_a_usual_name_whose_values_repeat_is_a_group() -> None:
    customers: list[object] = [f"customer {number // 3}" for number in range(30)]
    columns = guess_columns(table(question=texts("q"), answer=texts("a"), customer_id=customers))
    assert columns.group == "customer_id"
    assert any("one side of the split" in sentence for sentence in columns.guessed)
    # Values that never repeat group nothing.
    assert guess_columns(table(question=texts("q"), answer=texts("a"), customer_id=ids())).group is None


def test_a_column_that_stands_twice_is_refused_where_it_is_taken() -> None:
    rows: list[tuple[str, Mapping[str, Any]]] = [
        ("row", {"question": f"q number {n}", "answer": f"a number {n}", "": ""}) for n in range(30)
    ]
    assert guess_columns(Table(("question", "answer", "", ""), rows)).output == "answer"
    for options in ({}, {"input_column": "question", "output_column": "answer"}):
        with pytest.raises(UserError, match="two columns 'answer'"):
            guess_columns(Table(("question", "answer", "answer"), rows), **options)


ROWS = {
    "questions": ("Where does the train to the coast stop?", "It stops at the old harbour, as it did last year."),
    "Japanese": ("電車は海岸のどこに止まりますか。", "去年と同じように古い港に止まります。"),
    "Thai": ("รถไฟไปชายฝั่งหยุดที่ไหนครับวันนี้", "หยุดที่ท่าเรือเก่าเหมือนปีที่แล้ว"),
    "Hindi": ("तट की ट्रेन कहाँ रुकती है?", "यह पिछले साल की तरह पुराने बंदरगाह पर रुकती है।"),
    "without marks": (
        "we walked along the river and talked about the winter",
        "caminamos junto al río y hablamos del invierno pasado",
    ),
    "short answers": ("Where does the train to the coast stop?", "Harbour"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_row_in_place_of_the_names_is_refused(case: str) -> None:
    first, second = ROWS[case]
    columns: dict[str, list[object]] = {
        first: [f"{first[0]}{n} {first[2:]}" for n in range(30)],
        second: [f"{second[0]}{n} {second[2:]}" for n in range(30)],
    }
    with pytest.raises(UserError, match="looks like a row") as caught:
        guess_columns(table(**columns))
    assert "--input" in str(caught.value.hint)
    # Who names them says that they are names.
    assert guess_columns(table(**columns), input_column=first, output_column=second).input == first


LONG = [
    f"The ferry number {n} to the island leaves at noon, and it comes back in the evening. Is that all right?" for n in range(30)
]
HEADERS: dict[str, tuple[str, str, list[str]]] = {
    "words": ("Guaraní", "Castellano", LONG),
    "a dictionary": ("Wort", "Übersetzung", [f"Haus {n}" for n in range(30)]),
    "phrases": ("Lo que escribió el cliente", "Lo que contestó el agente", LONG),
    "phrases over short texts": ("Lo que escribió el cliente", "Lo que contestó el agente", [t[:40] for t in LONG]),
    "phrases over chats": ("message of the customer as received", "what the agent wrote back to them", [t[:50] for t in LONG]),
    "a survey": ("What is your favourite food and why?", "What did you eat today, if anything?", [t[:45] for t in LONG]),
    "Japanese": (
        "お客様からのお問い合わせ内容",
        "担当者による回答内容",
        [chr(0x5BA4 + n) + "の電車は海岸のどこに止まりますか。" for n in range(30)],
    ),
    "Swahili": ("Alichosema mteja", "Alichojibu wakala", LONG),
    "Thai": ("ข้อความของลูกค้า", "คำตอบของพนักงาน", [f"รถไฟไปชายฝั่งหยุดที่ไหนครับวันนี้ {n}" for n in range(30)]),
    "Russian": ("Обращение клиента (полностью)", "Что ему написал оператор", LONG),
    "snake": ("utterance_of_the_user_before_cleaning", "utterance_of_the_bot_after_cleaning", LONG),
}


@pytest.mark.parametrize("case", HEADERS)
def test_ordinary_names_are_not_taken_for_a_row(case: str) -> None:
    first, second, cells = HEADERS[case]
    named: dict[str, list[object]] = {first: [*cells], second: [f"{cell} {n}" for n, cell in enumerate(cells)]}
    columns = guess_columns(table(**named))
    assert (columns.input, columns.output) == (first, second)


@pytest.mark.parametrize(
    ("text", "name"), [(ENGLISH, "English"), (SPANISH, "Spanish"), (SWAHILI, "Swahili"), (GUARANI, "Guarani")]
)
def test_the_language_is_told_from_several_texts(text: str, name: str) -> None:
    guessed = guess_language([f"{text} {number}" for number in range(10)])
    assert guessed is not None
    assert guessed.language.name.startswith(name)
    assert guessed.share >= 0.7


@pytest.mark.parametrize(
    "few",
    [
        pytest.param([], id="nothing"),
        pytest.param(["yes", "no"] * 500, id="the same few words"),
        pytest.param([str(number * 7919) for number in range(1000)], id="numbers"),
        pytest.param([text for pair in zip([ENGLISH] * 1, [SPANISH] * 1, strict=True) for text in pair], id="too short"),
        pytest.param(
            [f"{text} {text} {number}" for number in range(10) for text in (ENGLISH, SPANISH)], id="half of each language"
        ),
    ],
)
def test_no_language_is_named_where_texts_do_not_tell(few: list[str]) -> None:
    assert guess_language(few) is None
