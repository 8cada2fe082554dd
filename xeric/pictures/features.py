"""Features of pictures, computed once: kept under the encoder's identity and the SHA-256 of the picture's file.

::

    HOME/pictures/efficientnet-lite0-0123456789abcdef-v1/ab/abcdef....safetensors
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from xeric.bases.home import home
from xeric.bases.tensors import read_tensors, write_tensors
from xeric.data.pictures import BLANK, Picture
from xeric.errors import DataError
from xeric.pictures.encoders import ImageEncoder
from xeric.progress import Progress

__all__ = ["picture_features"]

_TENSOR = "features"
_AT_ONCE = 32


def picture_features(encoder: ImageEncoder, pictures: Sequence[Picture], progress: Progress) -> torch.Tensor:
    """Return ``[N, features]`` in float32; those of :data:`~xeric.data.pictures.BLANK` are 0.

    Args:
        encoder: that sees them.
        pictures: N of them.
        progress: is told of those that are not kept yet.

    Raises:
        DataError: a picture cannot be read.
        UserError: the encoder's weights cannot be fetched.
        StorageError: the cache folder cannot be written.
    """
    blank = torch.zeros(encoder.features)
    rows = {BLANK.sha256: blank} | {p.sha256: kept for p in pictures if (kept := _kept(encoder, p)) is not None}
    missing = list({p.sha256: p for p in pictures if p.sha256 not in rows}.values())
    if missing:
        progress.start("pictures encoded", len(missing))
    for start in range(0, len(missing), _AT_ONCE):
        chunk = missing[start : start + _AT_ONCE]
        for picture, row in zip(chunk, encoder.encode(chunk, progress), strict=True):
            rows[picture.sha256] = row
            if encoder.costly:
                write_tensors(_file(encoder, picture), {_TENSOR: row.contiguous()})
        progress.advance(len(chunk))
    return torch.stack([rows[p.sha256] for p in pictures]) if pictures else torch.zeros(0, encoder.features)


def _file(encoder: ImageEncoder, picture: Picture) -> Path:
    return home() / "pictures" / encoder.identity / picture.sha256[:2] / f"{picture.sha256}.safetensors"


def _kept(encoder: ImageEncoder, picture: Picture) -> torch.Tensor | None:
    """Return the features that were kept; None where there are none, or not as many: a damaged file is made again."""
    file = _file(encoder, picture)
    if not encoder.costly or not file.is_file():
        return None
    try:
        row = read_tensors(file, "features of a picture").get(_TENSOR)
    except DataError:
        return None
    return row if row is not None and row.shape == (encoder.features,) else None
