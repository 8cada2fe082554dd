"""Full fine-tuning: every parameter of the base is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import nn

from xeric.bases.base import Base
from xeric.bases.tensors import read_tensors, write_tensors
from xeric.errors import ConfigError, DataError
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions, ParameterGroup, detached_on_failure
from xeric.search_space import Range

__all__ = ["Full", "FullOptions"]

_FILE = "weights.safetensors"


class FullOptions(MethodOptions):
    """Options of full fine-tuning: none beyond the run's own."""

    name: Literal["full"] = "full"


class _FullAdaptation(Adaptation):
    """Trains the base's own parameters in float32; their values before training are kept on the CPU for :meth:`detach`."""

    def __init__(self, base: Base) -> None:
        super().__init__(base)
        self._before = {name: p.detach().to("cpu", copy=True) for name, p in base.model.named_parameters()}
        with detached_on_failure(self):
            for parameter in base.model.parameters():
                # Small updates vanish in bf16 weights; autocast still computes in bf16.
                parameter.data = parameter.data.float()
                parameter.requires_grad_(True)

    def groups(self) -> list[ParameterGroup]:
        # Tied weights appear once: named_parameters() gives each parameter a single name.
        matrices: dict[str, nn.Parameter] = {}
        vectors: dict[str, nn.Parameter] = {}
        for name, parameter in self.base.model.named_parameters():
            (matrices if parameter.ndim > 1 else vectors)[name] = parameter
        return [
            ParameterGroup("weights", matrices),
            ParameterGroup("norms and biases", vectors, weight_decay=False),
        ]

    def save(self, folder: Path) -> None:
        write_tensors(folder / _FILE, {name: tensor.cpu().contiguous() for name, tensor in self.state().items()})

    def load(self, folder: Path) -> None:
        tensors = read_tensors(folder / _FILE, "weights")
        try:
            self.load_state(tensors)
        except (KeyError, DataError) as error:
            raise DataError("holds no weights of this base", where=str(folder / _FILE), hint=str(error)) from None

    def detach(self) -> None:
        for name, parameter in self.base.model.named_parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
            parameter.data = self._before[name].to(parameter.device)

    def merge(self) -> None:
        """Change nothing: the base's own weights are what was trained."""
        self.base.model.requires_grad_(False)


class Full(Method):
    """Full fine-tuning, the paper's first row of Table 1."""

    Options = FullOptions
    default_lr = 2e-5
    search_space = {"train.lr": Range(low=2e-6, high=2e-4)}

    @classmethod
    def seeded(cls, options: FullOptions) -> bool:
        """Return False: it starts at the base's own weights."""
        return False

    @classmethod
    def attach(cls, base: Base, options: FullOptions, *, seed: int, definitions: Mapping[str, str] = NO_TASKS) -> Adaptation:
        """Make every parameter of the base trainable; the seed plays no part, since nothing is initialised.

        Raises:
            ConfigError: the base's weights are kept in four bits.
        """
        if base.precision == "4bit":
            raise ConfigError("four-bit weights cannot be trained", where="method.name", hint="use lora, or --precision bf16")
        return _FullAdaptation(base)
