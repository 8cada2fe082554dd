r"""Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685, section 4.1; the paper's section on LoRA).

In the row convention y = x W, with W in R^{d x k}: W' = W + s A B, A in R^{d x r}, B in R^{r x k}, r << min(d, k). B
= 0 at the start, so step 0 is exactly the base. The scale s is ``alpha / r`` (Hu et al.), ``alpha`` (as the paper
writes it), or ``alpha / sqrt(r)`` (rsLoRA: Kalajdzievski 2023, arXiv 2312.03732). The layers are PEFT's.

Trainable parameters: sum over adapted layers of r (d + k).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from peft import LoraConfig, PeftConfig
from peft.tuners.lora import LoraLayer
from pydantic import Field
from torch import nn
from transformers.pytorch_utils import Conv1D

from xeric.bases.base import Base
from xeric.errors import ConfigError
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions
from xeric.methods.gates import Gate, PartGates
from xeric.methods.peft_adapter import PeftAdaptation, linear_layers, task_type
from xeric.search_space import Range

__all__ = ["Lora", "LoraOptions"]

_ADAPTABLE = (nn.Linear, nn.Embedding, Conv1D)


class LoraOptions(MethodOptions):
    """Options of LoRA.

    Attributes:
        rank: r.
        alpha: numerator of the scale; None takes 2 r under ``alpha/r`` and 1 under ``alpha``, and 2 sqrt(r) under
            ``alpha/sqrt(r)``, so that the scale is 2, 1 and 2.
        scale: which scale s is meant.
        dropout: on the input of A, in training.
        targets: which layers: ``all-linear`` (every linear layer but the output layer) or names of modules (their last part).
    """

    name: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1, le=4096)
    alpha: float | None = Field(default=None, gt=0, le=1e6)
    scale: Literal["alpha/r", "alpha", "alpha/sqrt(r)"] = "alpha/r"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"

    @property
    def scaling(self) -> float:
        """The factor s in W' = W + s A B."""
        if self.alpha is None:
            return 1.0 if self.scale == "alpha" else 2.0
        divisor: dict[str, float] = {"alpha/r": self.rank, "alpha": 1.0, "alpha/sqrt(r)": self.rank**0.5}
        return self.alpha / divisor[self.scale]


class Lora(Method):
    """LoRA through PEFT, the paper's second row of Table 1."""

    Options = LoraOptions
    default_lr = 2e-4
    search_space = {"train.lr": Range(low=3e-5, high=3e-3), "method.rank": (4, 8, 16, 32, 64)}

    @classmethod
    def ungated(cls, options: LoraOptions) -> None:
        """Return None: it takes gates."""

    @classmethod
    def attach(cls, base: Base, options: LoraOptions, *, seed: int, definitions: Mapping[str, str] = NO_TASKS) -> Adaptation:
        """Put A (Kaiming uniform, drawn by the seed) and B = 0 beside the chosen layers.

        Raises:
            ConfigError: a name in ``targets`` is that of no layer of the base, or of one that LoRA cannot adapt.
        """
        config = LoraConfig(
            task_type=task_type(base),
            r=options.rank,
            # Without use_rslora PEFT scales by alpha / r; all three scales are put in terms of that one.
            lora_alpha=options.scaling * options.rank,  # type: ignore[arg-type]  # PEFT only divides it
            lora_dropout=options.dropout,
            target_modules=options.targets if isinstance(options.targets, str) else list(options.targets),
        )
        if not isinstance(options.targets, str):
            _check_targets(base, options.targets)
        return _LoraAdaptation(base, config, seed=seed, name="lora")


class _LoraAdaptation(PeftAdaptation):
    """PEFT's LoRA layers, and the gates on what they add: y = x W + g s x A B, g of the layer that the linear map is in."""

    def __init__(self, base: Base, config: PeftConfig, *, seed: int, name: str) -> None:
        self._gated: list[tuple[nn.Module, Gate]] = []
        self._hooks: list[Any] = []
        super().__init__(base, config, seed=seed, name=name)

    def add_gates(self, gates: PartGates) -> None:
        """Put one gate on all adapted linear maps of a layer; those outside of the layers have none."""
        reads = _reading_the_encoder(self.base)
        for layer in gates.layers:
            inside = [module for name, module in _lora_layers(self.base.model) if name.startswith(f"{layer}.")]
            gate = gates.add(layer, "open") if inside else None
            for linear_map in inside:
                assert gate is not None
                self._add_gate(linear_map, gate, layer, gates, reads_encoder=linear_map in reads)

    def _add_gate(self, linear_map: nn.Module, gate: Gate, layer: str, gates: PartGates, *, reads_encoder: bool) -> None:
        given: list[torch.Tensor] = []

        def note(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            given[:] = args[:1]

        def scale(_: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            factor: torch.Tensor = gate(given.pop() if reads_encoder else gates.states(layer))
            if factor.ndim > 1:  # OPT's feed-forward takes the tokens of all rows one after the other
                factor = factor.reshape(*output.shape[:-1], 1)
            return output * factor.to(output.dtype)

        if reads_encoder:
            self._hooks.append(linear_map.register_forward_pre_hook(note))
        ups: Any = linear_map.lora_B
        for up in ups.values():
            self._hooks.append(up.register_forward_hook(scale))
            self._gated.append((up, gate))

    def merge(self) -> None:
        """Fold A B, and its gate where that is one number, into the base's weights."""
        self.check_mergeable()
        with torch.no_grad():
            for up, gate in self._gated:
                up.get_parameter("weight").mul_(gate(None))
        self._remove_hooks()
        super().merge()

    def detach(self) -> None:
        self._remove_hooks()
        super().detach()

    def _remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._gated, self._hooks = [], []


def _lora_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    modules: list[tuple[str, Any]] = list(model.named_modules())
    return [(name, module) for name, module in modules if issubclass(type(module), LoraLayer)]


def _reading_the_encoder(base: Base) -> set[nn.Module]:
    """Return the LoRA layers of a decoder whose input is what the encoder gave: a gate's states there are the encoder's."""
    if base.architecture.name != "seq2seq":
        return set()
    model: Any = base.model
    encoded: list[torch.Tensor] = []
    reading: set[nn.Module] = set()

    def encoder_ends(_: nn.Module, args: Any, output: Any) -> None:
        encoded.append(output[0])

    def compare(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if encoded and args[0].shape == encoded[0].shape and torch.equal(args[0], encoded[0]):
            reading.add(module)

    with contextlib.ExitStack() as stack, torch.no_grad(), base.autocast(), base.mode(training=False):
        stack.callback(model.get_encoder().register_forward_hook(encoder_ends).remove)
        for _, module in _lora_layers(model.get_decoder()):
            stack.callback(module.register_forward_pre_hook(compare).remove)
        base.architecture.run_a_row(base)
    return reading


def _check_targets(base: Base, targets: Sequence[str]) -> None:
    """Check that at least one of the names is the end of a layer's name, and that LoRA can adapt all that they name."""
    named = {name: module for name, module in base.model.named_modules() if _is_meant(name, targets)}
    unfit = sorted({name.rpartition(".")[2] for name, module in named.items() if not isinstance(module, _ADAPTABLE)})
    if named and not unfit:
        return
    what = f"{', '.join(unfit)} of {base.name}: LoRA adapts linear layers" if named else f"no layer of {base.name} matches"
    raise ConfigError(what, where="method.targets", hint="layers: " + ", ".join(linear_layers(base.model)))


def _is_meant(name: str, targets: Sequence[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)
