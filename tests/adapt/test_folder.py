"""An adaptation's folder: what is somebody else's in it is refused and stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xeric.adapt.folder import AdaptFolder
from xeric.data.tasks import Task, parse_task
from xeric.errors import UserError
from xeric.json_io import write_json
from xeric.progress import Silent


def a_task(name: str = "mine") -> Task:
    data = {"Definition": ["d"], "Output_language": ["English"], "Instances": [{"input": "a", "output": "b"}]}
    return parse_task(data, name=name)


def begun(root: Path, task: Task | None = None, settings: dict[str, Any] | None = None) -> AdaptFolder:
    folder = AdaptFolder(root)
    with folder.occupied(Silent()):
        folder.begin(task or a_task(), settings or {"seed": 0})
    return folder


def their_project(root: Path) -> None:
    (root / "work").mkdir()
    (root / "work" / "notes.txt").write_text("mine")


def their_settings(root: Path) -> None:
    write_json(root / "work" / "settings.json", {"editor": "vim"})


def their_work_alone(root: Path) -> None:
    (root / "work" / "final" / "runs" / "1").mkdir(parents=True)
    (root / "work" / "final" / "runs" / "1" / "README.md").write_text("mine")


def beside_what_was_begun(root: Path) -> None:
    begun(root)


@pytest.mark.parametrize("case", [their_project, their_settings, their_work_alone, beside_what_was_begun])
def test_a_folder_of_somebody_else_with_a_folder_work_is_left_as_it_is(case: Callable[[Path], None], tmp_path: Path) -> None:
    case(tmp_path)
    (tmp_path / "adapter").mkdir()
    for name in ("README.md", "config.yaml", "report.html", "adapter/data"):
        (tmp_path / name).write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="not an adaptation's") as caught:
        begun(tmp_path)
    assert caught.value.exit_code == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_an_interrupted_start_or_handing_over_leaves_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "work" / "locks").mkdir(parents=True)
    (tmp_path / "work" / ".settings.json.part").write_text("{")
    (tmp_path / ".DS_Store").write_text("")
    folder = begun(tmp_path)
    assert (folder.tasks_dir / "mine.json").is_file()
    (folder.tasks_dir / "mine.json").unlink()  # killed between the settings and the task
    begun(tmp_path)
    assert (folder.tasks_dir / "mine.json").is_file()
    run = folder.final_dir / "runs" / "lora-1"
    (run / "adapter").mkdir(parents=True)
    (run / "config.yaml").write_text("")
    (tmp_path / "adapter").mkdir()
    for name in ("config.yaml", "README.md", "report.html"):
        (tmp_path / name).write_text("")
    begun(tmp_path)


def test_beside_a_finished_adaptation_anything_may_lie(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    folder.result_file.write_text("{}")
    (tmp_path / "answers.txt").write_text("mine")
    begun(tmp_path)
    with pytest.raises(UserError, match="other settings"):
        begun(tmp_path, settings={"seed": 1})


def test_a_task_is_never_written_outside(tmp_path: Path) -> None:
    (tmp_path / "precious.json").write_text("mine")
    with pytest.raises(UserError, match="is not a task name"):
        begun(tmp_path / "out", a_task("../../../precious"))
    assert (tmp_path / "precious.json").read_text() == "mine"
    assert not (tmp_path / "out").exists()
