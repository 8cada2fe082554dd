r"""Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685, section 4.1; the paper's section on LoRA).

In the row convention y = x W, with W in R^{d x k}: W' = W + s A B, A in R^{d x r}, B in R^{r x k}, r << min(d, k). B
= 0 at the start, so step 0 is exactly the base. The scale s is ``alpha / r`` (Hu et al.), ``alpha`` (as the paper
writes it), or ``alpha / sqrt(r)`` (rsLoRA: Kalajdzievski 2023, arXiv 2312.03732). The layers are PEFT's.

Trainable parameters: sum over adapted layers of r (d + k).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from peft import LoraConfig
from pydantic import Field
from torch import nn
from transformers.pytorch_utils import Conv1D

from xeric.bases.base import Base
from xeric.errors import ConfigError
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions
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
    search_space = {"train.lr": Range(low=1e-4, high=5e-3), "method.rank": (4, 8, 16, 32, 64)}

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
        return PeftAdaptation(base, config, seed=seed, name="lora")


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
