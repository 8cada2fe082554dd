"""What a person would answer without a model, text by text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.samples import task
from xeric.data.baselines import baseline_predictions, baselines_of, first_sentences, first_words
from xeric.data.preparing import DataOptions, Prepared, PreparedTask, TargetLength
from xeric.data.prompt_options import PromptOptions
from xeric.data.tasks import Example, Instance
from xeric.text import words


def prepared(*pairs: tuple[str, tuple[str, ...]], test: str = "", name: str = "made") -> PreparedTask:
    """A task that is trained on the pairs (the last of them is dev) and tested on one input."""
    instances = [Instance(f"i{number}", x, y) for number, (x, y) in enumerate(pairs)]
    asked = Instance("asked", test, ("what it should be",))
    made = task([*instances, asked], [Example("An example.", "Its output.")], name=name)
    parts = tuple(instances[:-1]), tuple(instances[-1:]), (asked,)
    return PreparedTask(made, "English", *parts, made.positive_examples, {}, (), "")


def data(*tasks: PreparedTask) -> Prepared:
    return Prepared(tasks, {}, "", DataOptions(), PromptOptions())


def answers(name: str, *tasks: PreparedTask) -> list[str]:
    return [row.prediction for row in baseline_predictions(name, data(*tasks), "test", 0)]


LONG = "The mayor, who is 71, closed the old bridge. It had stood for 90 years. Nobody was hurt."
SHORT_TARGETS = [(LONG, ("The bridge is closed.",)), (LONG + " Then it rained.", ("No one was hurt there on Monday.",))]


def test_a_target_is_as_long_as_the_mean_training_target() -> None:
    # 4 and 7 words of the first instance count each, 3 of the second: 14 / 3 = 4.67. Inputs have 18 words.
    made = prepared((LONG, ("The bridge is closed.", "No one was hurt there on Monday.")), (LONG, ("Nobody was hurt.",)))
    assert made.target_length == TargetLength(5, (5.5 / 18 + 3 / 18) / 2)
    assert not TargetLength(5, 0.79).as_input
    assert TargetLength(5, 0.8).as_input
    assert prepared((LONG, ("…",)), (LONG, ("…",))).target_length == TargetLength(1, 0.0)


def test_inputs_and_sentences_are_cut_to_it() -> None:
    made = prepared(*SHORT_TARGETS, test=LONG)
    assert made.target_length is not None
    assert made.target_length.words == 6
    assert answers("copy_input", made) == [LONG]
    assert answers("cut_input", made) == ["The mayor, who is 71, closed"]
    assert answers("first_sentences", made) == ["The mayor, who is 71, closed"]
    short = prepared(*SHORT_TARGETS, test="It rained. The sun came out. Nobody was hurt.")
    assert answers("cut_input", short) == ["It rained. The sun came out."]
    assert answers("first_sentences", short) == ["It rained. The sun came out."]
    assert answers("first_sentences", prepared(*SHORT_TARGETS, test="It rained. The sun came out again.")) == ["It rained."]


def test_scripts_without_spaces_are_cut_at_graphemes() -> None:
    made = prepared(*[("今日は雨です。明日は晴れ。", ("雨です",))] * 2, test="今日は雨です。明日は晴れ。")
    assert answers("cut_input", made) == ["今日は"]
    assert answers("first_sentences", made) == ["今日は"]


def test_inputs_are_copied_whole_where_targets_are_as_long() -> None:
    simple = prepared(("one two three four", ("one two three",)), ("five six", ("five six",)), test=LONG, name="simple")
    summary = prepared(*SHORT_TARGETS, test=LONG, name="summary")
    assert answers("cut_input", simple, summary) == [LONG, "The mayor, who is 71, closed"]
    always = {"first_sentences": True, "copy_demonstration": True, "random_training_output": True}
    assert baselines_of(data(summary)) == {"copy_input": False, "cut_input": True} | always
    assert baselines_of(data(simple, summary)) == {"copy_input": False, "cut_input": True} | always
    assert baselines_of(data(simple)) == {"copy_input": True} | always, "cut_input would be the same"


def test_without_training_targets_the_first_sentence_is_left() -> None:
    made = PreparedTask(task([]), "English", (), (), (Instance("asked", LONG, ("so",)),), (), {}, (), "")
    assert baselines_of(data(made)) == {"copy_input": False, "first_sentences": True}
    assert answers("first_sentences", made) == ["The mayor, who is 71, closed the old bridge."]


@given(st.text(alphabet="ab. ,\n-क्षि今日ไทย'"), st.integers(1, 12))
def test_first_words_are_that_many(text: str, count: int) -> None:
    cut = first_words(text, count)
    assert words(cut) == words(text)[:count]
    assert text.strip().startswith(cut)


@given(st.text(alphabet="Ab. \n今。"), st.integers(1, 12))
def test_first_sentences_are_no_longer(text: str, count: int) -> None:
    sentences = first_sentences(text, count)
    assert len(words(sentences)) <= count
    assert text.strip().startswith(sentences)
    assert words(sentences) or not words(first_sentences(text))


def test_line_breaks_of_a_poem_stay() -> None:
    assert first_sentences("Rain falls\non dry ground\n\nand seeds wait", 5) == "Rain falls\non dry ground"
    assert first_words("Rain falls\non dry ground", 3) == "Rain falls\non"


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
    assert first_sentences(text) == first
