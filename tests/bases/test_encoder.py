"""Encoders as generators: bidirectional over the prompt, causal over the target, a [MASK] for each token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from tests import rows, tiny
from tests.attached import attach, gradients, logits_of, loss_of, stir
from tests.bases.naive import greedy
from xeric.bases.base import Base
from xeric.bases.encoder import BidirectionalEncoder
from xeric.bases.loading import load_base
from xeric.decoding import DecodeOptions, decode
from xeric.errors import DataError, RunError

SHAPES = ["bert", "roberta", "electra", "distilbert", "modernbert"]
MASK, SEP = 4, 2


def architecture(base: Base) -> BidirectionalEncoder:
    assert isinstance(base.architecture, BidirectionalEncoder)
    return base.architecture


@torch.no_grad()
def by_hand(base: Base, prompt: list[int], written: list[int]) -> torch.Tensor:
    """Logits of the next token: [prompt, written, MASK], the mask drawn cell by cell, nothing behind the [MASK]."""
    ids = [*prompt, *written, MASK]
    p, total = len(prompt), len(ids)
    window = getattr(base.model.config, "sliding_window", None)
    masks = {
        kind: torch.full((1, 1, total, total), torch.finfo(torch.float32).min) for kind in ("full_attention", "sliding_attention")
    }
    for query in range(total):
        for key in range(total):
            if key < p or (query >= p and key <= query):
                masks["full_attention"][0, 0, query, key] = 0.0
                if window is None or abs(query - key) <= window:
                    masks["sliding_attention"][0, 0, query, key] = 0.0
    mask = masks["full_attention"] if window is None else masks
    first = architecture(base).first_position
    extra = {"token_type_ids": torch.tensor([[0] * p + [1] * (total - p)])} if architecture(base).token_types else {}
    positions = torch.arange(first, first + total)[None]
    output = base.model(input_ids=torch.tensor([ids]), attention_mask=mask, position_ids=positions, **extra)
    return output.logits[0, -1]


@pytest.mark.parametrize("shape", SHAPES)
def test_one_pass_gives_every_token_what_writing_it_next_would(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    task = rows.training_rows(base, rows.task("one"), 4)
    for row, logits in zip(task.rows, logits_of(base, task), strict=True):
        prompt, target = [*task.prefix_of(row).ids, *row.ids[: row.target_start]], list(row.ids[row.target_start :])
        assert (prompt[0], prompt[-1], target[-1]) == (1, SEP, SEP)
        for number in range(len(target)):
            torch.testing.assert_close(logits[number], by_hand(base, prompt, target[:number]), rtol=1e-4, atol=1e-4)


def test_the_prompt_is_read_in_both_directions(open_base: Callable[[str], Base]) -> None:
    """In the first layer nothing but the prompt's own states can carry a later token to an earlier one."""
    base = open_base("bert")
    states: list[torch.Tensor] = []
    base.model.bert.encoder.layer[0].register_forward_hook(lambda *call: states.append(call[2]))
    for last in ("the red boats", "the red dog"):
        encoded = base.encoder("one").training_rows(rows.prompt(rows.task("one"), 0), [("a", last, "river")])
        logits_of(base, encoded)
    assert (states[0][0, 0] - states[1][0, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_texts_are_those_of_the_plainest_decoding(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    task = rows.decoding_rows(base, rows.task("said"))
    expected = greedy(base, task, 8)
    assert len(set(expected)) > 3
    for size in (1, 5):
        assert decode(base, task, DecodeOptions(batch_size=size), max_new_tokens=8) == expected
    assert architecture(base).keeps_states == (shape not in ("distilbert", "modernbert"))


@pytest.mark.parametrize(("shape", "level"), [("bert", "kv"), ("bert", "input"), ("roberta", "kv"), ("distilbert", "input")])
def test_texts_after_a_learned_prefix(shape: str, level: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    before = decode(base, rows.decoding_rows(base, rows.task("one")), DecodeOptions(), max_new_tokens=8)
    stir(attach(base, "prefix", level=level), 2.0)
    task = rows.decoding_rows(base, rows.task("one"))
    texts = decode(base, task, DecodeOptions(batch_size=5), max_new_tokens=8)
    assert texts == greedy(base, task, 8)
    assert texts != before


@pytest.mark.parametrize(
    "strategy", [{"strategy": "beam", "beams": 3}, {"strategy": "mbr", "candidates": 2}, {"strategy": "sample"}]
)
def test_kept_states_change_no_text(strategy: dict[str, object], open_base: Callable[[str], Base]) -> None:
    """Beam search changes rows between steps; what they have written must then be computed again."""
    base = open_base("bert")
    stir(attach(base, "combined"), 0.5)
    task = rows.decoding_rows(base, rows.task("one"))
    options = DecodeOptions(batch_size=6, **strategy)  # type: ignore[arg-type]
    texts = decode(base, task, options, max_new_tokens=8, seed=3)
    assert len(set(texts)) > 3
    base.learned_prefix = None  # keys and values need the cache
    kept = decode(base, task, options, max_new_tokens=8, seed=3)
    architecture(base).keeps_states = False
    assert decode(base, task, options, max_new_tokens=8, seed=3) == kept


def test_token_types_tell_prompt_and_target_apart(open_base: Callable[[str], Base]) -> None:
    base = open_base("bert")
    task = rows.training_rows(base, rows.task("one"))
    loss = loss_of(base, task)
    with torch.no_grad():
        base.model.bert.embeddings.token_type_embeddings.weight[1] += torch.linspace(-1, 1, 32)
    assert loss_of(base, task) != pytest.approx(loss, rel=1e-4)


def test_positions_begin_where_the_base_counts_from(tmp_path: Path) -> None:
    base = tiny.open_base(tmp_path, "roberta")
    # One position before the first one is that of padding.
    assert (architecture(base).first_position, base.context) == (1, 256)
    full = rows.prompt(rows.task("one"), 0)
    encoded = base.encoder("one").training_rows(full, [("a", "the river " * 100, "with three red boats")])
    assert encoded.cuts == {"input": 1}
    assert len(encoded.prefixes[0].ids) + len(encoded.rows[0].ids) == 256
    loss_of(base, encoded)


def test_gradient_checkpointing(open_base: Callable[[str], Base]) -> None:
    base = open_base("bert")
    task = rows.training_rows(base, rows.task("one"), 4)
    adaptation = attach(base, "lora")
    plain = gradients(base, adaptation, task)[1]
    with base.recomputing():
        again = gradients(base, adaptation, task)[1]
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient)
    adaptation.detach()
    adaptation = attach(base, "prefix")
    with base.recomputing(), pytest.raises(RunError, match="gradient checkpointing"):
        gradients(base, adaptation, task)


def test_an_encoder_without_its_output_layer_is_refused_with_a_hint(tmp_path: Path) -> None:
    folder = tiny.write_base(tmp_path / "whole", "bert")
    AutoModel.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(DataError, match="lack") as caught:
        load_base(str(folder), device="cpu", precision="fp32")
    assert "output layer" in (caught.value.hint or "")


@pytest.mark.parametrize("family", ["deberta-v2", "convbert", "mpnet", "big_bird"])
def test_a_family_that_takes_no_mask_is_refused_in_a_sentence(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attention of its own; convolutions over tokens; columns that count as positions; attention block by block."""
    settings = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=256)
    monkeypatch.setitem(tiny.ENCODERS, "other", dict(model_type=family, **settings))
    folder = tiny.write_base(tmp_path, "other")
    with pytest.raises(DataError, match="takes no mask from outside"):
        load_base(str(folder), device="cpu", precision="fp32")
