"""What nobody sees: every such character has its entry, and texts that look the same become the same text."""

from __future__ import annotations

import sys

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from xeric.data.text_form import one_form
from xeric.invisible import TABLE, without_invisible
from xeric.metrics import quality_metrics, score_predictions
from xeric.records import Prediction

LISTED = [regex.compile(f"[{entry.characters}]") for entry in TABLE]
CHARACTERS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
# Unicode's own words for what shows nothing.
UNSEEN = regex.findall(r"[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Cf}]", "".join(CHARACTERS))
DIRECTION = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def test_every_invisible_character_has_one_entry_and_a_reason() -> None:
    assert len(UNSEEN) > 4000
    listed = [character for entry in LISTED for character in entry.findall("".join(CHARACTERS))]
    assert sorted(listed) == UNSEEN
    assert all(entry.reason for entry in TABLE)


@pytest.mark.parametrize("mark", [*DIRECTION, *"\u00ad\ufeff\u2060\u200b\u200c\u200d\ufe0f\u034f\u206a\U000e0041\x07"])
def test_what_shows_nothing_goes(mark: str) -> None:
    assert without_invisible(f"{mark}boat{mark}s {mark}and{mark}") == "boats and"
    assert one_form(f"{mark} boat{mark}s\n{mark}\n{mark}\nand{mark} ") == "boats\n\nand"


@pytest.mark.parametrize(
    "text",
    [
        *("می\u200cخواهم", "नमस्\u200cते", "क्\u200dष", "ي\u064e\u200d", "ශ්\u200dරී"),
        *("👩\u200d🚀", "👁\ufe0f\u200d🗨\ufe0f", "👩🏽\u200d🚀", "❤\ufe0f", "1\ufe0f\u20e3", "ℹ\ufe0f", "葛\U000e0100"),
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        *("ᠠ\u180b", "ខ្មែរ\u200bភាសា", "a\tb\r\n"),
    ],
)
def test_what_shapes_its_neighbours_stays(text: str) -> None:
    assert without_invisible(text) == text


@given(st.text(st.sampled_from([*"aक्मی葛❤👩1 \n", *"\u200b\u200c\u200d\u200e\ufe0f\u00ad\U000e0067🏴ខ\u180bᠠ\u064e"])))
def test_once_is_enough(text: str) -> None:
    for boundaries in (True, False):
        once = without_invisible(text, boundaries=boundaries)
        assert without_invisible(once, boundaries=boundaries) == once
    assert one_form(one_form(text)) == one_form(text)


@pytest.mark.parametrize(
    ("language", "prediction", "reference"),
    [
        ("he", "שלום לכולם פה היום", "\u202bשלום לכולם\u200f פה היום\u202c\u200f"),
        ("ar", "مرحبا بكم في المدينة", "\u2067مرحبا\u061c بكم في المدينة\u2069"),
        ("en", "the ferry leaves at dawn", "\u200ethe fer\u00adry leaves\u200b at dawn\ufeff"),
        ("th", "สวัสดีตอนเช้าทุกคน", "สวัสดี\u200bตอนเช้า\u200bทุกคน"),
        ("de", "die neue Auflage ist da", "die neue Auf\u200clage ist da"),
    ],
)
def test_texts_that_look_the_same_score_the_same(language: str, prediction: str, reference: str) -> None:
    def scores(generated: str, expected: str, normalize: str = "nfc") -> dict[str, float]:
        row = Prediction(id="1", task="t", language=language, input="x", prediction=generated, references=(expected,))
        rows = [row, row.model_copy(update={"id": "2"})]
        values = score_predictions(rows, resamples=0, normalize=normalize).scores  # type: ignore[arg-type]
        return {name: score.score for name, score in values.items()}

    assert scores(prediction, reference) == scores(prediction, prediction) == scores(reference, prediction)
    assert scores(prediction, reference)["bleu"] == pytest.approx(100.0)
    assert all(scores(prediction, reference, "none")[name] < 100 for name in quality_metrics()[:2])


def test_the_signature_says_what_was_done() -> None:
    row = Prediction(id="1", task="t", language="he", input="x", prediction="שלום", references=("שלום",))
    for normalize, choice in (("nfc", "|norm:nfc|invisible:no|"), ("none", "|norm:none|invisible:yes|")):
        scores = score_predictions([row], resamples=0, normalize=normalize).scores  # type: ignore[arg-type]
        assert all(choice in score.signature for score in scores.values())
