"""Golden cases and small sets of predictions for the metrics' tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def cases() -> dict[str, dict[str, Any]]:
    """Golden cases by id."""
    lines = (GOLDEN / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    return {case["id"]: case for case in map(json.loads, lines)}


@pytest.fixture(scope="session")
def runs() -> dict[str, dict[str, Any]]:
    """Golden runs by name: tool, settings, role, tolerance, cases, corpora."""
    parsed: dict[str, dict[str, Any]] = json.loads((GOLDEN / "scores.json").read_text(encoding="utf-8"))
    return parsed


@pytest.fixture(scope="session")
def tokens() -> dict[str, dict[str, list[str]]]:
    """By mode and case: words of the prediction, then of each reference, joined by spaces."""
    parsed: dict[str, dict[str, list[str]]] = json.loads((GOLDEN / "tokens.json").read_text(encoding="utf-8"))
    return parsed
