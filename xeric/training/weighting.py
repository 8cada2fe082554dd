r"""Weights of tasks in the joint objective L_total = sum_j lambda_j L_j (the paper's section on multi-task training).

They reweight the loss, not the sampling, and average 1 over the tasks of a training:

* ``uniform``: lambda_j = 1.
* ``size``: proportional to n_j, the task's training rows.
* ``temperature``: proportional to n_j^(1/T); T = 1 is ``size``, a large T approaches ``uniform``.
* ``manual``: proportional to the user's weights.
* ``uncertainty`` (Kendall et al. 2018, arXiv 1705.07115, section 3.2): one log-variance s_j per task, learned beside the model by
  minimising sum_j exp(-s_j) L_j + s_j / 2; lambda_j is the precision exp(-s_j), scaled to average 1. The s_j start at 0, are kept
  within [-4, 4] and take no weight decay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from xeric.config import Config
from xeric.errors import ConfigError

__all__ = ["WEIGHTINGS", "Weighting", "WeightingOptions"]

WEIGHTINGS = {
    "uniform": "every task counts alike",
    "size": "by the number of training rows",
    "temperature": "by the number of training rows to the power 1/T",
    "uncertainty": "learned log-variances (Kendall et al. 2018)",
    "manual": "as given under train.weighting.weights",
}
_CLAMP = 4.0


class WeightingOptions(Config):
    """Which weighting (``train.weighting.*``).

    Attributes:
        name: of the weighting; ``auto`` is the method's own: ``uncertainty`` for ``combined``, else ``uniform``.
        temperature: T of ``temperature``.
        weights: of ``manual``, by task; only their ratios matter.
        lr_scale: learning rate of the log-variances of ``uncertainty``, times the run's.
    """

    name: Literal["auto", "uniform", "size", "temperature", "uncertainty", "manual"] = "auto"
    temperature: float = Field(default=2.0, ge=1, le=1e6)
    weights: dict[str, Annotated[float, Field(ge=0, le=1e6)]] = {}
    lr_scale: float = Field(default=100.0, gt=0, le=1e6)

    @model_validator(mode="after")
    def _manual_has_weights(self) -> WeightingOptions:
        if (self.name == "manual") != bool(self.weights):
            raise ValueError("weights belong to the weighting 'manual', and it needs them")
        if self.weights and not any(self.weights.values()):
            raise ValueError("weights must not all be 0")
        return self


class Weighting:
    """The weights of a training's tasks, fixed or learned.

    Args:
        options: which weighting.
        sizes: training rows of each task.

    Raises:
        ConfigError: ``manual`` does not give exactly the training's tasks.
    """

    def __init__(self, options: WeightingOptions, sizes: Mapping[str, int]) -> None:
        self.tasks = list(sizes)
        self._log_variances = nn.Parameter(torch.zeros(len(sizes))) if options.name == "uncertainty" else None
        if options.name == "manual" and set(options.weights) != set(sizes):
            raise ConfigError(
                f"gives weights for {', '.join(sorted(options.weights))}",
                where="train.weighting.weights",
                hint=f"give them for {', '.join(sizes)}",
            )
        self._fixed = _average_one({task: _raw(options, task, size) for task, size in sizes.items()})

    def weights(self) -> dict[str, float]:
        """Return lambda of each task; they average 1."""
        if self._log_variances is None:
            return self._fixed
        precisions = torch.exp(-self._log_variances.detach()).tolist()
        return _average_one(dict(zip(self.tasks, precisions, strict=True)))

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the learned log-variances, by name; empty for fixed weights."""
        return {} if self._log_variances is None else {"task log-variances": self._log_variances}

    def backward(self, losses: Mapping[str, float]) -> None:
        """Put the gradient of Kendall's objective on the log-variances: 1/2 - exp(-s_j) L_j for each task in the step, else 0."""
        if self._log_variances is None:
            return
        s = self._log_variances.detach()
        present = torch.tensor([float(task in losses) for task in self.tasks])
        values = torch.tensor([losses.get(task, 0.0) for task in self.tasks])
        self._log_variances.grad = present * 0.5 - torch.exp(-s) * values

    def clamp(self) -> None:
        """Keep the log-variances in their range, after an optimiser step."""
        if self._log_variances is not None:
            with torch.no_grad():
                self._log_variances.clamp_(-_CLAMP, _CLAMP)


def _raw(options: WeightingOptions, task: str, size: int) -> float:
    match options.name:
        case "size":
            return float(size)
        case "temperature":
            return float(size ** (1 / options.temperature))
        case "manual":
            return options.weights[task]
        case _:
            return 1.0


def _average_one(raw: Mapping[str, float]) -> dict[str, float]:
    mean = sum(raw.values()) / len(raw)
    return {task: value / mean for task, value in raw.items()}
