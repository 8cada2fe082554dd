from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.data.samples import niv2
from xeric.data.catalog import Catalog
from xeric.errors import DataError, UnknownNameError, UserError


def put(folder: Path, name: str, definition: str = "Do it.") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(niv2(Definition=definition)), encoding="utf-8")
    return path


def test_the_earlier_folder_wins(tmp_path: Path) -> None:
    put(tmp_path / "own", "poems", "Mine.")
    put(tmp_path / "shared", "poems", "Theirs.")
    put(tmp_path / "shared", "mails")
    (tmp_path / "shared" / "notes.txt").write_text("no task", encoding="utf-8")
    (tmp_path / "shared" / ".mails.json.part.json").write_text("{", encoding="utf-8")
    catalog = Catalog([tmp_path / "own", tmp_path / "shared"])
    assert catalog.names() == ["mails", "poems"]
    assert catalog.load("poems").definition == "Mine."
    assert catalog.find("mails") == tmp_path / "shared" / "mails.json"


def test_a_task_is_found_under_either_unicode_form_and_any_case_of_its_ending(tmp_path: Path) -> None:
    nfd, nfc = "re\u0301sume\u0301", "r\u00e9sum\u00e9"
    put(tmp_path, nfd).rename(tmp_path / f"{nfd}.JSON")
    catalog = Catalog([tmp_path])
    assert catalog.names() == [nfc]
    assert catalog.load(nfc) == catalog.load(nfd)
    assert catalog.load(nfc).name == nfc
    with pytest.raises(UserError, match="is a file name"):
        catalog.find("a.JSON")


def test_folders_given_come_before_the_environment_and_that_before_the_bundle(tmp_path: Path) -> None:
    bundled = Catalog.of(environment={}).names()
    assert bundled, "tasks come with the package"
    for folder, text in (("given", "Given."), ("first", "First."), ("second", "Second.")):
        put(tmp_path / folder, "a", text)
        put(tmp_path / folder, bundled[0], text)
    environment = {"XERIC_TASKS": os.pathsep.join(["", str(tmp_path / "first"), str(tmp_path / "second")])}
    assert Catalog.of([tmp_path / "given"], environment=environment).load("a").definition == "Given."
    catalog = Catalog.of(environment=environment)
    assert catalog.load("a").definition == "First."
    assert catalog.load(bundled[0]).definition == "First."
    assert Catalog.of(environment={}).load(bundled[0]).definition not in {"Given.", "First.", "Second."}


def test_every_bundled_task_loads() -> None:
    catalog = Catalog.of(environment={})
    for name in catalog.names():
        assert catalog.load(name).language


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", put(tmp_path, "a"), tmp_path / "a\0b"):
        with pytest.raises(DataError, match="this folder of tasks cannot be read"):
            Catalog([folder])


def test_an_unknown_name_is_answered_with_near_ones(tmp_path: Path) -> None:
    put(tmp_path, "poems")
    with pytest.raises(UnknownNameError) as caught:
        Catalog([tmp_path]).find("poem")
    assert caught.value.hint == "did you mean 'poems'?"


@pytest.mark.parametrize("name", ["../secret", "sub/a", "a.json", "..", "sub\\a", "a\0"])
def test_no_name_leads_out_of_the_folders(tmp_path: Path, name: str) -> None:
    put(tmp_path, "secret")
    put(tmp_path / "tasks", "a")
    put(tmp_path / "tasks" / "sub", "a")
    with pytest.raises(UserError):
        Catalog([tmp_path / "tasks"]).find(name)
