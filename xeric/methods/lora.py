r"""Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685, section 4.1; the paper's section on LoRA).

In the row convention y = x W, with W in R^{d x k}: W' = W + s A B, A in R^{d x r}, B in R^{r x k}, r << min(d, k). B
= 0 at the start, so step 0 is exactly the base. The scale s is ``alpha / r`` (Hu et al.), ``alpha`` (as the paper
writes it), or ``alpha / sqrt(r)`` (rsLoRA: Kalajdzievski 2023, arXiv 2312.03732). The layers are PEFT's.

Trainable parameters: sum over adapted layers of r (d + k).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from xeric.bases.base import Base
from xeric.errors import ConfigError, DataError
from xeric.methods.base import Adaptation, Method, MethodOptions, ParameterGroup
from xeric.records import write_json

__all__ = ["Lora", "LoraOptions"]

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"


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
    alpha: float | None = Field(default=None, gt=0)
    scale: Literal["alpha/r", "alpha", "alpha/sqrt(r)"] = "alpha/r"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"

    @property
    def scaling(self) -> float:
        """The factor s in W' = W + s A B."""
        if self.alpha is None:
            return 1.0 if self.scale == "alpha" else 2.0
        divisor: dict[str, float] = {"alpha/r": self.rank, "alpha": 1.0, "alpha/sqrt(r)": self.rank**0.5}
        return self.alpha / divisor[self.scale]


class _LoraAdaptation(Adaptation):
    """PEFT's layers, put into the base's own model; the wrapper that PEFT returns serves saving, merging and unloading only."""

    def __init__(self, base: Base, config: LoraConfig, seed: int) -> None:
        super().__init__(base)
        with torch.random.fork_rng(devices=[base.device] if base.device.type == "cuda" else []):
            torch.manual_seed(seed)
            self._peft = get_peft_model(base.model, config)
        base.model.eval()

    def groups(self) -> list[ParameterGroup]:
        parameters = {name: p for name, p in self.base.model.named_parameters() if ".lora_" in name}
        return [ParameterGroup("lora", parameters)]

    def save(self, folder: Path) -> None:
        tensors = get_peft_model_state_dict(self._peft, save_embedding_layers=False)
        save_file({name: tensor.cpu().contiguous() for name, tensor in sorted(tensors.items())}, folder / _WEIGHTS)
        # PEFT's own writer lists sets in hash order, which changes from process to process.
        config = {key: _plain(value) for key, value in sorted(self._peft.peft_config["default"].to_dict().items())}
        write_json(folder / _CONFIG, {**config, "inference_mode": True})

    def load(self, folder: Path) -> None:
        try:
            tensors = load_file(folder / _WEIGHTS)
            expected = get_peft_model_state_dict(self._peft, save_embedding_layers=False)
            if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in expected.items()}:
                raise DataError("holds a LoRA of other layers or another rank", where=str(folder / _WEIGHTS))
            set_peft_model_state_dict(self._peft, tensors)
        except (OSError, SafetensorError) as error:
            raise DataError("holds no LoRA weights", where=str(folder / _WEIGHTS), hint=str(error).splitlines()[0]) from None

    def detach(self) -> None:
        self._peft.unload()
        self.base.model.requires_grad_(False).eval()

    def merge(self) -> None:
        self._peft.merge_and_unload(safe_merge=True)
        self.base.model.requires_grad_(False).eval()


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in sorted(value.items())}
    return json.loads(json.dumps(value, default=str))


class Lora(Method):
    """LoRA through PEFT, the paper's second row of Table 1."""

    Options = LoraOptions
    default_lr = 5e-4

    @classmethod
    def attach(cls, base: Base, options: LoraOptions, *, seed: int) -> Adaptation:
        """Put A (Kaiming uniform, drawn by the seed) and B = 0 beside the chosen layers.

        Raises:
            ConfigError: no layer of the base has one of the names in ``targets``.
        """
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=options.rank,
            # Without use_rslora PEFT scales by alpha / r; all three scales are put in terms of that one.
            lora_alpha=options.scaling * options.rank,  # type: ignore[arg-type]  # PEFT only divides it
            lora_dropout=options.dropout,
            target_modules=options.targets if isinstance(options.targets, str) else list(options.targets),
        )
        try:
            return _LoraAdaptation(base, config, seed)
        except ValueError as error:
            linear = sorted(
                {n.rpartition(".")[2] for n, m in base.model.named_modules() if hasattr(m, "weight") and m.weight.ndim == 2}
            )
            raise ConfigError(
                f"no layer of {base.name} matches: {str(error).splitlines()[0][:200]}",
                where="method.targets",
                hint="layers: " + ", ".join(linear),
            ) from None
