"""Gates on the parts of the combined method: they start at the base, scale what the formulas say, and are reported."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from tests import attached, rows, tiny
from tests.attached import attach, stir
from xeric.bases.base import Base
from xeric.config import digest
from xeric.data.rows import EncodedTask
from xeric.decoding import DecodeOptions, decode
from xeric.errors import ConfigError, DataError, RunError
from xeric.methods.base import Adaptation, method_options
from xeric.methods.combined import GatedAdaptation
from xeric.run.gates import gate_values

TASK = rows.task("one")
TWO = {"one": "Turn the words around.", "two": "Say the last word first."}
KINDS = ["scalar", "token"]
SHAPES = ["llama", "qwen3", "gpt2", "gemma3", "mistral", "t5", "bart", "mbart", "bert", "roberta"]
SMALL = {"prefix": {"length": 7, "start": "random"}, "embedding": {"positions": 50}, "lora": {"rank": 3}}


def gated(base: Base, kind: str, **options: Any) -> Any:
    return attach(base, "combined", definitions=TWO, **{**SMALL, "gate": kind, **options})


def texts_of(base: Base, **options: Any) -> list[str]:
    decoding = rows.decoding_rows(base, TASK, 4)
    return decode(base, decoding, DecodeOptions(batch_size=3, **options), max_new_tokens=6)


def of_gates(gradients: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([gradient.flatten() for name, gradient in gradients.items() if name.startswith("part_gates")])


# --- the start --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_start_is_the_base_to_the_bit_whatever_the_prefix_starts_as(
    shape: str, kind: str, open_base: Callable[[str], Base]
) -> None:
    base = open_base(shape)
    task = rows.training_rows(base, TASK, 4)
    logits, loss, texts = attached.logits_of(base, task), attached.loss_of(base, task), texts_of(base)
    for start in ("random", "instruction"):
        adaptation = gated(base, kind, prefix={"start": start})
        assert adaptation.initial_tokens("one") == ()
        assert rows.training_rows(base, TASK, 4) == task, "a gated prefix takes no position and no BOS token of the rows"
        assert all(torch.equal(*pair) for pair in zip(attached.logits_of(base, task), logits, strict=True))
        assert attached.loss_of(base, task) == loss
        assert texts_of(base) == texts
        assert {float(gate.mean) for gate in gate_values(base, adaptation, [task])["prefix"]} == {0.0}
        assert {float(gate.mean) for gate in gate_values(base, adaptation, [task])["lora"]} == {1.0}
        adaptation.detach()


def test_without_gates_a_run_is_the_one_it_was() -> None:
    """Hashes of the options as they were before there were gates: they go into the names of runs."""
    pinned = {
        "85ffa7e871b8e2f3": {},
        "dc9ec49f77c1bc39": {"prefix": False},
        "fd5407da8f053f43": {"lora": {"rank": 4}, "lr_scale": {"lora": 2.0}},
    }
    for hash_, options in pinned.items():
        for gate in ({}, {"gate": "none"}):
            made = method_options({"name": "combined", **options, **gate})
            assert digest(made.model_dump(mode="json"))[:16] == hash_
    made = method_options({"name": "combined", "gate": "token", "lr_scale": {"gate": 3.0}})
    assert method_options(made.model_dump(mode="json")) == made


# --- formulas ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_is_attended_to_with_a_softmax_of_its_own(kind: str, open_base: Callable[[str], Base]) -> None:
    """softmax(q K^T) V + tanh(gate) softmax(q K_P^T) V_P, computed by hand for the first layer of a Llama."""
    base = open_base("llama")
    task = rows.training_rows(base, TASK, 1)
    layer: Any = base.model.model.layers[0]
    given: list[torch.Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda _, args: given.append(args[0])),
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _, args: given.append(args[0])),
    ]
    attached.logits_of(base, task, shared=False)
    states, plain = given
    adaptation = gated(base, kind, lora=False, embedding=False)
    stir(adaptation)
    given.clear()
    attached.logits_of(base, task, shared=False)
    moved = given[1]
    for handle in handles:
        handle.remove()
    state = adaptation.state()
    attention, length = layer.self_attn, states.shape[1]
    query = attention.q_proj(layer.input_layernorm(states)).view(1, length, 4, 8).transpose(1, 2)
    cos, sin = base.model.model.rotary_emb(states, torch.arange(length)[None])
    query, _ = apply_rotary_pos_emb(query, query, cos, sin)
    # Two key-value heads serve four heads of queries.
    keys, values = (state[f"prompt_prefix.0.{part}_0"].repeat_interleave(2, dim=1) for part in ("keys", "values"))
    beside = ((query @ keys.transpose(2, 3)) / math.sqrt(8)).softmax(-1) @ values
    gate = state["part_gates.0.offset"]
    if kind == "token":
        gate = gate + (states / states.norm(dim=-1, keepdim=True)) @ state["part_gates.0.direction"][:, None]
    expected = plain + torch.tanh(gate) * beside.transpose(1, 2).reshape(1, length, 32)
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-5)
    assert (moved - plain).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_lora_is_scaled_layer_by_layer(kind: str, open_base: Callable[[str], Base]) -> None:
    """y = x W + g s x A B, g = 2 sigmoid(gate of the layer): by hand for one linear map, whose input is not the layer's."""
    base = open_base("llama")
    adaptation = gated(base, kind, prefix=False, embedding=False)
    stir(adaptation)
    task = rows.training_rows(base, TASK, 1)
    layer: Any = base.model.model.layers[1]
    seen: dict[str, Any] = {}
    handles = [
        layer.register_forward_pre_hook(lambda _, args: seen.update(states=args[0])),
        layer.mlp.down_proj.register_forward_hook(lambda _, args, output: seen.update(x=args[0], y=output)),
    ]
    attached.logits_of(base, task, shared=False)
    for handle in handles:
        handle.remove()
    state, down = adaptation.state(), layer.mlp.down_proj
    a, b = (state[f"model.layers.1.mlp.down_proj.lora_{part}.default.weight"] for part in "AB")
    gate = state["part_gates.1.offset"]
    if kind == "token":
        gate = gate + F.normalize(seen["states"], dim=-1) @ state["part_gates.1.direction"][:, None]
    added = 2 * torch.sigmoid(gate) * 2.0 * (seen["x"] @ a.T @ b.T)
    torch.testing.assert_close(seen["y"], seen["x"] @ down.get_base_layer().weight.T + added, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_lora_is_scaled_token_by_token_where_a_layer_takes_all_rows_as_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPT's feed-forward takes ``[B T, d]``: by hand for the second map, several rows of different lengths in a batch."""
    monkeypatch.setitem(tiny.SHAPES, "opt", tiny.OPT)
    base = tiny.open_base(tmp_path, "opt")
    adaptation = gated(base, kind)
    stir(adaptation, 0.1)
    layer: Any = base.model.model.decoder.layers[1]
    seen: dict[str, Any] = {}
    layer.register_forward_pre_hook(lambda _, args: seen.update(states=args[0]))
    layer.fc2.register_forward_hook(lambda _, args, output: seen.update(x=args[0], y=output))
    task = rows.training_rows(base, TASK, 4)
    logits = attached.logits_of(base, task, shared=False)
    assert seen["x"].ndim == 2, "OPT no longer takes all rows as one"
    state, up = adaptation.state(), layer.fc2
    a, b = (state[f"model.decoder.layers.1.fc2.lora_{part}.default.weight"] for part in "AB")
    (gate,) = (g for where, g in adaptation.gates.by_part["lora"].items() if where.endswith("layers.1"))
    scale = gate(seen["states"]).flatten()[:, None] if kind == "token" else gate(None)
    assert kind == "scalar" or scale.std() > 1e-3
    expected = up.get_base_layer()(seen["x"]) + scale * 2.0 * (seen["x"] @ a.T @ b.T)
    torch.testing.assert_close(seen["y"], expected, rtol=1e-4, atol=1e-4)
    for row, together in zip(task.rows, logits, strict=True):
        alone, _ = base.target_logits(task.prefixes[row.prefix], [row], shared=False)
        torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-3)
    assert len(texts_of(base)) == 4


@pytest.mark.parametrize("shape", ["t5", "bart"])
def test_maps_of_the_cross_attention_are_gated_by_the_tokens_that_they_read(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    adaptation = gated(base, "token", prefix=False, embedding=False)
    stir(adaptation)
    # Prompts and targets of different lengths, and both in one batch.
    shared = attached.gradients(base, adaptation, rows.training_rows(base, TASK, 5))
    assert set(shared[1]) == set(adaptation.trainable())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["llama", "gemma3", "t5", "bert"])
def test_gradients_are_those_of_finite_differences(shape: str, kind: str, open_base: Callable[[str], Base]) -> None:
    """Along the gradient itself, where the slope is its length: of each part's gates and of the gated prefix."""
    base = open_base(shape)
    adaptation = gated(base, kind)
    stir(adaptation, 0.1)
    task, step = rows.training_rows(base, TASK, 4), 3e-3
    _, gradients = attached.gradients(base, adaptation, task)
    trained = adaptation.trainable()
    gates = {
        part: [id(p) for gate in by_layer.values() for p in gate.parameters()]
        for part, by_layer in adaptation.gates.by_part.items()
    }
    sets = {part: [name for name, p in trained.items() if id(p) in ids] for part, ids in gates.items()}
    sets["values"] = [name for name in trained if name.startswith("prompt_prefix.0.values")]
    for part, names in sets.items():
        along = {trained[name]: gradients[name] for name in names}
        size = math.sqrt(sum(float((direction**2).sum()) for direction in along.values()))
        assert attached.slope(base, task, along, step) == pytest.approx(size, rel=0.03, abs=3e-4), part


# --- the engine -------------------------------------------------------------------------------------------------------------


def two_tasks(base: Base) -> list[EncodedTask]:
    return [rows.over_several_prefixes(rows.training_rows(base, rows.task(name), 5, demonstrations=2)) for name in ("one", "two")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["llama", "qwen3", "gpt2", "gemma3", "mistral"])
def test_packed_shared_and_plain_are_the_same(shape: str, kind: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    adaptation = gated(base, kind)
    stir(adaptation, 0.1)
    values = {}
    for way, packs in (("packed", True), ("shared", False), ("plain", False)):
        base.packs_rows = packs
        values[way] = attached.gradients(base, adaptation, *two_tasks(base), shared=way != "plain")
    base.packs_rows = None
    assert base.batching() == "packed", "it can still be packed with a gated prefix on it"
    expected = values["plain"]
    for way in ("packed", "shared"):
        # A scalar gate's gradient is a sum of what nearly cancels, so all gates are compared together.
        torch.testing.assert_close(
            of_gates(values[way][1]), of_gates(expected[1]), rtol=0, atol=float(1e-5 * of_gates(expected[1]).abs().max())
        )
        rest = [(losses, {n: g for n, g in parts.items() if "part_gates" not in n}) for losses, parts in (values[way], expected)]
        attached.assert_same_gradients(*rest)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["llama", "gemma3", "t5", "bert"])
def test_texts_do_not_depend_on_how_they_are_computed(shape: str, kind: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    before = texts_of(base)
    adaptation = gated(base, kind)
    stir(adaptation, 0.3)
    decoding = rows.decoding_rows(base, TASK, 5)
    texts = decode(base, decoding, DecodeOptions(batch_size=2), max_new_tokens=6)
    assert texts != before
    assert decode(base, decoding, DecodeOptions(batch_size=5), max_new_tokens=6) == texts
    assert decode(base, decoding, DecodeOptions(batch_size=5), max_new_tokens=6, shared=False) == texts
    beams = [
        decode(base, decoding, DecodeOptions(strategy="beam", beams=2, batch_size=size), max_new_tokens=6) for size in (1, 5)
    ]
    assert beams[0] == beams[1]


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_is_refused(kind: str, open_base: Callable[[str], Base]) -> None:
    """Layers are computed again in the backward pass, where neither a row's task nor a layer's input is known any more."""
    base = open_base("llama")
    task = rows.training_rows(base, TASK, 5)
    adaptation = gated(base, kind)
    with base.recomputing(), pytest.raises(RunError, match=r"gradient checkpointing|recomputed"):
        attached.gradients(base, adaptation, task)
    assert attached.loss_of(base, task) > 0, "in evaluation nothing is recomputed"


# --- parts, files, merging --------------------------------------------------------------------------------------------------


def test_each_part_has_a_gate_for_each_layer_and_all_train_at_their_own_rate(open_base: Callable[[str], Base]) -> None:
    base = open_base("t5")
    adaptation = gated(base, "token")
    layers = [f"{side}.block.{n}" for side in ("encoder", "decoder") for n in range(2)]
    by_part = {part: list(gates) for part, gates in adaptation.gates.by_part.items()}
    assert by_part == {"prefix": layers[2:], "embedding": ["embedding"], "lora": layers}
    group = adaptation.groups()[-1]
    assert (group.name, group.lr_scale, group.weight_decay) == ("gates", 50.0, False)
    assert sum(p.numel() for p in group.parameters.values()) == 7 * (1 + 32)
    assert set(group.parameters) <= adaptation.carried()


def test_gates_are_read_back_and_others_are_refused(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")
    adaptation = gated(base, "scalar")
    stir(adaptation)
    adaptation.save(tmp_path)
    adaptation.detach()
    other = gated(base, "token")
    before = other.state()
    with pytest.raises(DataError, match="gates of another kind"):
        other.gates.load(tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state().items())
    other.detach()
    (tmp_path / "gates.safetensors").unlink()
    with pytest.raises(DataError, match="holds no gates"):
        gated(base, "scalar").load(tmp_path)


def test_scalar_gates_of_lora_are_merged_and_gates_of_tokens_are_not(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    task = rows.training_rows(base, TASK, 4)
    alone = {"prefix": False, "embedding": False}
    adaptation = gated(base, "token", **alone)
    with pytest.raises(RunError, match="depend on tokens cannot be merged"):
        adaptation.merge()
    adaptation.detach()
    adaptation = gated(base, "scalar", **alone)
    stir(adaptation, 0.2)
    loss, texts = attached.loss_of(base, task), texts_of(base)
    adaptation.merge()
    assert attached.loss_of(base, task) == pytest.approx(loss, rel=1e-5)
    assert texts_of(base) == texts
    assert not attached.hooks_left(base)
    assert not any("part_gates" in name for name, _ in base.model.named_parameters())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"gate": "vector"}, "'none', 'scalar' or 'token'"),
        ({"gate": "scalar", "prefix": {"level": "input"}}, "is in no layer"),
        ({"gate": "scalar", "lr_scale": {"gate": 0}}, "above 0"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        method_options({"name": "combined", **options})


# --- what they learned ------------------------------------------------------------------------------------------------------


def test_values_are_those_of_the_tokens_of_training_rows(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    adaptation: GatedAdaptation | Adaptation = gated(base, "token")
    stir(adaptation, 0.5)
    tasks = two_tasks(base)
    values = gate_values(base, adaptation, tasks)
    assert {part: len(gates) for part, gates in values.items()} == {"prefix": 2, "embedding": 1, "lora": 2}
    assert all(gate.low < gate.mean < gate.high for gates in values.values() for gate in gates)
    assert gate_values(base, adaptation, tasks) == values
    adaptation.detach()
    assert gate_values(base, attach(base, "combined"), tasks) == {}
