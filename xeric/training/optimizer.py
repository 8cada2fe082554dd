"""How weights move while a base is pretrained: AdamW, or Muon for the matrices inside the layers and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field

from xeric.config import Config

__all__ = ["Optimizer", "OptimizerOptions"]


class OptimizerOptions(Config):
    """Optimiser of a pretraining (``optimizer.*``).

    Attributes:
        kind: ``adamw`` (Loshchilov & Hutter 2019), or ``muon`` (Jordan et al. 2024): orthogonalised momentum for matrices inside
            layers, AdamW for the embedding and the norms.
        lr: learning rate at its height; Muon's steps are scaled to the size of AdamW's (Liu et al. 2025), so that one rate serves
            both.
        beta1: of AdamW.
        beta2: of AdamW.
        weight_decay: on matrices, embedding included.
        clip: largest norm of the gradient; 0 is no clipping.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(default=3e-3, gt=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float = Field(default=1.0, ge=0)


class Optimizer:
    """One or two torch optimisers over a model's named parameters."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], options: OptimizerOptions) -> None:
        self.options = options
        self.parameters = dict(parameters)
        muon = {
            n: p for n, p in parameters.items() if options.kind == "muon" and p.ndim == 2 and "embed" not in n and "head" not in n
        }
        rest = {n: p for n, p in parameters.items() if n not in muon}
        decayed = [p for p in rest.values() if p.ndim > 1]
        plain = [p for p in rest.values() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=options.lr, betas=(options.beta1, options.beta2), foreach=False
        )
        self._parts: list[torch.optim.Optimizer] = [adamw]
        if muon:
            self._parts.append(
                torch.optim.Muon(
                    list(muon.values()),
                    lr=options.lr,
                    weight_decay=options.weight_decay,
                    momentum=0.95,
                    adjust_lr_fn="match_rms_adamw",
                )
            )

    def step(self, factor: float) -> float:
        """Clip gradients, step at ``factor`` times the full learning rate, drop gradients; return the norm before clipping."""
        limit = self.options.clip or float("inf")
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit, foreach=False))
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = self.options.lr * factor
            part.step()
            part.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, torch.Tensor]:
        """Return what the optimisers remember, by ``parameter name / entry``."""
        found: dict[str, torch.Tensor] = {}
        for part in self._parts:
            for name, parameter in self.parameters.items():
                for entry, value in part.state.get(parameter, {}).items():
                    found[f"{name}/{entry}"] = value
        return found

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what :meth:`state` returned."""
        owners = {id(p): part for part in self._parts for group in part.param_groups for p in group["params"]}
        for key, tensor in tensors.items():
            name, _, entry = key.rpartition("/")
            parameter = self.parameters[name]
            # AdamW itself keeps its step count on the CPU; moments go where the parameter is.
            owners[id(parameter)].state[parameter][entry] = tensor.clone().to(parameter.device if tensor.ndim else "cpu")
