"""Learned gates on what the parts of a combined method add to a base: one for each part and layer (UniPELT, arXiv 2110.07577).

Mao et al. 2022 (section 3.2) estimate a gate for each part and layer from the layer's input, and let it scale what the part adds.
Two kinds:

- ``scalar``: g = s(b), one learned number b.
- ``token``: g_t = s(b + w . h_t / |h_t|) for each token t, h_t its state at the layer's input. UniPELT averages over all tokens
  of a row; a causal base cannot, as a token would then depend on those after it. Only the direction of h_t counts, since the
  lengths of states differ by orders of magnitude between layers and tokens.

An ``open`` gate is s(x) = 2 sigmoid(x), from 0 to 2. It starts at 1: a part that adds nothing at the start (LoRA, fused
embeddings) begins to learn as it does by itself. A ``closed`` gate is s(x) = tanh(x), from -1 to 1, and starts at 0
(LLaMA-Adapter, arXiv 2303.16199): a part that adds something from the start (a prefix) begins with no effect. b = 0 and w = 0
at the start.

Trainable parameters of each gate: 1 (``scalar``) or 1 + d (``token``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from xeric.bases.base import Base
from xeric.bases.tensors import read_tensors, write_tensors
from xeric.errors import DataError, RunError
from xeric.methods.sublayers import layers_of

__all__ = ["GATES_FILE", "Gate", "GateKind", "Gates", "PartGates"]

GateKind = Literal["scalar", "token"]

GATES_FILE = "gates.safetensors"
_CHILD = "part_gates"


class Gate(nn.Module):
    """One gate; parameters in float32 whatever the base is kept in.

    Args:
        start: ``open`` or ``closed``.
        width: d, length of the states that it depends on; None for a ``scalar`` gate.
    """

    def __init__(self, start: Literal["open", "closed"], width: int | None) -> None:
        super().__init__()
        self.start = start
        self.offset = nn.Parameter(torch.zeros(1))
        self.direction = None if width is None else nn.Parameter(torch.zeros(width))

    def forward(self, states: torch.Tensor | None) -> torch.Tensor:
        """Return the gate: ``[1]`` of a scalar one, ``[..., 1]`` of one for each token of states ``[..., d]``.

        Raises:
            RunError: there are no states that it could depend on.
        """
        logit: torch.Tensor = self.offset
        if self.direction is not None:
            if states is None:
                raise RunError(
                    "gates that depend on tokens cannot be trained under gradient checkpointing, which drops the layers' inputs",
                    hint="set train.gradient_checkpointing=false, or use method.gate=scalar",
                )
            # Not a matrix product: autocast would round it.
            logit = logit + (F.normalize(states.float(), dim=-1) * self.direction).sum(-1, keepdim=True)
        return torch.tanh(logit) if self.start == "closed" else 2 * torch.sigmoid(logit)


class PartGates:
    """The gates of one part.

    Attributes:
        layers: names in the base's model of its layers, an encoder's before a decoder's.
    """

    def __init__(self, owner: Gates, part: str) -> None:
        self._owner, self._part = owner, part
        self.layers = tuple(owner.layers)

    def add(self, where: str, start: Literal["open", "closed"], width: int | None = None) -> Gate:
        """Return a new gate.

        Args:
            where: the layer's name, or that of what else it is on.
            start: ``open`` for what adds nothing at the start, else ``closed``.
            width: d, length of the states that a ``token`` gate is given; None is the base's hidden size.
        """
        return self._owner.add(self._part, where, start, width)

    def states(self, layer: str) -> torch.Tensor | None:
        """Return the states ``[B, T, d]`` at the input of a layer that computes now; None where gates do not depend on them."""
        return self._owner.states.get(layer)


class Gates:
    """The gates of all parts, as a child of the base's model.

    Args:
        base: the parts attached.
        kind: of all gates.

    Raises:
        ConfigError: the base's layers cannot be told apart.
    """

    def __init__(self, base: Base, kind: GateKind) -> None:
        self._base, self._kind = base, kind
        self.layers = layers_of(base)
        self.states: dict[str, torch.Tensor] = {}
        self._gates: dict[str, dict[str, Gate]] = {}
        self._hooks: list[Any] = []
        self._module = nn.ModuleList()
        base.model.add_module(_CHILD, self._module)
        if kind == "token":
            for name, layer in self.layers.items():
                self._watch(name, layer)

    def of(self, part: str) -> PartGates:
        """Return what a part makes its gates with."""
        return PartGates(self, part)

    def add(self, part: str, where: str, start: Literal["open", "closed"], width: int | None) -> Gate:
        """Make a gate; see :meth:`PartGates.add`."""
        d = width or int(self._base.model.config.get_text_config(decoder=True).hidden_size)
        gate = Gate(start, d if self._kind == "token" else None).to(self._base.device)
        self._module.append(gate)
        self._gates.setdefault(part, {})[where] = gate
        return gate

    @property
    def by_part(self) -> Mapping[str, Mapping[str, Gate]]:
        """Gates by part, and by what they are on."""
        return self._gates

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what trains, by name in the base's model."""
        return {f"{_CHILD}.{name}": parameter for name, parameter in self._module.named_parameters()}

    def save(self, folder: Path) -> None:
        """Write all gates as one file."""
        write_tensors(folder / GATES_FILE, {name: p.detach().cpu().contiguous() for name, p in sorted(self._named().items())})

    def load(self, folder: Path) -> None:
        """Read back what :meth:`save` wrote; gates of parts that are not attached now are passed over.

        Raises:
            DataError: there are no such gates, or they are of another kind or of other layers.
        """
        path, expected = folder / GATES_FILE, self._named()
        tensors = read_tensors(path, "gates")
        if any(name not in tensors or tensors[name].shape != parameter.shape for name, parameter in expected.items()):
            raise DataError("holds gates of another kind or of other layers", where=str(path))
        with torch.no_grad():
            for name, parameter in expected.items():
                parameter.copy_(tensors[name])

    def detach(self) -> None:
        """Take the gates off; the parts have let go of them."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        delattr(self._base.model, _CHILD)

    def _named(self) -> dict[str, nn.Parameter]:
        return {
            f"{part}.{where}.{name}": parameter
            for part, gates in self._gates.items()
            for where, gate in gates.items()
            for name, parameter in gate.named_parameters()
        }

    def _watch(self, name: str, layer: nn.Module) -> None:
        """Keep the input of a layer while it computes."""

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.states[name] = args[0] if args else kwargs["hidden_states"]

        def drop(*_: Any) -> None:
            self.states.pop(name, None)

        self._hooks.append(layer.register_forward_pre_hook(keep, with_kwargs=True))
        self._hooks.append(layer.register_forward_hook(drop, always_call=True))
