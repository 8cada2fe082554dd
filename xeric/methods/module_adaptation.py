"""Saving and loading of methods whose trained parameters are modules of our own, put into the base's model as children."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from xeric.bases.base import Base
from xeric.bases.tensors import read_tensors, write_tensors
from xeric.errors import DataError
from xeric.json_io import write_json
from xeric.methods.base import Adaptation, MethodOptions

__all__ = ["ModuleAdaptation"]


class ModuleAdaptation(Adaptation):
    """An adaptation that is saved as one safetensors file and a description, both named after the method.

    Args:
        base: a base that this method is not attached to.
        options: the method's.
    """

    def __init__(self, base: Base, options: MethodOptions) -> None:
        super().__init__(base)
        self._options = options

    def describe(self) -> dict[str, Any]:
        """Return what a reader of the saved weights should know beside options and shapes."""
        return {}

    def parameters_under(self, *prefixes: str) -> dict[str, nn.Parameter]:
        """Return the parameters of the base's model whose names begin with one of the given."""
        return {n: p for n, p in self.base.model.named_parameters() if n.startswith(prefixes)}

    def save(self, folder: Path) -> None:
        """Write weights and description."""
        name = self._options.name
        tensors = {key: tensor.cpu().contiguous() for key, tensor in sorted(self.state().items())}
        write_tensors(folder / f"{name}.safetensors", tensors)
        shapes = {key: list(tensor.shape) for key, tensor in tensors.items()}
        description = {"method": self._options.model_dump(mode="json"), **self.describe(), "shapes": shapes}
        write_json(folder / f"{name}.json", description)

    def load(self, folder: Path) -> None:
        """Read back what :meth:`save` wrote.

        Raises:
            DataError: there are no such weights, or they are of other places or sizes.
        """
        name = self._options.name
        path = folder / f"{name}.safetensors"
        tensors = read_tensors(path, f"{name} weights")
        other = DataError(f"holds {name} weights of other places or sizes", where=str(path))
        if tensors.keys() != self.state().keys():
            raise other
        try:
            self.load_state(tensors)
        except DataError:
            raise other from None
