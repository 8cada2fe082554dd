"""Paths as their user means them: a tilde is the home folder wherever a path is given, and what is kept holds in every folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import small_study as small
from tests import tiny
from tests.cli.conftest import Xeric
from xeric.config import build
from xeric.data.catalog import Catalog
from xeric.studies.config import StudyConfig
from xeric.studies.plan import load_study
from xeric.yaml_io import dump_yaml, load_yaml

SETTINGS = [
    *("prompt.demonstrations=0", "train.max_steps=1", "decode.max_new_tokens=2", "data.max_test=2", "data.n_train=10"),
    "metrics=[chrf]",
]


@pytest.fixture
def home(tmp_path: Path, base_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with tasks, texts and a base in it; the present folder is another one."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    tiny.write_task(home / "tasks", "one", instances=40)
    (home / "base").symlink_to(base_folder("llama"))
    (home / "texts").mkdir()
    (home / "texts" / "a.txt").write_text("\n\n".join(f"a text number {n} about rivers and {n} boats" for n in range(30)))
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(elsewhere)
    return home


def test_a_tilde_is_the_home_folder_in_every_option_and_setting(xeric: Xeric, home: Path) -> None:
    config = home / "config.yaml"
    config.write_text(dump_yaml({"tasks": ["one"], "tasks_dirs": ["~/tasks"], "base": "~/base"}))
    assert xeric("train", "--config=~/config.yaml", "--output=~/run", *SETTINGS)[0] == 0
    assert xeric("train", "one", "--tasks-dir=~/tasks", "--base=~/base", "--texts=~/texts", *SETTINGS, "-o", "~/texted")[0] == 0
    assert xeric("generate", "~/run", "--base=~/base", "--input", "x")[0] == 0
    assert xeric("score", "~/run/predictions.jsonl", "--against=~/run/predictions.jsonl", "--metric", "chrf")[0] == 0
    table = home / "table.csv"
    table.write_text("input,output\n" + "".join(f"a{n},b{n}\n" for n in range(9)))
    imported = ["--name", "two", "--definition", "Say b.", "--language", "en", "--output=~/tasks"]
    assert xeric("tasks", "import", "~/table.csv", *imported)[0] == 0
    assert "two" in xeric("tasks", "list", "--tasks-dir=~/tasks")[1]
    assert {path.name for path in home.iterdir()} >= {"run", "texted", "stages"}
    assert list(Path().iterdir()) == [], "no folder whose name is a tilde"


def test_a_tilde_in_the_environment(home: Path) -> None:
    assert Catalog.of(environment={"XERIC_TASKS": "~/tasks"}).find("one") == home / "tasks" / "one.json"


def test_a_study_finds_its_tasks_bases_and_texts_from_every_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small.plain(home / "tasks", home / "base", "tasks_dirs=[~/tasks]", "bases={tiny: ~/base, big: {name: ../home/base}}")
    (home / "s.yaml").write_text(dump_yaml(data | {"stage": {"texts": ["../home/texts"]}, "sources": []}))
    study = build(StudyConfig, load_yaml(home / "s.yaml"))
    assert study.tasks_dirs == (str(home / "tasks"),)
    assert study.base_name("tiny") == study.base_name("big") == str(home / "base")
    assert study.texts == (str(home / "texts"),)
    monkeypatch.chdir("/")
    (home / "s.yaml").write_text(dump_yaml(data))
    assert load_study("~/s.yaml")[0].name == "small"


def test_a_run_on_a_base_by_relative_path_is_used_from_another_folder(
    xeric: Xeric, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    assert xeric("train", "one", "--base", "./base", "--tasks-dir", "tasks", *SETTINGS, "-o", "run")[0] == 0
    monkeypatch.chdir("/")
    assert load_yaml(home / "run" / "config.yaml")["tasks_dirs"] == [str(home / "tasks")]
    assert xeric("generate", home / "run", "--input", "x")[0] == 0
    assert xeric("train", "--config", home / "run" / "config.yaml", "-o", home / "again")[0] == 0
    adapter = json.loads((home / "run" / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(home / "base")
    (home / "base").rename(home / "moved")
    code, _, complaint = xeric("generate", home / "run", "--input", "x")
    assert code == 2
    assert complaint.splitlines()[0] == f"xeric: {home}/base: the run's base is not there: there is no such file or folder"
    assert "--base" in complaint.splitlines()[1]
    assert xeric("generate", home / "run", "--input", "x", "--base", home / "moved")[0] == 0


def test_a_run_or_an_adapter_given_as_a_base_is_called_what_it_is(xeric: Xeric, home: Path) -> None:
    given = ["one", "--tasks-dir", home / "tasks", *SETTINGS]
    assert xeric("train", *given, "--base", home / "base", "-o", home / "run")[0] == 0
    for folder, what in ((home / "run", "the folder of a run"), (home / "run" / "adapter", "the adapter of a run")):
        code, _, complaint = xeric("train", *given, "--base", folder, "-o", home / "other")
        assert code == 2
        first, second = complaint.splitlines()[-2:]
        assert first == f"xeric: {folder}: is {what}, not a base"
        assert f"({home / 'base'})" in second
    assert not (home / "other").exists()
    code, _, complaint = xeric("train", *given, "--base", home / "texts", "-o", home / "other")
    assert (code, complaint.splitlines()[-2]) == (2, f"xeric: {home / 'texts'}: holds no config.json")


def test_what_a_file_manager_left_beside_the_weights_is_no_part_of_a_base(home: Path, tmp_path: Path) -> None:
    from xeric.bases.loading import base_identity

    base = tiny.write_base(tmp_path / "own")
    before = base_identity(str(base))
    (base / "._model.safetensors").write_bytes(b"x")
    assert base_identity(str(base)) == before
