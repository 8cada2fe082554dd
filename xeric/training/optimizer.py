"""The optimiser of a training, AdamW (Loshchilov & Hutter 2019), and its moments by name, as a checkpoint keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from xeric.methods.base import ParameterGroup

__all__ = ["adamw", "load_optimizer", "optimizer_state"]

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def adamw(groups: Iterable[ParameterGroup], lr: float, *, weight_decay: float) -> torch.optim.AdamW:
    """Return the optimiser of parameter groups; each has its peak rate under ``full_lr``.

    Args:
        groups: what trains.
        lr: peak learning rate of a group whose scale is 1.
        weight_decay: of the groups that take it.
    """
    settings = [
        {
            "params": list(group.parameters.values()),
            "lr": lr * group.lr_scale,
            "full_lr": lr * group.lr_scale,
            "weight_decay": weight_decay if group.weight_decay else 0.0,
            "name": group.name,
        }
        for group in groups
    ]
    # Fused: one pass over the parameters, where the usual implementation makes a dozen with temporary tensors.
    return torch.optim.AdamW(settings, lr=lr, fused=True)


def optimizer_state(optimizer: torch.optim.Optimizer, names: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the moments of an AdamW, by ``parameter name / moment``."""
    return {
        f"{name}/{moment}": optimizer.state[parameter][moment]
        for name, parameter in names.items()
        if parameter in optimizer.state
        for moment in _MOMENTS
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Restore the moments that :func:`optimizer_state` returned."""
    for name, parameter in names.items():
        if f"{name}/step" in tensors:
            moments = {moment: tensors[f"{name}/{moment}"].clone() for moment in _MOMENTS}
            # All of them are where the parameter is, the step count too: the fused AdamW keeps them so.
            optimizer.state[parameter] = {moment: tensor.to(parameter.device) for moment, tensor in moments.items()}
