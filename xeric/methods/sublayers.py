"""Where the output of each attention and each feed-forward sub-layer of a base ends, found by watching it run.

Families name and nest their sub-layers differently, some add the residual inside a sub-layer (BLOOM), some keep the
feed-forward maps on the decoder layer itself (OPT, XGLM), some normalise a sub-layer's output before the sum (Gemma 2
and 3, OLMo 2). No list of names holds all of that, and ``post_attention_layernorm`` alone means two different things. So
one short row is run through the base, and the order in which linear maps and norms worked, and on what, says where a
sub-layer's output is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from xeric.bases.base import Base
from xeric.errors import ConfigError

__all__ = ["SubLayers", "find_sublayers", "layers_of"]

_LINEAR = (nn.Linear, Conv1D)


@dataclass(frozen=True)
class SubLayers:
    """The sub-layers of one layer.

    Attributes:
        attentions: names in the base's model of the modules whose outputs are the attentions' summands of the residual sum: the
            output projection, or the norm after that where the family normalises before the sum. One; in the decoder of an
            encoder-decoder base two, over its own tokens and over the encoder's.
        feedforward: likewise of the feed-forward.
        width: length d of all outputs.
    """

    attentions: tuple[str, ...]
    feedforward: str
    width: int


@dataclass(frozen=True, eq=False)
class _Call:
    """One module that worked, on what and with what result."""

    name: str
    module: nn.Module
    given: torch.Tensor
    result: torch.Tensor


def find_sublayers(base: Base) -> list[SubLayers]:
    """Return the sub-layers of every layer, in order, an encoder's before its decoder's. The base is left as it was.

    Raises:
        ConfigError: the base has fused mixture-of-experts feed-forwards, or a layer is not built of one attention and one
            feed-forward that end in linear maps.
    """
    layers = layers_of(base)
    for name, layer in layers.items():
        _refuse_experts(base, name, layer)
    with _recorded(base.model, layers) as calls, torch.no_grad(), base.autocast(), base.mode(training=False):
        base.architecture.run_a_row(base)
    return [_sublayers_of(base, name, layer, calls[name]) for name, layer in layers.items()]


def layers_of(base: Base) -> dict[str, nn.Module]:
    """Return the layers by name, an encoder's before its decoder's.

    They are, in each stack, the outermost list of as many modules as the config counts layers.

    Raises:
        ConfigError: there is no such list.
    """
    model: Any = base.model
    sides = ("encoder", "decoder") if base.architecture.name == "seq2seq" else ("decoder",)
    layers: dict[str, nn.Module] = {}
    for side in sides:
        stack = model if len(sides) == 1 else getattr(model, f"get_{side}")()
        config = model.config.get_text_config(**{side: True})
        count = getattr(config, f"num_{side}_layers", None) or getattr(config, "num_hidden_layers", None)
        lists = [m for m in stack.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
        if not lists:
            raise ConfigError(
                f"{base.name} ({model.config.model_type}) has no list of its {count} {side} layers",
                where="method.name",
                hint="use method lora",
            )
        name = next(name for name, module in model.named_modules() if module is lists[0])
        layers |= {f"{name}.{number}": layer for number, layer in enumerate(lists[0])}
    return layers


def _refuse_experts(base: Base, name: str, layer: nn.Module) -> None:
    for inner, module in layer.named_modules():
        stacked = not isinstance(module, nn.modules.conv._ConvNd) and any(p.ndim == 3 for p in module.parameters(recurse=False))
        if stacked or inner.rpartition(".")[2] == "experts":
            raise ConfigError(
                f"{base.name} has mixture-of-experts feed-forwards ({name}.{inner}), which have no one output projection",
                where="method.name",
                hint="use method lora",
            )


@contextmanager
def _recorded(model: nn.Module, layers: dict[str, nn.Module]) -> Iterator[dict[str, list[_Call]]]:
    """Record the calls of linear maps and of norms (whatever has weights and holds no linear map) in each layer."""
    calls: dict[str, list[_Call]] = {name: [] for name in layers}

    def hook_for(layer: str, name: str) -> Any:
        def record(module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
            if args and isinstance(args[0], torch.Tensor) and isinstance(result, torch.Tensor):
                calls[layer].append(_Call(name, module, args[0], result))

        return record

    with ExitStack() as stack:
        for layer_name, layer in layers.items():
            for name, module in layer.named_modules():
                if name and next(module.children(), None) is None and next(module.parameters(), None) is not None:
                    handle = module.register_forward_hook(hook_for(layer_name, f"{layer_name}.{name}"))
                    stack.callback(handle.remove)
        yield calls


def _sublayers_of(base: Base, name: str, layer: nn.Module, calls: list[_Call]) -> SubLayers:
    width = base.model.config.get_text_config(decoder=True).hidden_size
    attentions = [
        f"{child}."
        for child, module in _blocks(name, layer)
        if _says_attention(child.rpartition(".")[2], module) and any(isinstance(inner, _LINEAR) for inner in module.modules())
    ]
    linear = [call for call in calls if isinstance(call.module, _LINEAR)]
    inside = [[call for call in linear if call.name.startswith(attention)] for attention in attentions]
    last = [own_calls[-1] for own_calls in inside if own_calls]
    outside = [call for call in linear if not call.name.startswith(tuple(attentions))]
    most = 2 if base.architecture.name == "seq2seq" else 1
    if not 1 <= len(last) <= most or any(call.result.shape[-1] != width for call in last):
        raise _unknown(base, f"no one attention in {name} that ends in a linear map to {width} channels")
    if not outside or outside[-1].result.shape[-1] != width:
        raise _unknown(base, f"no feed-forward in {name} that ends in a linear map to {width} channels")
    return SubLayers(tuple(_summand(call, calls).name for call in last), _summand(outside[-1], calls).name, width)


def _blocks(name: str, layer: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the children of a layer by name; those of a list where it keeps them in one (T5)."""
    children = list(layer.named_children())
    if len(children) == 1 and isinstance(children[0][1], nn.ModuleList):
        return [(f"{name}.{children[0][0]}.{number}", block) for number, block in enumerate(children[0][1])]
    return [(f"{name}.{child}", module) for child, module in children]


def _says_attention(name: str, module: nn.Module) -> bool:
    return any("attention" in text or "attn" in text for text in (name.lower(), type(module).__name__.lower()))


def _summand(call: _Call, calls: list[_Call]) -> _Call:
    """Return the call whose result goes into the residual sum: follow norms that take exactly what ``call`` gave.

    Dropout is no step here: in evaluation mode it hands on the values it was given.
    """
    for later in calls[calls.index(call) + 1 :]:
        same = later.given.shape[-1] == call.result.shape[-1] and later.given.numel() == call.result.numel()
        if same and not isinstance(later.module, _LINEAR) and torch.equal(later.given.flatten(), call.result.flatten()):
            call = later
    return call


def _unknown(base: Base, missing: str) -> ConfigError:
    kind = base.model.config.model_type
    return ConfigError(
        f"{base.name} ({kind}) has {missing}: a bottleneck needs layers of one attention and one feed-forward, each "
        "ending in a linear map to the model's width",
        where="method.name",
        hint="use method lora",
    )
