"""The command line as the tests call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xeric.cli import run

Xeric = Callable[..., tuple[int, str, str]]
"""Arguments in; exit code, standard output and standard error out."""


@pytest.fixture
def xeric(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Xeric:
    monkeypatch.delenv("XERIC_TASKS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    return call
