"""``tools/release_check.py``: two builds with the same bytes pass, others do not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scripts import load_script

TOOL = Path(__file__).parents[2] / "tools" / "release_check.py"


@pytest.fixture
def release_check() -> ModuleType:
    return load_script("tools/release_check.py")


def builder(content: Callable[[str, int], bytes], names: tuple[str, ...] = ("x.tar.gz", "x.whl")) -> Callable[..., None]:
    """Stands for the build: writes files of these names into the folder that the command names."""
    builds = 0

    def build(command: list[str], **_: Any) -> None:
        nonlocal builds
        builds += 1
        assert command[1:4] == ["-m", "hatchling", "build"]
        folder = Path(command[command.index("--directory") + 1])
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_bytes(content(name, builds))

    return build


def test_equal_builds_pass_and_are_named_with_their_digests(
    release_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(release_check.subprocess, "run", builder(lambda name, _: name.encode()))
    assert release_check.main(tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{hashlib.sha256(name.encode()).hexdigest()}  {name}" for name in ("x.tar.gz", "x.whl")
    ]


@pytest.mark.parametrize(
    "build",
    [
        builder(lambda name, number: f"{name}{number if name.endswith('whl') else ''}".encode()),
        builder(lambda name, _: name.encode(), ("x.whl",)),
    ],
    ids=["a wheel with a date", "no source distribution"],
)
def test_builds_that_differ_or_lack_a_file_do_not_pass(
    build: Callable[..., None],
    release_check: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(release_check.subprocess, "run", build)
    assert release_check.main(tmp_path) == 1
    assert "differ" in capsys.readouterr().err


def test_the_project_builds_the_same_bytes_twice(
    release_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hatchling", reason="hatchling is installed by `make release-check` alone")
    monkeypatch.chdir(TOOL.parents[1])
    assert release_check.main(tmp_path) == 0
