"""The learned prompt prefix: what it starts as, where rows stand behind it, and that sharing it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from tests import attached, rows, tiny
from tests.attached import attach, stir
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import build_prompt
from xeric.data.rows import EncodedTask
from xeric.decoding import DecodeOptions, decode
from xeric.errors import ConfigError, DataError, RunError, UnknownNameError
from xeric.methods.base import Adaptation

SHAPES = ["llama", "qwen3", "gpt2", "gemma3", "mistral", "bloom"]
LEVELS = ["kv", "input"]
TASK = rows.task("one")
# Layers, key-value heads and their size, hidden size: of the shapes in tests/tiny.py.
SIZES = {"llama": (2, 2, 8, 32), "gpt2": (2, 4, 8, 32), "gemma3": (7, 2, 8, 32), "bloom": (2, 4, 8, 32)}


def greedy(base: Base, task: EncodedTask, **options: Any) -> list[str]:
    return decode(base, task, DecodeOptions(**{"batch_size": 3, **options}), max_new_tokens=6)


def parameter(adaptation: Adaptation, name: str, number: int = 0) -> torch.Tensor:
    return adaptation.state()[f"prompt_prefix.{number}.{name}"]


# --- what it starts as ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_prefix_from_the_definition_is_the_prompt_with_the_definition(
    shape: str, level: str, open_base: Callable[[str], Base]
) -> None:
    base = open_base(shape)
    task, decoding = rows.training_rows(base, TASK, 6), rows.decoding_rows(base, TASK, 6)
    logits, loss, texts = attached.logits_of(base, task), attached.loss_of(base, task), greedy(base, decoding)
    attach(base, "prefix", level=level)
    task, decoding = (rows.training_rows(base, TASK, 6, definition=False), rows.decoding_rows(base, TASK, 6, definition=False))
    for shared in (True, False):
        for ours, expected in zip(attached.logits_of(base, task, shared=shared), logits, strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    assert attached.loss_of(base, task) == pytest.approx(loss, rel=1e-5)
    assert greedy(base, decoding) == texts


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("level", LEVELS)
def test_a_prefix_from_the_vocabulary_is_the_base_fed_its_tokens(level: str, bos: bool, tmp_path: Path) -> None:
    base = tiny.open_base(tmp_path, bos=bos)
    adaptation = attach(base, "prefix", level=level, start="vocabulary", length=9)
    tokens = adaptation.initial_tokens("one")
    assert len(tokens) == 9
    assert (tokens[0] == base.tokenizer.bos_token_id) == bos
    assert not {*tokens[1:]} & {*base.eos, *base.tokenizer.all_special_ids}
    task = rows.training_rows(base, TASK)
    logits = attached.logits_of(base, task)
    adaptation.detach()
    for ours, expected in zip(logits, attached.logits_of(base, rows.begun_with(task, tokens)), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    other = attach(base, "prefix", level=level, start="vocabulary", length=9, seed=2)
    assert other.initial_tokens("one") != tokens


def test_rows_of_the_table_behind_the_last_token_are_never_drawn(tmp_path: Path) -> None:
    """Published tables are often padded to a round number of rows, and those rows were never trained."""
    base = tiny.open_base(tmp_path)
    tokens = len(base.tokenizer)
    base.model.resize_token_embeddings(50 * tokens)
    drawn = attach(base, "prefix", level="input", start="vocabulary", length=60).initial_tokens("one")
    assert max(drawn) < tokens


@pytest.mark.parametrize("level", LEVELS)
def test_a_random_start_follows_its_seed_and_differs_from_task_to_task(level: str, open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    states = []
    for seed in (0, 0, 1):
        adaptation = attach(base, "prefix", level=level, start="random", length=5, seed=seed, definitions={"a": "", "b": ""})
        states.append(adaptation.state())
        assert adaptation.initial_tokens("a") == ()
        adaptation.detach()
    names = ["vectors"] if level == "input" else ["keys_0", "values_0", "keys_1", "values_1"]
    assert set(states[0]) == {f"prompt_prefix.{task}.{name}" for task in (0, 1) for name in names}
    assert {tensor.shape for tensor in states[0].values()} == {(5, 32) if level == "input" else (1, 2, 5, 8)}
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not any(torch.equal(states[0][name], states[2][name]) for name in states[0])
    drawn = list(states[0].values())
    assert not any(torch.equal(draw, other) for position, draw in enumerate(drawn) for other in drawn[:position])


def test_an_instruction_is_cut_or_said_again_to_a_length(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    words = base.tokenize("Copy it.\n\n")
    for length in (1, 3, 2 * len(words) + 4):
        adaptation = attach(base, "prefix", text="Copy it.", length=length)
        assert list(adaptation.initial_tokens("one")) == [base.bos, *words, *words, *words][:length]
        adaptation.detach()
    adaptation = attach(base, "prefix", text="Copy it. " * 100)
    assert len(adaptation.initial_tokens("one")) == base.context // 4


# --- where rows stand -------------------------------------------------------------------------------------------------------


def by_hand(base: Base, adaptation: Adaptation, ids: tuple[int, ...]) -> torch.Tensor:
    """Logits of one row after the prefix's parameters, through the library alone, nothing padded and nothing shared."""
    state = adaptation.state()
    tokens = torch.tensor([ids])
    if "prompt_prefix.0.vectors" in state:
        vectors = state["prompt_prefix.0.vectors"][None]
        embedded = torch.cat([vectors, base.model.get_input_embeddings()(tokens)], dim=1)
        return base.model(inputs_embeds=embedded).logits[0, vectors.shape[1] :]
    cache = DynamicCache()
    for layer in range(len(state) // 2):
        cache.update(state[f"prompt_prefix.0.keys_{layer}"], state[f"prompt_prefix.0.values_{layer}"], layer)
    m = cache.get_seq_length()
    positions = {"position_ids": torch.arange(m, m + len(ids))[None]} if base.takes_positions else {}
    mask = torch.ones(1, m + len(ids), dtype=torch.long)
    logits: torch.Tensor = base.model(input_ids=tokens, attention_mask=mask, past_key_values=cache, **positions).logits[0]
    return logits


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_a_trained_prefix_equals_the_library_given_its_parameters(
    shape: str, level: str, open_base: Callable[[str], Base]
) -> None:
    base = open_base(shape)
    adaptation = attach(base, "prefix", level=level)
    stir(adaptation)
    task = rows.training_rows(base, TASK, 4, definition=False)
    for shared in (True, False):
        for row, logits in zip(task.rows, attached.logits_of(base, task, shared=shared), strict=True):
            whole = by_hand(base, adaptation, (*task.prefixes[row.prefix].ids, *row.ids))
            expected = whole[-row.target_tokens - 1 : -1]
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    decoding = rows.decoding_rows(base, TASK, 3, definition=False)
    texts = []
    for row in decoding.rows:
        ids = [*decoding.prefixes[row.prefix].ids, *row.ids]
        start = len(ids)
        while len(ids) < start + 6 and ids[-1] not in base.eos:
            ids.append(int(by_hand(base, adaptation, tuple(ids))[-1].argmax()))
        texts.append(base.detokenize([token for token in ids[start:] if token not in base.eos]))
    assert greedy(base, decoding) == texts


CHAT = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"


@pytest.mark.parametrize("template", ["plain", "chat"])
@pytest.mark.parametrize(("start", "position"), [("instruction", 0), ("vocabulary", 0), ("random", 5)])
def test_a_row_has_one_bos(start: str, position: int, template: str, tmp_path: Path) -> None:
    base = tiny.open_base(tmp_path)
    base.tokenizer.chat_template = CHAT
    adaptation = attach(base, "prefix", start=start, length=5)
    options = PromptOptions(template="chat" if template == "chat" else "plain")
    prompt = build_prompt(TASK, TASK.positive_examples[:1], options, render_chat=base.render_chat)
    task = base.encoder("one").training_rows(prompt, [("1", "a river", "river a")])
    assert len(task.prefixes) == 2
    for prefix in task.prefixes:
        assert len(prefix.kinds) == len(prefix.ids)
        row = (*(adaptation.initial_tokens("one") or (-1,) * 5), *prefix.ids, *task.rows[0].ids)
        assert [at for at, token in enumerate(row) if token == base.bos] == [position]


@pytest.mark.parametrize("level", LEVELS)
def test_its_positions_count_against_the_context(level: str, tmp_path: Path) -> None:
    base = tiny.open_base(tmp_path, max_position_embeddings=160)
    whole, m = base.encoder("one").context, 37
    attach(base, "prefix", level=level, length=m)
    assert base.encoder("one").context == whole - m == 160 - 37
    pairs = [("long", "river " * 200, "the end")]
    task = base.encoder("one").training_rows(rows.prompt(TASK, definition=False), pairs)
    assert task.cuts["input"] == 1
    assert m + len(task.prefixes[task.rows[0].prefix].ids) + len(task.rows[0].ids) == 160
    assert attached.loss_of(base, task) > 0


def test_too_long_a_prefix_is_refused_in_a_sentence(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    attach(base, "prefix", length=64).detach()
    with pytest.raises(ConfigError, match=r"65 positions .* context \(256\)") as caught:
        attach(base, "prefix", length=65)
    assert (caught.value.where, caught.value.hint) == ("method.length", "at most 64")
    assert base.learned_prefix is None
    assert not hasattr(base.model, "prompt_prefix")


# --- training ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma3", "bloom"])
def test_shared_is_plain_in_loss_and_every_gradient(shape: str, level: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    adaptation = attach(base, "prefix", level=level)
    stir(adaptation, 0.1)
    task = rows.over_several_prefixes(rows.training_rows(base, TASK, 7, demonstrations=2, definition=False))
    assert {len(prefix.ids) > 0 for prefix in task.prefixes} == {True, False}, "one row has nothing but P before it"
    shared, plain = (attached.gradients(base, adaptation, task, shared=way) for way in (True, False))
    assert set(plain[1]) == set(adaptation.trainable())
    reached = [name for name, gradient in plain[1].items() if gradient.abs().max() > 0]
    # Targets stand behind the window of six: in the last layer, which slides, nothing that they see has seen P.
    hidden = {"prompt_prefix.0.keys_6", "prompt_prefix.0.values_6"} if shape == "gemma3" else set()
    assert set(plain[1]) - set(reached) == (hidden if level == "kv" else set())
    attached.assert_same_gradients(shared, plain)


def test_prefixes_of_several_tasks_train_together(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    definitions = {"one": "Reverse.", "said": "Say the last word first, then the one before it.", "idle": "Nothing."}
    adaptation = attach(base, "prefix", definitions=definitions)
    assert len(adaptation.initial_tokens("one")) != len(adaptation.initial_tokens("said"))
    tasks = [rows.training_rows(base, rows.task(name), definition=False) for name in ("one", "said")]
    before, losses = adaptation.state(), [attached.loss_of(base, task) for task in tasks]
    attached.fit(base, adaptation, *tasks, steps=8, lr=0.3)
    moved = {name.split(".")[1] for name, tensor in adaptation.state().items() if not torch.equal(tensor, before[name])}
    assert moved == {"1", "2"}, "in alphabetical order: idle, one, said"
    assert all(attached.loss_of(base, task) < loss for task, loss in zip(tasks, losses, strict=True))
    attached.assert_same_gradients(*(attached.gradients(base, adaptation, *tasks, shared=way) for way in (True, False)))
    with pytest.raises(UnknownNameError, match="'onne'") as caught:
        base.encoder("onne")
    assert "'one'" in (caught.value.hint or "")


def test_a_shared_prefix_serves_every_task(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation = attach(base, "prefix", scope="shared", text="Do it.", definitions={"one": "A.", "two": "B."})
    assert len(adaptation.trainable()) == 4
    assert adaptation.initial_tokens("one") == adaptation.initial_tokens("of a later stage") != ()
    assert attached.loss_of(base, rows.training_rows(base, rows.task("never seen"))) > 0


def test_what_cannot_start_is_refused_with_a_way_out(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    with pytest.raises(ConfigError, match="2 definitions cannot start one shared prefix") as caught:
        attach(base, "prefix", scope="shared", definitions={"one": "A.", "two": "B."})
    assert caught.value.where == "method.text"
    assert "method.scope=task" in (caught.value.hint or "")
    with pytest.raises(ConfigError, match="0 definitions"):
        attach(base, "prefix", scope="shared", definitions={})
    with pytest.raises(ConfigError, match="needs to know the tasks"):
        attach(base, "prefix", definitions={})
    assert base.learned_prefix is None
    attach(base, "prefix", scope="shared", definitions={"one": "A.", "two": "A."}).detach()
    attach(base, "prefix", scope="shared", start="random", definitions={}).detach()


def test_bases_that_cannot_continue_a_computed_state_are_refused(tmp_path: Path) -> None:
    base = tiny.open_base(tmp_path, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0})
    with pytest.raises(ConfigError, match="cannot continue a computed prefix"):
        attach(base, "prefix")


@pytest.mark.parametrize("shape", SIZES)
def test_parameters_are_counted_by_the_formula(shape: str, open_base: Callable[[str], Base]) -> None:
    """2 m h over the layers, h the key-value heads times their size; m d."""
    layers, heads, size, d = SIZES[shape]
    base = open_base(shape)
    m = 7
    for level, formula in (("kv", layers * 2 * m * heads * size), ("input", m * d)):
        adaptation = attach(base, "prefix", level=level, length=m)
        task = rows.training_rows(base, TASK, 4)
        assert attached.numbers(adaptation) == formula
        attached.fit(base, adaptation, task, steps=1)
        assert attached.numbers(adaptation) == formula
        adaptation.detach()


def test_saved_files_are_checked(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")
    two = {"one": "A.", "two": "B."}
    saved = attach(base, "prefix", length=6, definitions=two)
    saved.save(tmp_path)
    saved.detach()
    for options, definitions in (
        ({"length": 5}, two),
        ({"length": 6, "level": "input"}, two),
        ({"length": 6}, {"one": "A.", "three": "B."}),
        ({"length": 6}, {"one": "A."}),
        ({"length": 6, "scope": "shared", "text": "A."}, two),
    ):
        other = attach(base, "prefix", definitions=definitions, **options)
        before = other.state()
        with pytest.raises(DataError, match="holds prefix"):
            other.load(tmp_path)
        assert all(torch.equal(tensor, before[name]) for name, tensor in other.state().items())
        other.detach()
    (tmp_path / "prefix.json").write_text("[]")
    with pytest.raises(DataError, match="no task"):
        attach(base, "prefix", length=6, definitions=two).load(tmp_path)


def test_prefixes_find_their_tasks_whatever_order_they_are_named_in(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")
    first = attach(base, "prefix", length=6, definitions={"one": "A.", "two": "B."})
    stir(first)
    first.save(tmp_path)
    loss = attached.loss_of(base, rows.training_rows(base, TASK))
    first.detach()
    again = attach(base, "prefix", length=6, definitions={"two": "B.", "one": "A."})
    again.load(tmp_path)
    assert attached.loss_of(base, rows.training_rows(base, TASK)) == loss


@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma3"])
def test_gradient_checkpointing(shape: str, open_base: Callable[[str], Base]) -> None:
    """It drops keys and values, so that level kv is refused and nothing is ever trained without its prefix; level input works."""
    base = open_base(shape)
    task = rows.training_rows(base, TASK, 5, definition=False)
    for level in LEVELS:
        adaptation = attach(base, "prefix", level=level)
        stir(adaptation, 0.1)
        plain = attached.gradients(base, adaptation, task)
        base.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if level == "kv":
            with pytest.raises(RunError, match=r"^a prefix of keys and values [^.]*$") as caught:
                attached.gradients(base, adaptation, task)
            assert "level=input" in (caught.value.hint or "")
            assert attached.loss_of(base, task) > 0, "in evaluation nothing is recomputed"
        else:
            attached.assert_same_gradients(attached.gradients(base, adaptation, task), plain)
        base.model.gradient_checkpointing_disable()
        adaptation.detach()


@pytest.mark.parametrize("level", LEVELS)
def test_float32_parameters_on_a_bf16_base(level: str, base_folder: Callable[[str], Path]) -> None:
    base = load_base(str(base_folder("llama")), device="cpu", precision="bf16")
    adaptation = attach(base, "prefix", level=level)
    before = adaptation.state()
    assert {tensor.dtype for tensor in before.values()} == {torch.float32}
    task = rows.training_rows(base, TASK, definition=False)
    attached.fit(base, adaptation, task, lr=1e-4)
    after = adaptation.state()
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    # Steps far below the resolution of bf16 are not lost.
    assert all(0 < (after[name] - before[name]).abs().max() < 1e-3 for name in before)
    assert all(isinstance(text, str) for text in greedy(base, rows.decoding_rows(base, TASK, 2, definition=False)))


# --- decoding ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma3", "bloom"])
def test_beams_are_the_librarys_own(shape: str, level: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    adaptation = attach(base, "prefix", level=level)
    tokens = adaptation.initial_tokens("one")
    decoding = rows.decoding_rows(base, TASK, 4, definition=False)
    options = {"strategy": "beam", "beams": 3}
    texts = greedy(base, decoding, **options, batch_size=4)
    assert greedy(base, decoding, **options, batch_size=1) == texts
    stir(adaptation)
    moved = greedy(base, decoding, **options, batch_size=4)
    assert moved == greedy(base, decoding, **options, batch_size=1) != texts
    adaptation.detach()
    for row, text in zip(decoding.rows, texts, strict=True):
        ids = torch.tensor([[*tokens, *decoding.prefixes[row.prefix].ids, *row.ids]])
        output = base.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            num_beams=3,
            do_sample=False,
            early_stopping=True,
            max_new_tokens=6,
        )
        assert base.detokenize(output[0, ids.shape[1] :].tolist()) == text


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma3"])
def test_beams_of_rows_of_any_length_are_those_of_each_row_alone(
    shape: str, level: str, shared: bool, open_base: Callable[[str], Base]
) -> None:
    """Rows that differ by more tokens than there are between the learned prefix and them: what is cut would be the prefix."""
    base = open_base(shape)
    stir(attach(base, "prefix", level=level), 1.0)
    decoding = rows.decoding_rows(base, TASK, 4, demonstrations=0, definition=False)
    lengths = [len(row.ids) for row in decoding.rows]
    assert max(lengths) - min(lengths) > len(decoding.prefixes[0].ids)

    def texts(batch_size: int) -> list[str]:
        return decode(
            base, decoding, DecodeOptions(strategy="beam", beams=2, batch_size=batch_size), max_new_tokens=6, shared=shared
        )

    assert texts(4) == texts(1)


@pytest.mark.parametrize("level", LEVELS)
def test_sampling_draws_what_the_base_fed_the_tokens_draws(level: str, open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation = attach(base, "prefix", level=level)
    tokens = adaptation.initial_tokens("one")
    decoding = rows.decoding_rows(base, TASK, 5, definition=False)

    def sampled(of: EncodedTask, seed: int, **options: Any) -> list[str]:
        return decode(base, of, DecodeOptions(strategy="sample", **options), max_new_tokens=6, seed=seed)

    texts = sampled(decoding, 0)
    assert sampled(decoding, 0) == texts != sampled(decoding, 1)
    assert sampled(decoding, 0, top_k=1, batch_size=1) == sampled(decoding, 1, top_k=1) == greedy(base, decoding)
    adaptation.detach()
    assert sampled(rows.begun_with(decoding, tokens), 0) == texts
