"""An export is there whole or not at all, replaces nothing but an earlier export, and leaves nothing behind where it fails."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from xeric.errors import StorageError, UserError
from xeric.exporting.folder import DESCRIPTION_FILE, check_free, describe, new_folder


def write(folder: Path, name: str) -> None:
    with new_folder(folder) as work:
        assert work.parent == folder.parent
        (work / name).touch()
        describe(work, {"to": "peft"})


def test_an_earlier_export_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    write(folder, "one")
    write(folder, "two")
    assert {path.name for path in folder.iterdir()} == {"two", DESCRIPTION_FILE}
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode)


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out", "one")

    def interrupted() -> None:
        with new_folder(tmp_path / "out") as work:
            (work / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"one", DESCRIPTION_FILE}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_put_beside_an_earlier_export_are_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(folder, "one")
    (folder / "deep").mkdir()
    (folder / "deep" / "model-q4.gguf").touch()
    with pytest.raises(UserError, match=r"not those of an export, such as 'deep/model-q4\.gguf'"):
        write(folder, "two")
    assert {path.name for path in folder.iterdir()} == {"one", "deep", DESCRIPTION_FILE}


@pytest.mark.parametrize("content", ['{"messages": []}', '{"to": "peft"}', "[", ""])
def test_a_file_of_the_same_name_makes_no_export(tmp_path: Path, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / DESCRIPTION_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="not those of an export"):
        check_free(tmp_path / "out")


def test_files_of_others_are_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    check_free(folder)  # of no concern
    (folder / "thesis.tex").touch()
    with pytest.raises(UserError, match="holds files that are not those of an export") as caught:
        write(folder, "one")
    assert caught.value.exit_code == 2
    assert (folder / "thesis.tex").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        check_free(tmp_path / "file")
    with pytest.raises(StorageError):
        write(tmp_path / "file" / "out", "one")
