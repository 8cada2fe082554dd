"""The base as it is: the zero-shot and few-shot bars of the paper's Figure 2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from xeric.bases.base import Base
from xeric.methods.base import NO_TASKS, Adaptation, Method, MethodOptions, ParameterGroup

__all__ = ["Untrained", "UntrainedOptions"]


class UntrainedOptions(MethodOptions):
    """No options."""

    name: Literal["none"] = "none"


class _Nothing(Adaptation):
    def groups(self) -> list[ParameterGroup]:
        return []

    def save(self, folder: Path) -> None:
        """Write nothing: there is nothing that was trained."""

    def load(self, folder: Path) -> None:
        """Read nothing."""

    def detach(self) -> None:
        """Leave the base as it is."""

    def merge(self) -> None:
        """Change nothing: the base already computes this."""


class Untrained(Method):
    """Trains nothing."""

    Options = UntrainedOptions

    @classmethod
    def attach(cls, base: Base, options: UntrainedOptions, *, seed: int, definitions: Mapping[str, str] = NO_TASKS) -> Adaptation:
        """Return an adaptation without parameters."""
        return _Nothing(base)
