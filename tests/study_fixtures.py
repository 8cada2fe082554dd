"""Tasks, a base and a finished study that the tests of studies share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import small_study as small

__all__ = ["Where", "base", "tasks", "undisturbed", "where"]

Where = tuple[Path, Path]
"""A folder of tasks and a base."""


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests import tiny

    folder = tmp_path_factory.mktemp("study-tasks")
    tiny.write_task(folder, "one", instances=90)
    tiny.write_task(folder, "two", instances=80, language="Hindi")
    return folder


@pytest.fixture(scope="session")
def base(base_folder: Callable[[str], Path]) -> Path:
    return base_folder("llama")


@pytest.fixture
def where(tasks: Path, base: Path) -> Where:
    return tasks, base


@pytest.fixture(scope="session")
def undisturbed(tasks: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small study, carried out without disturbance; not to be changed."""
    from xeric.execution.run_study import run_study

    folder = tmp_path_factory.mktemp("undisturbed") / "study"
    run_study(small.study(tasks, base), folder)
    return folder
