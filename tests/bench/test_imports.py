"""Every script of bench/ still fits the package: importing it measures nothing."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
SCRIPTS = sorted(path.stem for path in BENCH.glob("*.py") if path.stem != "__init__")


def test_there_are_scripts() -> None:
    assert "scoring" in SCRIPTS
    assert len(SCRIPTS) > 8


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_names_nothing_that_is_gone(name: str) -> None:
    assert callable(importlib.import_module(f"bench.{name}").main)
