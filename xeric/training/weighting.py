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

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import AfterValidator, Field, model_validator
from torch import nn

from xeric.config import Config
from xeric.errors import ConfigError, suggest
from xeric.methods.base import ParameterGroup
from xeric.registry import Registry

__all__ = ["WEIGHTINGS", "Weighting", "WeightingOptions", "weighting_of"]

WEIGHTINGS: Registry[type[Weighting]] = Registry("weighting", "xeric.weightings")
WEIGHTINGS.register("uniform", f"{__name__}:Uniform", "every task counts alike")
WEIGHTINGS.register("size", f"{__name__}:Size", "by the number of training rows")
WEIGHTINGS.register("temperature", f"{__name__}:Temperature", "by the number of training rows to the power 1/T")
WEIGHTINGS.register("uncertainty", f"{__name__}:Uncertainty", "learned log-variances (Kendall et al. 2018)")
WEIGHTINGS.register("manual", f"{__name__}:Manual", "as given under train.weighting.weights")

_AUTO = "auto"
_CLAMP = 4.0


def _registered(name: str) -> str:
    if name != _AUTO and name not in WEIGHTINGS:
        raise ValueError(f"unknown weighting {name!r}; {suggest(name, [_AUTO, *WEIGHTINGS.names()], 'weighting')}")
    return name


class WeightingOptions(Config):
    """Which weighting (``train.weighting.*``).

    Attributes:
        name: of the weighting; ``auto`` is the method's own: ``uncertainty`` for ``combined``, else ``uniform``.
        temperature: T of ``temperature``.
        weights: of ``manual``, by task; only their ratios matter.
        lr_scale: learning rate of the log-variances of ``uncertainty``, times the run's.
    """

    name: Annotated[str, AfterValidator(_registered)] = _AUTO
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


class Weighting(ABC):
    """The weights of a training's tasks, fixed or learned.

    Args:
        options: which weighting.
        sizes: training rows of each task.
    """

    def __init__(self, options: WeightingOptions, sizes: Mapping[str, int]) -> None:
        self.options = options
        self.sizes = dict(sizes)

    @abstractmethod
    def raw(self) -> dict[str, float]:
        """Return what the weights of the tasks are proportional to, at this step; not all 0."""

    def weights(self) -> dict[str, float]:
        """Return lambda of each task; they average 1."""
        raw = self.raw()
        mean = sum(raw.values()) / len(raw)
        return {task: value / mean for task, value in raw.items()}

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what is learned beside the model, at ``lr_scale`` times the run's rate; nothing for a fixed weighting."""
        return {}

    def groups(self) -> list[ParameterGroup]:
        """Return :meth:`parameters` as the optimiser takes them; empty for a fixed weighting."""
        learned = self.parameters()
        return [ParameterGroup("task weights", learned, lr_scale=self.options.lr_scale, weight_decay=False)] if learned else []

    def backward(self, losses: Mapping[str, float]) -> None:  # noqa: B027 - a fixed weighting learns nothing
        """Put gradients on :meth:`parameters`, from the losses of the tasks in the step; nothing for a fixed weighting."""

    def clamp(self) -> None:  # noqa: B027
        """Keep :meth:`parameters` in their range, after an optimiser step; nothing for a fixed weighting."""


def weighting_of(options: WeightingOptions, sizes: Mapping[str, int]) -> Weighting:
    """Return the weighting that the options name; ``auto``, which a run puts its method's own in the place of, is uniform.

    Args:
        options: which weighting.
        sizes: training rows of each task.

    Raises:
        ConfigError: ``manual`` does not give exactly the training's tasks.
    """
    return WEIGHTINGS.get("uniform" if options.name == _AUTO else options.name)(options, sizes)


class Uniform(Weighting):
    """Every task counts alike."""

    def raw(self) -> dict[str, float]:
        """Return 1 for each task."""
        return dict.fromkeys(self.sizes, 1.0)


class Size(Weighting):
    """By the number of training rows."""

    def raw(self) -> dict[str, float]:
        """Return n_j of each task."""
        return {task: float(size) for task, size in self.sizes.items()}


class Temperature(Weighting):
    """By the number of training rows, flattened."""

    def raw(self) -> dict[str, float]:
        """Return n_j^(1/T) of each task."""
        return {task: float(size ** (1 / self.options.temperature)) for task, size in self.sizes.items()}


class Manual(Weighting):
    """As the user gives them.

    Raises:
        ConfigError: they are not given for exactly the training's tasks.
    """

    def __init__(self, options: WeightingOptions, sizes: Mapping[str, int]) -> None:
        super().__init__(options, sizes)
        if set(options.weights) != set(sizes):
            raise ConfigError(
                f"gives weights for {', '.join(sorted(options.weights))}",
                where="train.weighting.weights",
                hint=f"give them for {', '.join(sizes)}",
            )

    def raw(self) -> dict[str, float]:
        """Return what was given, in the order of the training's tasks."""
        return {task: self.options.weights[task] for task in self.sizes}


class Uncertainty(Weighting):
    """Learned: the precision of each task, from its log-variance s_j."""

    def __init__(self, options: WeightingOptions, sizes: Mapping[str, int]) -> None:
        super().__init__(options, sizes)
        self._log_variances = nn.Parameter(torch.zeros(len(sizes)))

    def raw(self) -> dict[str, float]:
        """Return exp(-s_j) of each task."""
        return dict(zip(self.sizes, torch.exp(-self._log_variances.detach()).tolist(), strict=True))

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the log-variances, ``[tasks]``."""
        return {"task log-variances": self._log_variances}

    def backward(self, losses: Mapping[str, float]) -> None:
        """Put the gradient of Kendall's objective on the log-variances: 1/2 - exp(-s_j) L_j for each task in the step, else 0."""
        s = self._log_variances.detach()
        present = torch.tensor([float(task in losses) for task in self.sizes])
        values = torch.tensor([losses.get(task, 0.0) for task in self.sizes])
        self._log_variances.grad = present * 0.5 - torch.exp(-s) * values

    def clamp(self) -> None:
        """Keep the log-variances in [-4, 4]."""
        with torch.no_grad():
            self._log_variances.clamp_(-_CLAMP, _CLAMP)
