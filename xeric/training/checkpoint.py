"""Where a training stands, in one file that is whole at every moment.

A checkpoint is a single safetensors file: tensors (what trains, optimiser moments, best weights so far) and, in its
header, the rest as JSON. It is written beside the old one and put in its place by a rename, so a kill at any moment
leaves the old or the new.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

__all__ = ["CheckpointFile", "load_optimizer", "optimizer_state", "under"]

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class CheckpointFile:
    """The checkpoint of one run.

    Args:
        path: of the file.
        key: identity of the run; a checkpoint of another run is as good as none.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key

    def save(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
        """Replace the checkpoint by these tensors and this JSON-like state."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = {"key": self.key, "meta": json.dumps(meta)}
        plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".part")
        os.close(descriptor)
        try:
            save_file(plain, temporary, metadata=header)
            with Path(temporary).open("rb") as file:
                os.fsync(file.fileno())
            Path(temporary).replace(self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Return tensors and state, or None where there is no checkpoint of this run."""
        try:
            with safe_open(self.path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("key") != self.key:
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}, json.loads(header["meta"])  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, json.JSONDecodeError):
            return None

    def remove(self) -> None:
        """Delete the checkpoint, and its folder if that is empty."""
        self.path.unlink(missing_ok=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()


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
    """Put back what :func:`optimizer_state` returned."""
    for name, parameter in names.items():
        if f"{name}/step" in tensors:
            moments = {moment: tensors[f"{name}/{moment}"].clone() for moment in _MOMENTS}
            # The step count stays on the CPU, as AdamW itself keeps it; the moments go where the parameter is.
            optimizer.state[parameter] = {m: t if m == "step" else t.to(parameter.device) for m, t in moments.items()}


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with ``prefix``, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
