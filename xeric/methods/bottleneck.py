r"""Bottleneck adapters (Houlsby et al. 2019, arXiv 1902.00751, section 2.1; the paper's "adapter").

The output h of a sub-layer becomes h + up(gelu(down(h))) before the residual sum, with down: R^d -> R^m, up: R^m ->
R^d, m << d. The paper puts one on each attention and each feed-forward (``placement: houlsby``); Pfeiffer et al. (2021,
arXiv 2005.00247, section 3.1) found one on the feed-forward alone nearly as good (``placement: pfeiffer``). up = 0,
weight and bias, at the start, so step 0 is exactly the base.

Where a family normalises a sub-layer's output before the sum (Gemma 2 and 3, OLMo 2, GLM 4), h is what enters the sum: the
adapter stands after that norm. In front of it the norm would fix the size of whatever the adapter adds, and h would not be
the summand that Houlsby et al. speak of.

Trainable parameters: 2 d m + m + d per adapter; two adapters per layer (``houlsby``; three in a decoder with cross-attention) or
one (``pfeiffer``). A non-linear adapter has no equal among the base's weights, so it cannot be merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from xeric.bases.base import Base
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions, ParameterGroup
from xeric.methods.module_adaptation import ModuleAdaptation
from xeric.methods.sublayers import find_sublayers
from xeric.search_space import Range

__all__ = ["Bottleneck", "BottleneckOptions"]

_CHILD = "bottleneck"


class BottleneckOptions(MethodOptions):
    """Options of bottleneck adapters.

    Attributes:
        placement: ``houlsby`` (after attention and after feed-forward) or ``pfeiffer`` (after feed-forward only).
        size: bottleneck width m.
        dropout: on the m inner channels, in training.
    """

    name: Literal["bottleneck"] = "bottleneck"
    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    size: int = Field(default=64, ge=1, le=8192)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class _Adapter(nn.Module):
    """h -> h + up(gelu(down(h))); parameters in float32 whatever the base is kept in, the result in the type of h."""

    def __init__(self, width: int, size: int, dropout: float, device: torch.device) -> None:
        super().__init__()
        # Drawn on the CPU, so that a seed means the same weights on every device.
        self.down = nn.Linear(width, size, dtype=torch.float32)
        self.up = nn.Linear(size, width, dtype=torch.float32)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.dropout = dropout
        self.to(device)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        inner = F.gelu(self.down(h.to(self.down.weight.dtype)))
        inner = F.dropout(inner, self.dropout, self.training)
        added: torch.Tensor = self.up(inner)
        return h + added.to(h.dtype)


def _adapted(module: nn.Module, _: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = getattr(module, _CHILD)(output)
    return result


class _BottleneckAdaptation(ModuleAdaptation):
    """Each adapter is a child of the module whose output it takes, called by a forward hook.

    So the base's modules keep their types and names (its state dict only gains keys), and adapters follow the model to other
    devices, into checkpointed layers and into copies.
    """

    unmergeable = "a bottleneck adapter is non-linear, so it cannot be merged into the base's weights"

    def __init__(self, base: Base, options: BottleneckOptions, seed: int) -> None:
        super().__init__(base, options)
        layers = find_sublayers(base)
        both = options.placement == "houlsby"
        sites = [(name, at.width) for at in layers for name in (*(at.attentions if both else ()), at.feedforward)]
        self._modules: list[nn.Module] = []
        self._hooks = []
        modules = [base.model.get_submodule(name) for name, _ in sites]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # All of them before the first is put on: what fails for want of memory fails here, the base as it was.
            adapters = [
                _Adapter(width, options.size, options.dropout, _device(module))
                for module, (_, width) in zip(modules, sites, strict=True)
            ]
        for module, adapter in zip(modules, adapters, strict=True):
            module.add_module(_CHILD, adapter.train(module.training))
            self._modules.append(module)
            self._hooks.append(module.register_forward_hook(_adapted))
        self._names = [f"{name}.{_CHILD}." for name, _ in sites]

    def groups(self) -> list[ParameterGroup]:
        parameters = self.parameters_under(*self._names)
        return [
            ParameterGroup("bottleneck", {n: p for n, p in parameters.items() if p.ndim > 1}),
            ParameterGroup("bottleneck biases", {n: p for n, p in parameters.items() if p.ndim == 1}, weight_decay=False),
        ]

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        for module in self._modules:
            delattr(module, _CHILD)
        self._hooks, self._modules = [], []


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


class Bottleneck(Method):
    """Bottleneck adapters, the paper's third row of Table 1.

    The default learning rate lies low in what Houlsby et al. searched (3e-5 to 3e-3): on Gemma 3, whose hidden states are
    large, 3e-4 and more multiply the loss within two steps (docs/log.md).
    """

    Options = BottleneckOptions
    default_lr = 1e-4
    search_space = {"train.lr": Range(low=1e-5, high=1e-3), "method.size": (16, 32, 64, 128, 256)}

    @classmethod
    def mergeable(cls, options: BottleneckOptions) -> bool:
        """Return False: an adapter is not linear."""
        return False

    @classmethod
    def attach(
        cls, base: Base, options: BottleneckOptions, *, seed: int, definitions: Mapping[str, str] = NO_TASKS
    ) -> Adaptation:
        """Put adapters on; down is drawn by the seed (uniform within 1 / sqrt(d)), all else starts at 0.

        Raises:
            ConfigError: the base's sub-layers cannot be told apart, or are mixtures of experts.
        """
        return _BottleneckAdaptation(base, options, seed)
