"""``xeric bases trim`` and ``--trim-to``: what is printed, a folder that is a base, a run on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny
from tests.cli.conftest import Xeric


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XERIC_HOME", str(tmp_path / "home"))
    for name in ("one", "two"):
        tiny.write_task(tmp_path / "tasks", name, instances=40)
    return tmp_path / "tasks"


def test_a_base_is_trimmed_to_several_files(
    xeric: Xeric, base_folder: Callable[[str], Path], tasks: Path, tmp_path: Path
) -> None:
    arguments = ["bases", "trim", base_folder("llama"), "--to", tasks / "one.json", tasks / "two.json", "--more", "3"]
    code, out, err = xeric(*arguments, "-o", tmp_path / "a")
    assert code == 0, err
    assert "vocabulary  384 -> " in out
    assert "largest difference 0)" in out
    assert "tokens have" in out
    code, out, _ = xeric(*arguments, "-o", tmp_path / "b", "--json")
    facts = json.loads(out)
    assert (code, facts["difference"]) == (0, 0)
    assert facts["vocabulary"]["after"] < facts["vocabulary"]["before"] == 384
    files = json.loads((tmp_path / "b/source.json").read_text(encoding="utf-8"))["trimmed"]["files"]
    assert [name for name, _ in files] == ["one.json", "two.json"]
    code, _, err = xeric(*arguments, "-o", tmp_path / "b")
    assert code == 2
    assert "is not empty" in err


def test_a_run_trims_its_base_once_and_generates_with_it(
    xeric: Xeric, base_folder: Callable[[str], Path], tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xeric.bases.trimmed_folder.MORE", 3)
    arguments = ["train", "one", "--tasks-dir", tasks, "--base", base_folder("gemma3"), "--trim-to", "one", "--device", "cpu"]
    arguments += ["train.max_steps=1", "decode.max_new_tokens=4", "--precision", "fp32"]
    code, out, err = xeric(*arguments, "-o", tmp_path / "run", "--json")
    assert code == 0, err
    record = json.loads(out)
    (trimmed,) = (tmp_path / "home/bases").iterdir()
    assert trimmed.name.startswith("trimmed-")
    config = (tmp_path / "run/config.yaml").read_text(encoding="utf-8")
    assert str(trimmed) in config
    code, out, _ = xeric("generate", tmp_path / "run", "--input", "the quiet dog")
    assert code == 0
    code, out, err = xeric(*arguments, "-o", tmp_path / "again", "--json")
    assert json.loads(out)["run_id"] == record["run_id"]
    assert "is trimmed once" not in err
    code, _, err = xeric("generate", tmp_path / "run", "--base", base_folder("gemma3"), "--input", "the quiet dog")
    assert code == 2


def test_a_run_that_goes_on_keeps_its_base(xeric: Xeric, tasks: Path, tmp_path: Path) -> None:
    code, _, err = xeric("train", "--from", tmp_path, "--trim-to", "one")
    assert code == 2
    assert "--trim-to needs --base" in err


@pytest.mark.parametrize("option", [("--group-column", "customer"), ("data.test_fraction=0.3",)])
def test_a_vocabulary_is_not_chosen_by_another_split_than_the_runs(option: tuple[str, ...], xeric: Xeric) -> None:
    code, _, err = xeric("train", "one", "--base", "b", "--method", "lora", "--trim-to", "one", *option)
    assert code == 2
    assert "--trim-to reads outputs of a task by the usual split" in err
