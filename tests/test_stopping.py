"""Where a generated text ends: the same text and ending under every strategy, whatever the other rows of its batch do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests import rows
from xeric.bases.base import Base
from xeric.bases.stopping import Stops
from xeric.config import build
from xeric.data.rows import EncodedTask
from xeric.decoding import DecodeOptions, decode, generate_rows
from xeric.errors import ConfigError

MARKERS = ("\nInput:", "\nOutput:")
STRATEGIES: list[dict[str, Any]] = [
    {"strategy": "greedy"},
    {"strategy": "beam", "beams": 3},
    {"strategy": "sample"},
    {"strategy": "mbr", "candidates": 2},
]
EOS, LIMIT = 2, 60


class Written(LogitsProcessor):
    """Makes each row write given tokens, then one end token after the other, whatever the model thinks."""

    def __init__(self, by_prompt: Mapping[tuple[int, ...], Sequence[int]], start: int, pad: int) -> None:
        self.by_prompt, self.start, self.pad = by_prompt, start, pad

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        step = input_ids.shape[1] - self.start
        forced = torch.full_like(scores, -50.0)
        for number, row in enumerate(input_ids[:, : self.start].tolist()):
            prompt = next(ids for ids in self.by_prompt if tuple(row[-len(ids) :]) == ids)
            written = self.by_prompt[prompt]
            forced[number, written[step] if step < len(written) else EOS] = 0.0
        return forced  # type: ignore[return-value]


def writes(base: Base, task: EncodedTask, tokens: Sequence[Sequence[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make decoding write these tokens for the rows of a task, and end tokens behind them."""
    prompts = [(*task.prefix_of(row).ids, *row.ids) for row in task.rows]
    by_prompt = dict(zip(prompts, tokens, strict=True))
    monkeypatch.setattr(
        DecodeOptions, "processors", lambda self, start: LogitsProcessorList([Written(by_prompt, start, base.pad)])
    )


def make(open_base: Callable[[str], Base], count: int) -> tuple[Base, EncodedTask]:
    base = open_base("llama")
    return base, rows.decoding_rows(base, rows.task("one"), count, reserve=LIMIT)


def ended(texts: Sequence[Any]) -> list[tuple[str, str]]:
    return [(text.text, text.ended) for text in texts]


POEM = "roses are red\n\nviolets are blue\n\nin Input: and Output: we trust"
TEXTS = {
    " the ferry\n\nInput: another ferry\nOutput: gone": ("the ferry", "stop"),
    f" {POEM}": (POEM, "eos"),
    " ferry" * (LIMIT + 9): ("ferry " * (LIMIT - 1) + "ferry", "length"),
    "\nInput: what it should have answered": ("", "stop"),
    " a boat\nOutput: a boat": ("a boat", "stop"),
    " Input: stands in the first line": ("Input: stands in the first line", "eos"),
    " नदी की नाव\nInput: नाव": ("नदी की नाव", "stop"),
    "": ("", "eos"),
}


@pytest.mark.parametrize("options", STRATEGIES, ids=lambda options: options["strategy"])
@pytest.mark.parametrize("size", [1, 16])
def test_each_row_ends_at_its_own_stop_text(
    options: dict[str, Any], size: int, open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, task = make(open_base, len(TEXTS))
    writes(base, task, [base.tokenize(text) for text in TEXTS], monkeypatch)
    chosen = DecodeOptions.model_validate({"batch_size": size, "stop": MARKERS, **options})
    assert ended(generate_rows(base, task, chosen, max_new_tokens=LIMIT)) == list(TEXTS.values())


@pytest.mark.parametrize("options", STRATEGIES, ids=lambda options: options["strategy"])
def test_without_stop_texts_only_the_end_token_ends_a_text(
    options: dict[str, Any], open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, task = make(open_base, 2)
    writes(base, task, [base.tokenize(" a\nInput: b"), base.tokenize("\nOutput: c")], monkeypatch)
    for stop in ((), None):
        chosen = DecodeOptions.model_validate({"stop": stop, **options})
        assert ended(generate_rows(base, task, chosen, max_new_tokens=LIMIT)) == [("a\nInput: b", "eos"), ("Output: c", "eos")]


INDENTED = {
    "     return x\n        if y:  ": ("    return x\n        if y:", "eos"),
    "  \n\n \t\n    x = 1\n\n    y = 2": ("    x = 1\n\n    y = 2", "eos"),
    "\tdef f():\n\t\tpass\n\n": ("\tdef f():\n\t\tpass", "eos"),
    " x": ("x", "eos"),
    "x": ("x", "eos"),
    "     a boat\nOutput: a boat": ("    a boat", "stop"),
    "   ": ("", "eos"),
}


@pytest.mark.parametrize("opening", [" ", "", "\n\n"])
def test_blanks_before_a_text_are_its_own_where_indentation_is_kept(
    opening: str, open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout's own white space before a target is taken off, and no more of it."""
    base, task = make(open_base, len(INDENTED))
    task = replace(task, opening=opening)
    texts = [opening + text.removeprefix(" ") for text in INDENTED]
    writes(base, task, [base.tokenize(text) for text in texts], monkeypatch)
    endings = ended(generate_rows(base, task, DecodeOptions.model_validate({"stop": MARKERS}), max_new_tokens=LIMIT))
    assert endings == list(INDENTED.values())


def test_a_tokenizer_that_drops_the_first_blank_leaves_the_indentation(
    open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = open_base("llama")
    whole = base.continuation
    monkeypatch.setattr(base, "continuation", lambda ids: whole(ids).removeprefix(" "))
    assert Stops(base, (), " ").cut(base.tokenize("     x = 1")).text == "    x = 1"
    assert Stops(base, (), None).cut(base.tokenize("     x = 1")).text == "x = 1"


# Beam search goes on until as many hypotheses have ended as there are beams.
@pytest.mark.parametrize("options", [STRATEGIES[0], *STRATEGIES[2:]], ids=lambda options: options["strategy"])
def test_a_batch_costs_no_more_steps_once_every_row_has_ended(
    options: dict[str, Any], open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, task = make(open_base, 3)
    texts = [" the ferry\nInput: the ferry leaves", " a\nInput: b", " a"]
    writes(
        base, task, [base.tokenize(text) + [5] * LIMIT if "Input" in text else base.tokenize(text) for text in texts], monkeypatch
    )
    assert base.can_share_prefix()  # tested once, by passes that are not counted here
    calls: list[int] = []
    base.model.register_forward_hook(lambda *_: calls.append(1))
    chosen = DecodeOptions.model_validate({"stop": MARKERS, "batch_size": 16, **options})
    assert decode(base, task, chosen, max_new_tokens=LIMIT) == ["the ferry", "a", "a"]
    longest = len(base.tokenize(" the ferry\nInput:"))
    assert longest < LIMIT / 2
    assert len(calls) <= longest, "a pass for each token"


def bytewise(base: Base, text: str) -> list[int]:
    """A text's tokens one byte each: another way to write the same text than the tokenizer's own."""
    named = bytes_to_unicode()
    return [int(i) for i in base.tokenizer.convert_tokens_to_ids([named[byte] for byte in text.encode()])]


@pytest.mark.parametrize(
    ("text", "stop", "left"),
    [
        (" the river ferry leaves", "iver fer", "the r"),  # begins inside a token and ends inside another
        (" the river ferry leaves", "r", "the"),  # inside one
        (" नदी की नाव सुबह", "नाव", "नदी की"),
        (" सुबह हुई। नाव चली।", "।", "सुबह हुई"),
        (" a\n\n\nInput: b", "\nInput:", "a"),
        (" 🦆🦆 quack 🦊", "quack 🦊", "🦆🦆"),
    ],
)
@pytest.mark.parametrize("spelt", [Base.tokenize, bytewise])
def test_a_stop_text_is_found_however_it_is_tokenised(
    text: str,
    stop: str,
    left: str,
    spelt: Callable[[Base, str], list[int]],
    open_base: Callable[[str], Base],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, task = make(open_base, 1)
    tokens = spelt(base, text)
    writes(base, task, [[*tokens, *[5] * LIMIT]], monkeypatch)
    seen: list[int] = []
    original = Stops.complete

    def watched(self: Stops, ids: Sequence[Sequence[int]]) -> list[bool]:
        seen.append(len(ids[0]))
        return original(self, ids)

    monkeypatch.setattr(Stops, "complete", watched)
    assert ended(generate_rows(base, task, DecodeOptions(stop=(stop,)), max_new_tokens=2 * LIMIT)) == [(left, "stop")]
    first = next(count for count in range(len(tokens) + 1) if stop in base.continuation(tokens[:count]))
    assert max(seen) == first, "not a step later than the token that completes it"


def test_the_first_of_several_stop_texts_ends_a_text(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    stops = Stops(base, ("boat", "ferry", "rry l"))
    assert stops.cut(base.tokenize(" the ferry leaves the boat")).text == "the"
    assert stops.complete([base.tokenize(" the fer"), base.tokenize(" the ferry")]) == [False, True]


def test_a_special_token_ends_a_text_as_a_template_writes_it_or_as_plain_text(
    open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, task = make(open_base, 3)
    a, spelt = base.tokenize(" a"), base.tokenize("<s> b")
    assert 1 not in spelt
    writes(base, task, [[*a, 1, *a, *a], [*a, *spelt], [*a, *a]], monkeypatch)
    written = generate_rows(base, task, DecodeOptions(stop=("<s>",)), max_new_tokens=LIMIT)
    assert ended(written) == [("a", "stop"), ("a", "stop"), ("a a", "eos")]


@pytest.mark.parametrize("pad", [EOS, 70])
def test_padding_behind_a_stop_text_is_no_part_of_the_text_and_no_end_token(
    pad: int, open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a base has no token for padding its end token serves; any other may, since it is masked everywhere."""
    base, task = make(open_base, 2)
    base = replace(base, pad=pad)
    base.shares_prefix = True
    writes(base, task, [base.tokenize(" a\nInput: b"), base.tokenize(f" {POEM}")], monkeypatch)
    written = generate_rows(base, task, DecodeOptions(stop=MARKERS), max_new_tokens=LIMIT + 30)
    assert ended(written) == [("a", "stop"), (POEM, "eos")]


@pytest.mark.parametrize("stop", [[""], "x", [3]])
def test_a_stop_text_is_some_text(stop: object) -> None:
    with pytest.raises(ConfigError) as caught:
        build(DecodeOptions, {"stop": stop}, where="decode")
    assert (caught.value.where or "").startswith("decode.stop")
