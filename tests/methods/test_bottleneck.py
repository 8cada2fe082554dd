"""Bottleneck adapters: where they stand, what they compute, and that they leave as they came."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests import rows, tiny
from tests.attached import hooks_left, train
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.errors import ConfigError, DataError, RunError
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, method_options
from xeric.training.loss import Rows, step_loss
from xeric.training.options import TrainOptions

_WIDE = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=256)
MORE: dict[str, dict[str, Any]] = {
    "opt": tiny.OPT,
    "gpt_neox": dict(model_type="gpt_neox", **_WIDE),
    "olmo2": dict(model_type="olmo2", **_WIDE),
    "phi3": dict(model_type="phi3", **_WIDE),
    "gemma2": dict(model_type="gemma2", head_dim=8, num_key_value_heads=2, **_WIDE),
    "glm4": dict(model_type="glm4", head_dim=8, num_key_value_heads=2, **_WIDE),
    "xglm": dict(model_type="xglm", d_model=32, ffn_dim=64, num_layers=2, attention_heads=4, max_position_embeddings=256),
}
# Of one decoder layer: whose output goes into the residual sum. The families of the last rows normalise it before that.
PLACES = {
    "llama": ("self_attn.o_proj", "mlp.down_proj"),
    "qwen3": ("self_attn.o_proj", "mlp.down_proj"),
    "mistral": ("self_attn.o_proj", "mlp.down_proj"),
    "phi3": ("self_attn.o_proj", "mlp.down_proj"),
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
    "bloom": ("self_attention.dense", "mlp.dense_4h_to_h"),
    "gpt_neox": ("attention.dense", "mlp.dense_4h_to_h"),
    "opt": ("self_attn.out_proj", "fc2"),
    "xglm": ("self_attn.out_proj", "fc2"),
    "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "gemma3": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "olmo2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "glm4": ("post_self_attn_layernorm", "post_mlp_layernorm"),
}


@pytest.fixture
def any_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Base]:
    """A tiny random base of any shape, those of this file included."""
    for shape, settings in MORE.items():
        monkeypatch.setitem(tiny.SHAPES, shape, settings)
    return lambda shape, **changes: tiny.open_base(tmp_path, shape, **changes)


def attach(base: Base, *, seed: int = 0, **options: Any) -> Adaptation:
    return METHODS.get("bottleneck").attach(base, method_options({"name": "bottleneck", **options}), seed=seed)


def stir(adaptation: Adaptation, scale: float = 0.2) -> None:
    """Give every parameter a value, so that what an adapter adds can be seen."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adaptation.trainable().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def outputs(base: Base, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = base.model(input_ids=ids).logits
    return logits


IDS = torch.tensor([[5, 9, 40, 77, 12, 200, 3, 8]])


def test_every_shape_has_its_places_written_down(any_base: Callable[..., Base]) -> None:
    assert set(PLACES) >= set(tiny.SHAPES)
    assert set(MORE) <= set(PLACES)


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
@pytest.mark.parametrize("shape", PLACES)
def test_only_the_expected_modules_are_adapted(shape: str, placement: str, any_base: Callable[..., Base]) -> None:
    base = any_base(shape)
    keys, types = list(base.model.state_dict()), [(name, type(module)) for name, module in base.model.named_modules()]
    before = outputs(base, IDS)
    adaptation = attach(base, placement=placement, size=5)
    layers = {n: m for n, m in base.model.named_modules() if n.rpartition(".")[0].endswith(("layers", ".h")) and n[-1].isdigit()}
    places = PLACES[shape] if placement == "houlsby" else PLACES[shape][1:]
    assert layers
    assert {name.partition(".bottleneck.")[0] for name in adaptation.trainable()} == {f"{n}.{p}" for n in layers for p in places}
    d, m = 32, 5
    assert sum(p.numel() for p in adaptation.trainable().values()) == len(layers) * len(places) * (2 * d * m + m + d)
    torch.testing.assert_close(outputs(base, IDS), before, rtol=0, atol=0)
    stir(adaptation)
    assert not torch.allclose(outputs(base, IDS), before, atol=1e-2)
    adaptation.detach()
    assert list(base.model.state_dict()) == keys
    assert [(name, type(module)) for name, module in base.model.named_modules()] == types
    assert not hooks_left(base)
    torch.testing.assert_close(outputs(base, IDS), before, rtol=0, atol=0)


def by_hand(h: torch.Tensor, weights: dict[str, torch.Tensor], sublayer: str) -> torch.Tensor:
    """h + up(gelu(down(h))) with nothing of Xeric's, gelu by the error function."""
    inner = h @ weights[f"{sublayer}.bottleneck.down.weight"].T + weights[f"{sublayer}.bottleneck.down.bias"]
    inner = 0.5 * inner * (1 + torch.erf(inner / 2**0.5))
    return h + inner @ weights[f"{sublayer}.bottleneck.up.weight"].T + weights[f"{sublayer}.bottleneck.up.bias"]


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
def test_a_layer_equals_a_hand_computation(placement: str, any_base: Callable[..., Base]) -> None:
    """One Llama layer, sub-layer by sub-layer, with the saved matrices: the adapter stands before each residual sum."""
    base = any_base("llama")
    layer = base.model.model.layers[1]
    seen: dict[str, Any] = {}
    adaptation = attach(base, placement=placement, size=6)
    stir(adaptation)
    weights = {n.removeprefix("model.layers.1."): p for n, p in adaptation.state().items() if n.startswith("model.layers.1.")}
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, kwargs: seen.update(x=args[0], kwargs=kwargs), with_kwargs=True),
        layer.register_forward_hook(lambda _, args, result: seen.update(y=result)),
    ]
    outputs(base, IDS)
    for hook in hooks:
        hook.remove()
    adaptation.detach()
    with torch.no_grad():
        x = seen["x"]
        attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(x), **{**seen["kwargs"], "past_key_values": None})
        x = x + (by_hand(attended, weights, "self_attn.o_proj") if placement == "houlsby" else attended)
        fed = layer.mlp(layer.post_attention_layernorm(x))
        expected = x + by_hand(fed, weights, "mlp.down_proj")
    torch.testing.assert_close(seen["y"], expected, rtol=1e-5, atol=1e-5)


def test_after_the_norm_where_a_family_normalises_before_the_sum(any_base: Callable[..., Base]) -> None:
    base = any_base("gemma3")
    layer = base.model.model.layers[0]
    seen: dict[str, Any] = {}
    adaptation = attach(base, size=6)
    stir(adaptation)
    weights = {n.removeprefix("model.layers.0."): p for n, p in adaptation.state().items() if n.startswith("model.layers.0.")}
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, kwargs: seen.update(x=args[0], kwargs=kwargs), with_kwargs=True),
        layer.register_forward_hook(lambda _, args, result: seen.update(y=result)),
    ]
    outputs(base, IDS)
    for hook in hooks:
        hook.remove()
    adaptation.detach()
    with torch.no_grad():
        x = seen["x"]
        attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(x), **{**seen["kwargs"], "past_key_values": None})
        x = x + by_hand(layer.post_attention_layernorm(attended), weights, "post_attention_layernorm")
        fed = layer.post_feedforward_layernorm(layer.mlp(layer.pre_feedforward_layernorm(x)))
        expected = x + by_hand(fed, weights, "post_feedforward_layernorm")
    torch.testing.assert_close(seen["y"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", ["llama", "gemma3"])
def test_gradient_checkpointing_changes_no_gradient(shape: str, any_base: Callable[..., Base]) -> None:
    base = any_base(shape)
    adaptation = attach(base)
    stir(adaptation, 0.05)
    items = [Rows.of([rows.training_rows(base, rows.task("one"), 4)]).items]
    gradients = []
    for checkpointed in (False, True):
        if checkpointed:
            base.model.gradient_checkpointing_enable()
        with base.mode(training=True):
            step_loss(base, items)
        gradients.append({name: p.grad.clone() for name, p in adaptation.trainable().items() if p.grad is not None})
        for parameter in adaptation.trainable().values():
            parameter.grad = None
    assert set(gradients[0]) == set(adaptation.trainable())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_float32_parameters_on_a_bf16_base(base_folder: Callable[[str], Path]) -> None:
    base = load_base(str(base_folder("llama")), device="cpu", precision="bf16")
    assert next(base.model.parameters()).dtype == torch.bfloat16
    adaptation = attach(base)
    assert {p.dtype for p in adaptation.trainable().values()} == {torch.float32}
    task = rows.training_rows(base, rows.task("one"))
    options = TrainOptions(max_steps=3, batch_size=4)
    assert train(base, adaptation, [task], options, lr=1e-2, order_seed=0, dropout_seed=0).status == "ok"
    assert all(p.detach().abs().sum() > 0 for p in adaptation.trainable().values())
    plain = outputs(base, IDS)  # without autocast: what meets a float32 adapter is bf16
    assert plain.dtype == torch.bfloat16
    with base.autocast():
        assert torch.isfinite(outputs(base, IDS)).all()


def test_dropout_acts_in_training_only(any_base: Callable[..., Base]) -> None:
    base = any_base("llama")
    stir(attach(base, dropout=0.5))
    assert torch.equal(outputs(base, IDS), outputs(base, IDS))
    with base.mode(training=True):
        assert not torch.equal(outputs(base, IDS), outputs(base, IDS))


def test_saved_files_are_checked(any_base: Callable[..., Base], tmp_path: Path) -> None:
    base = any_base("llama")
    adaptation = attach(base, size=4)
    stir(adaptation)
    adaptation.save(tmp_path)
    assert set(load_file(tmp_path / "bottleneck.safetensors")) == set(adaptation.trainable())
    assert json.loads((tmp_path / "bottleneck.json").read_text())["method"]["size"] == 4
    adaptation.detach()
    for options in ({"size": 5}, {"size": 4, "placement": "pfeiffer"}):
        other = attach(base, **options)
        with pytest.raises(DataError, match="other places or sizes"):
            other.load(tmp_path)
        other.detach()
    (tmp_path / "bottleneck.safetensors").write_bytes(b"no weights at all")
    again = attach(base, size=4)
    with pytest.raises(DataError, match="holds no bottleneck weights"):
        again.load(tmp_path)


def test_merging_is_refused_in_a_sentence(any_base: Callable[..., Base]) -> None:
    with pytest.raises(RunError, match="non-linear"):
        attach(any_base("llama")).merge()


@pytest.mark.parametrize("shape", ["mixtral", "qwen3_moe"])
def test_mixtures_of_experts_are_refused(shape: str, any_base: Callable[..., Base], monkeypatch: pytest.MonkeyPatch) -> None:
    experts = {"mixtral": dict(num_local_experts=4), "qwen3_moe": dict(num_experts=4, moe_intermediate_size=16)}[shape]
    monkeypatch.setitem(tiny.SHAPES, shape, dict(model_type=shape, num_key_value_heads=2, head_dim=8, **_WIDE, **experts))
    base = any_base(shape)
    with pytest.raises(ConfigError, match="mixture-of-experts"):
        attach(base)
    assert not any(module._forward_hooks for module in base.model.modules())


def test_a_base_of_another_build_is_refused_with_what_was_looked_for(any_base: Callable[..., Base]) -> None:
    base = any_base("llama")
    base.model.model.layers[1].self_attn.o_proj = nn.Identity()
    with pytest.raises(ConfigError, match="layers of one attention and one feed-forward"):
        attach(base)
    assert not any(module._forward_hooks for module in base.model.modules())


def test_lora_before_and_after_on_the_same_base(any_base: Callable[..., Base]) -> None:
    base = any_base("gpt2")
    before = outputs(base, IDS)
    for name in ("lora", "bottleneck", "lora", "bottleneck"):
        adaptation = METHODS.get(name).attach(base, method_options(name), seed=1)
        stir(adaptation)
        assert not torch.allclose(outputs(base, IDS), before, atol=1e-3)
        adaptation.detach()
        torch.testing.assert_close(outputs(base, IDS), before, rtol=0, atol=0)
