"""The state of a training, in one file that is complete at every moment.

A checkpoint is a single safetensors file: tensors (what trains, optimiser moments, best weights so far) and, in its
header, the rest as JSON. It is written beside the old one and replaces it by a rename, so a kill at any moment
leaves the old or the new.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from xeric.bases.tensors import read_header, read_tensors, write_tensors

__all__ = ["CheckpointFile", "under"]


class CheckpointFile:
    """The checkpoint of one run.

    Args:
        path: of the file.
        key: identity of the run; a checkpoint of another run is ignored.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key

    def save(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
        """Replace the checkpoint by these tensors and this JSON-like state.

        Raises:
            StorageError: the file system refuses.
        """
        header = {"key": self.key, "meta": json.dumps(meta)}
        write_tensors(self.path, {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}, header)

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Return tensors and state, or None where there is no complete checkpoint of this run.

        Raises:
            DataError: the checkpoint cannot be read (by this user, for example).
        """
        header = read_header(self.path)
        if header is None or header.get("key") != self.key:
            return None
        try:
            return read_tensors(self.path, "checkpoint"), json.loads(header["meta"])
        except (KeyError, json.JSONDecodeError):
            return None

    def remove(self) -> None:
        """Delete the checkpoint, and its folder if that is empty."""
        self.path.unlink(missing_ok=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with ``prefix``, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
