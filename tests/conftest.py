"""Fixtures that several folders of tests share."""

from __future__ import annotations

import copy
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    # Only the fixtures that make a base need the extra ``train``: `make test-light` runs without it.
    from xeric.bases.base import Base

# Read when torch is loaded; the models here are too small for a second thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny random base of a shape, made once per session."""
    from tests import tiny

    made: dict[str, Path] = {}
    root = tmp_path_factory.mktemp("bases")

    def get(shape: str = "llama") -> Path:
        if shape not in made:
            made[shape] = tiny.write_base(root / shape, shape)
        return made[shape]

    return get


@pytest.fixture(autouse=True)
def own_speeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test measures for itself: speeds that were measured before are not in its cache folder."""
    monkeypatch.setattr("xeric.execution.speeds.home", lambda: tmp_path / "cache")


@pytest.fixture(scope="session")
def open_base(base_folder: Callable[[str], Path]) -> Callable[[str], Base]:
    """A tiny random base of a shape, opened once per session; each call gets a copy of its own, which is quicker."""
    from xeric.bases.loading import load_base

    opened: dict[str, Base] = {}

    def get(shape: str = "llama") -> Base:
        if shape not in opened:
            opened[shape] = load_base(str(base_folder(shape)), device="cpu", precision="fp32")
        return copy.deepcopy(opened[shape])

    return get


@pytest.fixture(autouse=True, scope="module")
def quick_garbage_collection() -> Iterator[None]:
    """Take what is loaded already out of garbage collection.

    statsmodels collects garbage in every correction, which takes a quarter of a second each time as soon as torch is loaded.
    """
    gc.freeze()
    yield
    gc.unfreeze()
