"""Fixtures of the studies' tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _quick_garbage_collection() -> Iterator[None]:
    """Take what is loaded already out of garbage collection.

    statsmodels collects garbage in every correction, which takes a quarter of a second each time as soon as torch is loaded.
    """
    gc.freeze()
    yield
    gc.unfreeze()
