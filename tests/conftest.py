"""Fixtures that several folders of tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests import tiny
from xeric.bases.base import Base


@pytest.fixture(autouse=True, scope="session")
def _two_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny random base of a shape, made once a session."""
    made: dict[str, Path] = {}
    root = tmp_path_factory.mktemp("bases")

    def get(shape: str = "llama") -> Path:
        if shape not in made:
            made[shape] = tiny.write_base(root / shape, shape)
        return made[shape]

    return get


@pytest.fixture
def open_base(base_folder: Callable[[str], Path]) -> Callable[[str], Base]:
    """A tiny random base of a shape, opened anew for each test."""
    from xeric.bases.loading import load_base

    return lambda shape="llama": load_base(str(base_folder(shape)), device="cpu", precision="fp32")
