"""Small pictures for tests, drawn by a seed."""

from __future__ import annotations

import hashlib
import random
import tempfile
from functools import cache
from pathlib import Path

import pytest

from xeric.data.pictures import Picture, read_picture

__all__ = ["draw", "picture"]


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def draw(path: Path, seed: str, size: tuple[int, int] = (24, 16)) -> None:
    """Write squares of random colours as a file in the format of its name."""
    image = pytest.importorskip("PIL.Image", reason="pictures are read by Pillow (the extra pictures)")
    colours = random.Random(seed)
    small = image.new("RGB", (3, 2))
    small.putdata([tuple(colours.randrange(256) for _ in range(3)) for _ in range(6)])
    small.resize(size, image.Resampling.NEAREST).save(path)


@cache
def picture(seed: str) -> Picture:
    """The picture of a seed, kept until the tests end."""
    path = Path(_folder().name) / f"{hashlib.sha256(seed.encode()).hexdigest()[:16]}.png"
    draw(path, seed)
    return read_picture(path)
