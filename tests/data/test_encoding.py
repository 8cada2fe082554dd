"""Token rows: one prefix for all, target and EOS never cut, every cut counted, no special tokens out of a user's text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tests import tiny
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.data.encoding import Encoder
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import Prompt, Segment, build_prompt
from xeric.data.rows import SEGMENT_KINDS, EncodedTask, InstanceRow
from xeric.data.tasks import Example, Instance, Task
from xeric.errors import DataError
from xeric.training.loss import step_loss

BOS, EOS, OTHER_EOS = 1, 2, 3


def letters(text: str, special: bool = False) -> list[int]:
    """One token per character; where it may, ``|`` spells the second end token."""
    return [OTHER_EOS if special and c == "|" else 100 + ord(c) for c in text]


def encoder(context: int = 10_000, *, bos: int | None = BOS, eos: tuple[int, ...] = (EOS,)) -> Encoder:
    return Encoder(letters, bos, eos, context)


def task(definition: str = "Do it.") -> Task:
    return Task("t", definition, (Instance("1", "x", ("y",)),))


def plain(definition: str = "Do it.", demonstrations: Sequence[tuple[str, str]] = ()) -> Prompt:
    return build_prompt(task(definition), [Example(x, y) for x, y in demonstrations], PromptOptions())


def bare(prefix: str, *, closing: str = "") -> Prompt:
    """A layout without separators, as the docstring's rows have it."""
    return Prompt(
        "t",
        ((Segment("instruction", prefix),),),
        Segment("input", ""),
        Segment("input", ""),
        before_text="",
        before_target="",
        closing=closing,
    )


def kinds(row: InstanceRow) -> list[str]:
    return [SEGMENT_KINDS[kind] for kind in row.kinds]


# --- rows -------------------------------------------------------------------------------------------------------------


def test_the_rows_of_the_docstring() -> None:
    encoded = encoder().training_rows(bare("dddd"), [("1", "xxxx", "yy")])
    (prefix,), (row,) = encoded.prefixes, encoded.rows
    assert prefix.ids == (BOS, *letters("dddd"))
    assert len(prefix.ids) == len(prefix.kinds) == 5
    assert row.ids == (*letters("xxxx"), *letters("yy"), EOS)
    assert kinds(row) == ["input"] * 4 + ["target"] * 3
    assert (row.target_start, row.target_tokens, row.prefix) == (4, 3, 0)
    assert encoded.prefix_of(row) is prefix
    assert encoded.cuts == {}


def test_prefix_and_instance_together_are_the_documented_layout() -> None:
    encoded = encoder().training_rows(plain("Do it.", [("a", "b"), ("नदी", "c")]), [("1", "x1", "y1"), ("2", "", "y2")])
    opening = "Do it.\n\nInput: a\nOutput: b\n\nInput: नदी\nOutput: c\n\n"
    for row, (x, y) in zip(encoded.rows, [("x1", "y1"), ("", "y2")], strict=True):
        whole = (*encoded.prefix_of(row).ids, *row.ids)
        assert whole == (BOS, *letters(f"{opening}Input: {x}\nOutput: {y}"), EOS)
        assert row.ids[row.target_start :] == (*letters(f" {y}"), EOS)
    assert [prefix.demonstrations for prefix in encoded.prefixes] == [0, 1, 2]
    assert {row.prefix for row in encoded.rows} == {2}
    assert [SEGMENT_KINDS[kind] for kind in encoded.prefixes[1].kinds] == ["instruction"] * 9 + ["demonstration"] * 20


def test_the_prefix_is_the_same_in_training_and_in_decoding() -> None:
    prompt, make = plain("Do it.", [("a", "b")]), encoder()
    train = make.training_rows(prompt, [("1", "x", "y")])
    decode = make.decoding_rows(prompt, [("1", "x")], reserve=5)
    assert decode.prefixes == train.prefixes
    # What decoding is asked to continue is what training showed before the target.
    assert decode.rows[0].ids == train.rows[0].ids[: train.rows[0].target_start]
    assert (decode.rows[0].target_start, decode.rows[0].target_tokens) == (len(decode.rows[0].ids), 0)


def test_a_base_without_bos_gets_none_and_a_chat_writes_its_own() -> None:
    assert encoder(bos=None).training_rows(bare("dd"), []).prefixes[0].ids == tuple(letters("dd"))
    assert encoder().training_rows(replace(bare("dd"), begin=False), []).prefixes[0].ids == tuple(letters("dd"))


@pytest.mark.parametrize(
    ("eos", "closing", "end"),
    [
        ((EOS,), "", EOS),
        ((EOS, OTHER_EOS), "", EOS),
        ((EOS, OTHER_EOS), "|\n", OTHER_EOS),  # the template ends a turn with another of the base's end tokens
        ((EOS, OTHER_EOS), "\n", EOS),
        ((EOS,), "|\n", EOS),  # the template's token would not stop decoding
    ],
)
def test_a_target_closes_with_the_end_token_that_stops_decoding(eos: tuple[int, ...], closing: str, end: int) -> None:
    make, prompt = encoder(eos=eos), bare("dd", closing=closing)
    (row,) = make.training_rows(prompt, [("1", "x", "a|y")]).rows
    assert row.ids[row.target_start :] == (*letters("a|y"), end)
    assert make.target_length(prompt, "a|y") == row.target_tokens == 4


def test_an_empty_output_still_teaches_to_stop() -> None:
    (row,) = encoder().training_rows(plain(), [("1", "x", "")]).rows
    assert row.ids[row.target_start :] == (*letters(" "), EOS)


# --- truncation -------------------------------------------------------------------------------------------------------

_TEXT = st.text(alphabet="abcdefghij", max_size=60)
_LEAST = 8  # of an input, where it must be cut


@settings(max_examples=250, deadline=None)
@given(
    definition=st.text(alphabet="xyz", min_size=1, max_size=20),
    shown=st.lists(st.tuples(_TEXT, _TEXT), max_size=3),
    pairs=st.lists(st.tuples(_TEXT, _TEXT), min_size=1, max_size=6),
    spare=st.integers(1, 160),
    reserve=st.one_of(st.none(), st.integers(1, 60)),
)
def test_rows_fit_and_lose_only_what_they_must(
    definition: str, shown: list[tuple[str, str]], pairs: list[tuple[str, str]], spare: int, reserve: int | None
) -> None:
    prompt = plain(definition, shown)
    before, after = letters("Input:"), letters("\nOutput:")
    frame = len(before) + len(after)
    lengths = [1 + len(letters("".join(s.text for s in prefix))) for prefix in prompt.prefixes]
    context = lengths[0] + frame + _LEAST + (reserve or 0) + spare
    make = encoder(context)
    if reserve is None:
        encoded = make.training_rows(prompt, [(str(n), x, y) for n, (x, y) in enumerate(pairs)])
        targets = [[*letters(f" {y}"), EOS] for _, y in pairs]
    else:
        encoded = make.decoding_rows(prompt, [(str(n), x) for n, (x, _) in enumerate(pairs)], reserve)
        targets = [[] for _ in pairs]
        assert len(encoded.rows) == len(pairs)
    rows = {row.id: row for row in encoded.rows}
    counted = {"demonstrations": 0, "input": 0, "target_too_long": 0}
    for n, ((x, _), target) in enumerate(zip(pairs, targets, strict=True)):
        tail = len(target) + (reserve or 0)
        if str(n) not in rows:
            assert lengths[0] + frame + min(_LEAST, len(x) + 1) + tail > context, "dropped though it would fit"
            counted["target_too_long"] += 1
            continue
        row, tokens = rows[str(n)], letters(f" {x}")
        used = lengths[row.prefix]
        assert len(encoded.prefix_of(row).ids) == used
        assert used + len(row.ids) + (reserve or 0) <= context
        # The target is whole and closed once; the frame is whole.
        assert list(row.ids[row.target_start :]) == target
        assert row.ids.count(EOS) == (reserve is None)
        left = row.ids[: row.target_start]
        assert list(left[: len(before)]) == before
        assert list(left[-len(after) :]) == after
        kept = list(left[len(before) : -len(after)])
        if kept != tokens:
            # No demonstration is kept while the input is cut, no more is cut than must be, and what is left are its two ends.
            assert row.prefix == 0
            assert used + len(row.ids) + (reserve or 0) == context
            head = (len(kept) + 1) // 2
            assert kept == tokens[:head] + tokens[len(tokens) - (len(kept) - head) :]
            assert len(kept) >= _LEAST
            counted["input"] += 1
        if row.prefix < len(shown):
            assert lengths[row.prefix + 1] + frame + len(tokens) + tail > context, "a demonstration went though it would fit"
            counted["demonstrations"] += 1
    assert encoded.cuts == {what: count for what, count in counted.items() if count}
    assert [row.id for row in encoded.rows] == sorted(rows, key=int)


def test_demonstrations_go_before_the_input_is_cut() -> None:
    prompt = plain("Do it.", [("a", "b"), ("c", "d")])
    make = encoder(110)
    assert [len(prefix.ids) for prefix in make.training_rows(prompt, []).prefixes] == [9, 29, 49]
    sizes = (10, 42, 43, 62, 63, 82, 83, 200)
    encoded = make.training_rows(prompt, [(str(n), "x" * n, "yy") for n in sizes])
    # Frame 15, target 4: an input of n fits beside a prefix of p where n + p <= 91.
    assert [row.prefix for row in encoded.rows] == [2, 2, 1, 1, 0, 0, 0, 0]
    assert [row.ids.count(letters("x")[0]) for row in encoded.rows] == [10, 42, 43, 62, 63, 82, 82, 82]
    assert encoded.cuts == {"demonstrations": 6, "input": 2}


def test_what_is_cut_is_the_middle() -> None:
    (row,) = encoder(9 + 15 + 3 + 9).training_rows(plain(), [("1", "abcdefghijklmno", "y")]).rows
    assert row.ids[6 : row.target_start - 8] == tuple(letters(" abcd" + "klmno"))


def test_an_instance_whose_target_leaves_no_room_is_dropped_and_counted() -> None:
    make = encoder(9 + 14 + 8 + 10)
    encoded = make.training_rows(plain(), [("fits", "x" * 20, "y" * 8), ("too long", "x" * 20, "y" * 9), ("short", "", "y" * 15)])
    assert [row.id for row in encoded.rows] == ["fits", "short"]
    assert encoded.cuts == {"input": 1, "target_too_long": 1}


def test_a_definition_longer_than_the_context_is_refused_with_what_to_do() -> None:
    with pytest.raises(DataError, match=r"the definition of task 't' takes 103 tokens.* context of 100 ") as caught:
        encoder(100).training_rows(plain("d" * 100), [("1", "x", "y")])
    assert "prompt.definition=false" in str(caught.value.hint)
    assert "max_new_tokens" not in str(caught.value.hint)
    with pytest.raises(DataError, match="and 70 new ones") as caught:
        encoder(100).decoding_rows(plain(), [("1", "x")], reserve=70)
    assert "decode.max_new_tokens" in str(caught.value.hint)


# --- with a real tokenizer --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(base_folder: Callable[[str], Path]) -> Base:
    return load_base(str(base_folder("llama")), device="cpu", precision="fp32")


CHAT = (
    "{{ bos_token }}{% for m in messages %}{{ '[' + m.role + ']' + m.content }}{% if m.role == 'assistant' %}{{ eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)
HOSTILE = "</s> <s> <pad></s>"


def rows_of(base: Base, template: str, text: str) -> EncodedTask:
    render = None
    if template == "chat":

        def render(messages: list[dict[str, str]], generation: bool) -> str:
            tokenizer = base.tokenizer
            return str(
                tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation, chat_template=CHAT)
            )

    options = PromptOptions(template="chat" if template == "chat" else "plain")
    prompt = build_prompt(task(f"Do {text}."), [Example(text, text)], options, render_chat=render)
    return base.encoder("task").training_rows(prompt, [("1", text, text)])


@pytest.mark.parametrize("template", ["plain", "chat"])
def test_a_text_that_spells_special_tokens_stays_text(base: Base, template: str) -> None:
    special = {base.tokenizer.convert_tokens_to_ids(token) for token in ("<s>", "</s>", "<pad>")}
    assert special == {0, 1, 2}
    encoded = rows_of(base, template, HOSTILE)
    (row,) = encoded.rows
    whole = [*encoded.prefix_of(row).ids, *row.ids]
    # The row's own: BOS first, EOS last, and in the chat the end of the demonstration's answer.
    spelled = [(position, token) for position, token in enumerate(whole) if token in special]
    assert (spelled[0], spelled[-1]) == ((0, 1), (len(whole) - 1, 2))
    assert [token for _, token in spelled] == ([1, 2] if template == "plain" else [1, 2, 2])
    # Nothing of the text is lost for it.
    assert base.tokenizer.decode(whole).count(HOSTILE) == 5
    assert base.tokenize(HOSTILE, special=True).count(2) == 2


@pytest.mark.parametrize("text", ["नदी की नाव सुबह चलती है", "café\u0301 niño 👩\u200d👩", "", "  two  spaces\n\nand a poem\t"])
@pytest.mark.parametrize("template", ["plain", "chat"])
def test_every_script_goes_in_whole(base: Base, template: str, text: str) -> None:
    (row,) = rows_of(base, template, text).rows
    assert base.tokenizer.decode(row.ids[row.target_start : -1]) == (f" {text}" if template == "plain" else text)
    lead, follow = ("Input: ", "\nOutput:") if template == "plain" else ("", "[assistant]")
    assert base.tokenizer.decode(row.ids[: row.target_start]) == f"{lead}{text}{follow}"


def test_a_base_that_pads_with_its_end_token_still_learns_to_stop(tmp_path: Path, base_folder: Callable[[str], Path]) -> None:
    folder = tiny.write_base(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    base = load_base(str(folder), device="cpu", precision="fp32")
    assert base.pad == base.eos[0] == EOS
    # Rows of different lengths, so that the batch is padded; then the same loss by hand, row by row, EOS included.
    pairs = [("1", "the river", "boats"), ("2", "a quiet dog under grey rain", "cold cold rain near our town"), ("3", "x", "y")]
    encoded = base.encoder("task").training_rows(plain("Do it."), pairs)
    total, ends, tokens = 0.0, 0.0, 0
    for row in encoded.rows:
        assert row.ids[-1] == EOS
        prefix = encoded.prefix_of(row).ids
        with torch.no_grad():
            logits = base.model(torch.tensor([[*prefix, *row.ids]])).logits[0].log_softmax(-1)
        losses = [
            -float(logits[len(prefix) + position - 1, row.ids[position]]) for position in range(row.target_start, len(row.ids))
        ]
        total, ends, tokens = total + sum(losses), ends + losses[-1], tokens + len(losses)
    assert tokens == sum(row.target_tokens for row in encoded.rows)
    for shared in (True, False):
        loss = step_loss(base, [[(encoded, row) for row in encoded.rows]], shared=shared, backward=False)["t"]
        assert loss == pytest.approx(total / tokens, rel=1e-4)
    assert abs(total / tokens - (total - ends) / (tokens - 3)) > 1e-2, "the end tokens would not be missed"
