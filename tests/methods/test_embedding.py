"""Fused embeddings: what is added where, worked out by hand, in training and at every step of decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests import attached, rows, tiny
from tests.attached import attach, stir
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.data.rows import EncodedTask
from xeric.decoding import DecodeOptions, decode
from xeric.errors import ConfigError, DataError, RunError
from xeric.methods.base import Adaptation

SHAPES = ["llama", "qwen3", "gpt2", "gemma3", "mistral", "bloom"]
TASK = rows.task("one")
PREFIX, INSTRUCTION, DEMONSTRATION, INPUT, TARGET = range(5)
_STATE_SPACE = dict(model_type="mamba2", hidden_size=32, num_hidden_layers=2, state_size=8, num_heads=8, head_dim=8, n_groups=1)
_HYBRID = dict(
    model_type="lfm2",
    num_hidden_layers=3,
    layer_types=["conv", "full_attention", "conv"],
    hidden_size=32,
    intermediate_size=64,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
)


def greedy(base: Base, task: EncodedTask, *, shared: bool = True, **options: Any) -> list[str]:
    return decode(base, task, DecodeOptions(**{"batch_size": 3, **options}), max_new_tokens=6, shared=shared)


class ByHand:
    """Logits of single rows from embeddings summed here, through the library alone: nothing padded, cached or shared."""

    def __init__(self, base: Base, adaptation: Adaptation) -> None:
        self.base, self.state = base, {name: p.detach() for name, p in adaptation.trainable().items()}
        definition = ([] if base.bos is None else [base.bos]) + base.tokenize(f"{TASK.definition}\n\n")
        self.definition = tuple(definition)

    def part(self, name: str, index: list[int]) -> torch.Tensor | float:
        if f"fused_embedding.{name}.table" not in self.state:
            return 0.0
        gate = self.state[f"fused_embedding.{name}.gate"]
        return torch.stack([gate * self.state[f"fused_embedding.{name}.table"][i] for i in index])

    def row(self, prefix: tuple[int, ...], given: tuple[int, ...], target: tuple[int, ...]) -> torch.Tensor:
        """Logits of every position of a row; the learned vectors in front of it, if there are any, are taken off again."""
        ids = (*prefix, *given, *target)
        words = F.embedding(torch.tensor(ids), self.base.model.get_input_embeddings().weight)
        if self.base.model.config.model_type == "gemma3_text":
            words = words * 32**0.5
        learned = self.state.get("prompt_prefix.0.vectors", words[:0])
        definition = len(self.definition) if prefix[: len(self.definition)] == self.definition else 0
        kinds = [PREFIX] * len(learned) + [INSTRUCTION] * definition + [DEMONSTRATION] * (len(prefix) - definition)
        kinds += [INPUT] * len(given) + [TARGET] * len(target)
        fused = torch.cat([learned, words]) + self.part("position", list(range(len(kinds)))) + self.part("segment", kinds)
        logits: torch.Tensor = self.base.model(inputs_embeds=fused[None]).logits[0]
        return logits[len(learned) :]

    def check(self, task: EncodedTask) -> None:
        """The engine's logits at the targets, both ways."""
        for shared in (True, False):
            for row, logits in zip(task.rows, attached.logits_of(self.base, task, shared=shared), strict=True):
                given, target = row.ids[: row.target_start], row.ids[row.target_start :]
                whole = self.row(task.prefixes[row.prefix].ids, given, target)
                torch.testing.assert_close(logits, whole[-len(target) - 1 : -1], rtol=1e-4, atol=1e-4)

    def greedy(self, task: EncodedTask, steps: int = 6) -> list[str]:
        """Texts, each token from the whole row computed anew."""
        texts = []
        for row in task.rows:
            new: tuple[int, ...] = ()
            while len(new) < steps:
                token = int(self.row(task.prefixes[row.prefix].ids, row.ids, new)[-1].argmax())
                if token in self.base.eos:
                    break
                new = (*new, token)
            texts.append(self.base.detokenize(list(new)))
        return texts

    def beams(self, task: EncodedTask, width: int, steps: int = 6) -> list[str]:
        """Texts of beam search, written down as the textbook has it; no text may end early."""
        texts = []
        for row in task.rows:
            kept: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
            for _ in range(steps):
                grown = []
                for score, new in kept:
                    scores = self.row(task.prefixes[row.prefix].ids, row.ids, new)[-1].log_softmax(-1)
                    grown += [(score + float(scores[token]), (*new, int(token))) for token in scores.topk(2 * width).indices]
                kept = sorted(grown, reverse=True)[:width]
                assert not any(new[-1] in self.base.eos for _, new in sorted(grown, reverse=True)[: 2 * width])
            texts.append(self.base.detokenize(list(kept[0][1])))
        return texts


@pytest.mark.parametrize("shape", SHAPES)
def test_closed_gates_are_exactly_the_base(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    task, decoding = rows.training_rows(base, TASK, 4), rows.decoding_rows(base, TASK, 4)
    logits, texts = attached.logits_of(base, task), greedy(base, decoding)
    attach(base, "embedding")
    assert all(torch.equal(ours, plain) for ours, plain in zip(attached.logits_of(base, task), logits, strict=True))
    assert greedy(base, decoding) == texts


def test_first_the_gates_move_then_the_tables(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation = attach(base, "embedding")
    task = rows.training_rows(base, TASK, 4)
    gates = {f"fused_embedding.{name}.gate" for name in ("position", "segment")}
    _, at_start = attached.gradients(base, adaptation, task)
    assert {name for name, gradient in at_start.items() if gradient.abs().max() > 0} == gates
    attached.fit(base, adaptation, task, steps=1)
    _, after = attached.gradients(base, adaptation, task)
    reached = after["fused_embedding.segment.table"].abs().amax(1) > 0
    assert reached.tolist() == [False, True, True, True, True], "without a learned prefix nothing is of its segment"
    longest = max(len(task.prefix_of(row).ids) + len(row.ids) for row in task.rows)
    reached = after["fused_embedding.position.table"].abs().amax(1) > 0
    assert reached[: longest - 1].all()
    assert not reached[longest:].any()


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_it_equals_sums_made_by_hand(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    adaptation = attach(base, "embedding")
    stir(adaptation)
    hand = ByHand(base, adaptation)
    hand.check(rows.training_rows(base, TASK, 4, demonstrations=2))
    decoding = rows.decoding_rows(base, TASK, 4)
    assert len({len(row.ids) for row in decoding.rows}) > 1, "some are padded"
    texts = hand.greedy(decoding)
    for shared in (True, False):
        assert greedy(base, decoding, shared=shared) == texts
        assert greedy(base, decoding, shared=shared, batch_size=1) == texts


@pytest.mark.parametrize("shape", ["llama", "gemma3", "bloom"])
@torch.no_grad()
def test_beams_stand_where_their_rows_stand(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    adaptation = attach(base, "embedding")
    stir(adaptation)
    decoding = rows.decoding_rows(base, TASK, 3)
    texts = ByHand(base, adaptation).beams(decoding, 3)
    assert greedy(base, decoding, strategy="beam", beams=3) == texts != greedy(base, decoding)


@pytest.mark.parametrize("settings", [_STATE_SPACE, _HYBRID], ids=["mamba2", "lfm2"])
@torch.no_grad()
def test_bases_whose_state_is_not_keys_and_values(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share no prefix and keep a cache of their own, which is none of ours to count columns by."""
    monkeypatch.setitem(tiny.SHAPES, "other", settings)
    base = tiny.open_base(tmp_path, "other")
    adaptation = attach(base, "embedding")
    stir(adaptation)
    hand = ByHand(base, adaptation)
    hand.check(rows.training_rows(base, TASK, 2))
    decoding = rows.decoding_rows(base, TASK, 3)
    # One by one: padding on the left reaches into a recurrent state, with this method and without.
    assert greedy(base, decoding, batch_size=1) == hand.greedy(decoding)


@pytest.mark.parametrize("level", ["input", "kv"])
@pytest.mark.parametrize("shape", ["llama", "gemma3", "bloom"])
@torch.no_grad()
def test_behind_a_learned_prefix(shape: str, level: str, open_base: Callable[[str], Base]) -> None:
    """Vectors get positions 0..m-1 and the segment of the prefix; after keys and values the rows' positions begin at m."""
    base = open_base(shape)
    parts = [attach(base, "prefix", level=level, length=9), attach(base, "embedding")]
    stir(parts[1])
    task, decoding = rows.training_rows(base, TASK, 4, definition=False), rows.decoding_rows(base, TASK, 3, definition=False)
    if level == "input":
        stir(parts[0])
        hand = ByHand(base, parts[1])
        hand.state |= parts[0].state()
        hand.check(task)
        assert greedy(base, decoding) == hand.greedy(decoding)
        return
    tables = parts[1].trainable()
    logits, texts = attached.logits_of(base, task), greedy(base, decoding)
    # Keys and values are states already: nothing is added to them, and no row takes one of their positions.
    tables["fused_embedding.position.table"][:9] += 5.0
    tables["fused_embedding.segment.table"][PREFIX] += 5.0
    assert all(torch.equal(ours, same) for ours, same in zip(attached.logits_of(base, task), logits, strict=True))
    assert greedy(base, decoding) == texts
    tables["fused_embedding.position.table"][9] += torch.randn(32, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(attached.logits_of(base, task)[0], logits[0])


@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma3", "bloom"])
@pytest.mark.parametrize("prefix", [None, "kv", "input"])
def test_shared_is_plain_in_loss_and_every_gradient(shape: str, prefix: str | None, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    if prefix:
        attach(base, "prefix", level=prefix, length=5)
    adaptation = attach(base, "embedding")
    stir(adaptation, 0.1)
    task = rows.over_several_prefixes(rows.training_rows(base, TASK, 6, demonstrations=2))
    shared, plain = (attached.gradients(base, adaptation, task, shared=way) for way in (True, False))
    assert set(plain[1]) == set(adaptation.trainable())
    attached.assert_same_gradients(shared, plain)


@pytest.mark.parametrize("shape", ["gpt2", "opt"])
def test_a_base_with_a_position_table_gets_no_second_one(shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tiny.SHAPES, "opt", tiny.OPT)
    base = tiny.open_base(tmp_path, shape)
    adaptation = attach(base, "embedding")
    assert set(adaptation.trainable()) == {"fused_embedding.segment.table", "fused_embedding.segment.gate"}
    assert attached.numbers(adaptation) == 6 * 32
    adaptation.detach()
    with pytest.raises(ConfigError, match="position table of its own") as caught:
        attach(base, "embedding", segment=False)
    assert caught.value.where == "method.segment"
    assert base.embedding_addition is None
    assert not base.input_embeddings._forward_hooks


def test_parameters_are_counted_by_the_formula(open_base: Callable[[str], Base]) -> None:
    """(N + 1) d and 6 d, N at most the context."""
    base = open_base("llama")
    for options, formula in (
        ({}, (256 + 1) * 32 + 6 * 32),
        ({"positions": 40}, (40 + 1) * 32 + 6 * 32),
        ({"positions": 40, "segment": False}, (40 + 1) * 32),
        ({"position": False}, 6 * 32),
    ):
        adaptation = attach(base, "embedding", **options)
        assert attached.numbers(adaptation) == formula
        attached.fit(base, adaptation, rows.training_rows(base, TASK, 4), steps=1)
        assert attached.numbers(adaptation) == formula
        adaptation.detach()
    with pytest.raises(ConfigError, match="neither positions nor segments"):
        attach(base, "embedding", position=False, segment=False)


@torch.no_grad()
def test_what_stands_behind_the_table_uses_its_last_row(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation = attach(base, "embedding", positions=20)
    stir(adaptation)
    hand = ByHand(base, adaptation)
    table = hand.state["fused_embedding.position.table"]
    hand.state["fused_embedding.position.table"] = torch.cat([table, table[-1:].expand(236, -1)])
    hand.check(rows.training_rows(base, TASK, 2))


def test_the_model_called_past_the_engine_says_what_is_missing(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation = attach(base, "embedding")
    with pytest.raises(RunError, match="where a row's tokens stand") as caught:
        base.model(input_ids=torch.tensor([[5, 6, 7]]))
    assert "decode()" in (caught.value.hint or "")
    adaptation.detach()
    assert base.model(input_ids=torch.tensor([[5, 6, 7]])).logits.shape == (1, 3, tiny.VOCABULARY)


def test_saved_files_are_checked(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")
    saved = attach(base, "embedding", positions=30)
    saved.save(tmp_path)
    saved.detach()
    for options in ({"positions": 31}, {"positions": 30, "segment": False}):
        other = attach(base, "embedding", **options)
        with pytest.raises(DataError, match="other places or sizes"):
            other.load(tmp_path)
        other.detach()


def test_gradient_checkpointing_changes_no_gradient(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation = attach(base, "embedding")
    stir(adaptation, 0.1)
    task = rows.training_rows(base, TASK, 4)
    plain = attached.gradients(base, adaptation, task)
    base.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    attached.assert_same_gradients(attached.gradients(base, adaptation, task), plain)


def test_float32_parameters_on_a_bf16_base(base_folder: Callable[[str], Path]) -> None:
    base = load_base(str(base_folder("llama")), device="cpu", precision="bf16")
    adaptation = attach(base, "embedding")
    task = rows.training_rows(base, TASK)
    attached.fit(base, adaptation, task, lr=1e-4)
    after = adaptation.state()
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    assert all(0 < after[f"fused_embedding.{name}.gate"].abs().max() < 1e-3 for name in ("position", "segment"))
    assert len(greedy(base, rows.decoding_rows(base, TASK, 2))) == 2
