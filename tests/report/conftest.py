"""A made study and its report, written once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.made import make_study
from xeric.report import Written, write_report


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The report of a made study with hostile texts in it."""
    folder = tmp_path_factory.mktemp("study")
    make_study(folder)
    return write_report(folder)


@pytest.fixture(scope="session")
def folder(written: Written) -> Path:
    return written.files[0].parent
