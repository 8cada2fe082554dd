"""What every method of transfer offers: options, attaching to a base, what it trains, saving, loading, merging, detaching.

A method has no training loop of its own; :mod:`xeric.training.trainer` trains what :meth:`Adaptation.groups` declares
and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from torch import nn

from xeric.bases.architecture import ArchitectureName
from xeric.bases.base import Base
from xeric.config import Config, build
from xeric.data.prompt_options import Setting
from xeric.errors import ConfigError, DataError, RunError, UnknownNameError
from xeric.methods import METHODS, unsupported_methods
from xeric.search_space import Space, rates_around

if TYPE_CHECKING:
    from xeric.methods.gates import PartGates

__all__ = [
    "NO_TASKS",
    "Adaptation",
    "Method",
    "MethodOptions",
    "ParameterGroup",
    "StepZero",
    "attach_carrying",
    "attach_saved",
    "detached_on_failure",
    "method_options",
    "put_back",
]

StepZero = Literal["base", "initial-tokens", "none"]

NO_TASKS: Mapping[str, str] = MappingProxyType({})


class MethodOptions(Config):
    """Options of a method (``method.*``); each method adds its own.

    Attributes:
        name: the method's registered name.
    """

    name: str


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that train with one learning rate.

    Attributes:
        name: of the group, as the log shows it.
        parameters: by their name in the base's model (unique over groups).
        lr_scale: times the run's learning rate.
        weight_decay: whether the run's weight decay applies.
    """

    name: str
    parameters: Mapping[str, nn.Parameter]
    lr_scale: float = 1.0
    weight_decay: bool = True


class Adaptation(ABC):
    """A method attached to a base.

    Attributes:
        base: the base it is attached to.
        unmergeable: why it cannot be merged, for a method that does not say how.
    """

    unmergeable: ClassVar[str] = "this method cannot be merged into the base's weights"

    def __init__(self, base: Base) -> None:
        self.base = base

    @abstractmethod
    def groups(self) -> list[ParameterGroup]:
        """Return what trains; empty where nothing does."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what was trained into an existing folder, safetensors only, the same bytes for the same weights."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read back what :meth:`save` wrote.

        Raises:
            DataError: the folder does not hold what this method saves for this base.
        """

    @abstractmethod
    def detach(self) -> None:
        """Take the method off: the base computes exactly what it computed before :meth:`Method.attach`."""

    def merge(self) -> None:
        """Fold what was trained into the base's own weights; the base then computes the same without the method.

        Raises:
            RunError: the method cannot be expressed in the base's own weights.
        """
        raise RunError(self.unmergeable, hint="export the adapter as it is")

    def add_gates(self, gates: PartGates) -> None:
        """Put a learned gate on what is added to each layer; the gated, untrained method then computes what the base does.

        Args:
            gates: make the gates, and hold what they depend on.

        Raises:
            ConfigError: the base's layers have no place for it.
        """
        raise NotImplementedError("Method.ungated() says why it takes no gates")

    def initial_tokens(self, task: str) -> tuple[int, ...]:
        """Return the tokens that the untrained method stands for in front of a task's rows; none for most methods."""
        return ()

    def carried(self) -> set[str]:
        """Return the names of the parameters that mean the same on other tasks: what goes on into a next stage."""
        return {*self.trainable(), *self.fixed()}

    def fixed(self) -> dict[str, torch.Tensor]:
        """Return what belongs to the trained parameters and does not train itself, by name: statistics of the training data."""
        return {}

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return every parameter that trains, by name, in a fixed order."""
        return {name: parameter for group in self.groups() for name, parameter in group.parameters.items()}

    def state(self) -> dict[str, torch.Tensor]:
        """Return a copy of what trains, and of what belongs to it, by name."""
        return {name: tensor.detach().clone() for name, tensor in (*self.trainable().items(), *self.fixed().items())}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put back what :meth:`state` returned.

        Raises:
            KeyError: a parameter is missing.
            DataError: a parameter has another shape there.
        """
        put_back({**self.trainable(), **self.fixed()}, state)


class Method(ABC):
    """A way of adapting a base.

    Attributes:
        Options: its options model.
        default_lr: the documented learning rate where the user gives none.
        default_weighting: the weighting of the tasks where the user gives none.
        search_space: what tuning tries; empty for learning rates within a factor of ten of the default.
    """

    Options: ClassVar[type[MethodOptions]]
    default_lr: ClassVar[float] = 1e-4
    default_weighting: ClassVar[str] = "uniform"
    search_space: ClassVar[Space] = {}

    @classmethod
    def space(cls, options: Any) -> Space:
        """Return what tuning tries, by the dotted path of the setting."""
        return cls.search_space or rates_around(cls.default_lr)

    @classmethod
    def step_zero(cls, options: Any, architecture: ArchitectureName = "causal") -> StepZero:
        """Return what the attached, untrained method computes on a base of an architecture.

        Exactly the ``base``; the base fed the ``initial-tokens`` (:meth:`Adaptation.initial_tokens`); or ``none`` of the two.
        Vectors of instances start as tokens in their place (:attr:`xeric.bases.protocols.InstanceVectors.initial_tokens`).
        """
        return "base"

    @classmethod
    def mergeable(cls, options: Any) -> bool:
        """Return whether :meth:`Adaptation.merge` is defined."""
        return True

    @classmethod
    def ungated(cls, options: Any) -> str | None:
        """Return why it takes no gates (:meth:`Adaptation.add_gates`), or None where it takes them."""
        return "this method takes no gates"

    @classmethod
    def seeded(cls, options: Any) -> bool:
        """Return whether the initialisation depends on the seed."""
        return True

    @classmethod
    def needs_definitions(cls, options: Any) -> bool:
        """Return whether it begins from the definitions of tasks, so that it cannot be trained on plain text."""
        return False

    @classmethod
    @abstractmethod
    def attach(cls, base: Base, options: Any, *, seed: int, definitions: Mapping[str, str] = NO_TASKS) -> Adaptation:
        """Put trainable parts on a base.

        Args:
            base: a base that no method is attached to.
            options: an instance of :attr:`Options`.
            seed: of the initialisation.
            definitions: of the tasks that will be trained, by name, for methods that have parts for each task.

        Raises:
            ConfigError: the options do not fit the base.
        """


@contextmanager
def detached_on_failure(adaptation: Adaptation) -> Iterator[None]:
    """Take an adaptation off where what is inside fails, so that a base that outlives the failure is as it was before."""
    try:
        yield
    except BaseException:
        adaptation.detach()
        raise


def attach_saved(base: Base, method: MethodOptions, folder: Path, definitions: Mapping[str, str]) -> Adaptation:
    """Attach a method as it was trained; where that fails, the base is as it was.

    Args:
        base: a base that no method is attached to.
        method: its options.
        folder: that :meth:`Adaptation.save` wrote into.
        definitions: of the tasks that it was trained on, by name.

    Raises:
        DataError: the folder does not hold what this method saves for this base.
    """
    adaptation = METHODS.get(method.name).attach(base, method, seed=0, definitions=definitions)
    with detached_on_failure(adaptation):
        adaptation.load(folder)
    return adaptation


def attach_carrying(
    base: Base, method: MethodOptions, carried: Mapping[str, torch.Tensor], *, seed: int, definitions: Mapping[str, str]
) -> Adaptation:
    """Attach a method that goes on with trained parameters; where that fails, the base is as it was.

    Args:
        base: a base that no method is attached to.
        method: its options.
        carried: parameters of the same method, by name; the others start as ever.
        seed: of the initialisation.
        definitions: of the tasks that will be trained, by name.

    Raises:
        ConfigError: the options do not fit the base.
    """
    adaptation = METHODS.get(method.name).attach(base, method, seed=seed, definitions=definitions)
    with detached_on_failure(adaptation):
        adaptation.load_state({**adaptation.state(), **carried})
    return adaptation


def put_back(tensors: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> None:
    """Copy values into tensors of the same names; nothing is changed where one of them does not fit.

    Args:
        tensors: to change.
        state: values by name; those of further names are passed over.

    Raises:
        KeyError: a name is missing.
        DataError: a value has another shape than its tensor, which copying would broadcast.
    """
    for name, tensor in tensors.items():
        if state[name].shape != tensor.shape:
            raise DataError(f"the parameter {name} is {list(tensor.shape)} here, not {list(state[name].shape)}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(state[name])


def method_options(data: Any, *, where: str = "method") -> MethodOptions:
    """Return validated options of the method that ``data`` names.

    Args:
        data: a method's name, or a mapping with ``name`` and options.
        where: dotted path of ``data`` in the user's settings.

    Raises:
        ConfigError: no name, or an option is unknown or ill-typed.
        UnknownNameError: no such method.
    """
    if isinstance(data, str):
        data = {"name": data}
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        raise ConfigError("names no method", where=where, hint="give a method's name, see `xeric list methods`")
    name = data["name"]
    if name in get_args(Setting):
        hint = f"{name!r} is a setting, not a method: --setting {name} (prompt.setting={name})"
        raise UnknownNameError("method", name, METHODS.names(), hint=hint)
    if reason := unsupported_methods().get(name):
        raise UnknownNameError("method", name, METHODS.names(), hint=f"not offered: {reason}; see `xeric list methods`")
    return build(METHODS.get(name).Options, data, where=where)
