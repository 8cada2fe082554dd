"""``xeric train --texts``: a first stage on plain text, before that of --sources."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.cli.conftest import Xeric
from xeric.yaml_io import load_yaml


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for name in ("reverse_words", "source"):
        tiny.write_task(folder / "tasks", name, instances=60)
    for name in ("first", "second"):
        instances = tiny.task_data(name, instances=20)["Instances"]
        (folder / name).mkdir()
        (folder / name / "some.txt").write_text("\n\n".join(i["output"][0] for i in instances), encoding="utf-8")
    return folder


@pytest.fixture
def quick(corpus: Path, base_folder: Callable[[str], Path]) -> list[str]:
    return [
        *("reverse_words", "--tasks-dir", str(corpus / "tasks"), "--base", str(base_folder("llama")), "--n-train", "20"),
        *("prompt.demonstrations=1", "train.max_steps=2", "decode.max_new_tokens=4", "metrics=[chrf]"),
    ]


def stages(folder: Path) -> list[dict[str, Any]]:
    stages: list[dict[str, Any]] = load_yaml(folder / "config.yaml")["stages"]
    return stages


def test_texts_then_sources_then_the_task(xeric: Xeric, quick: list[str], corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    where = ["--texts", corpus / "first", corpus / "second", "--sources", "source"]
    short = ["stages.0.train.max_steps=2", "stages.1.train.max_steps=1", "stages.0.corpus.window=16", "stages.1.data.n_train=20"]
    code, printed, notes = xeric("train", *quick, *where, *short, "-o", out)
    assert code == 0, notes
    assert "chrf" in printed
    assert "dev of 40 documents; " in next(line for line in printed.splitlines() if line.startswith("stage 1, text: "))
    assert "stage 2, source: 20 train, 0 dev, 12 test of 60 instances" in printed
    first, second = stages(out)
    assert (first["texts"], first["tasks"]) == ([str(corpus / "first"), str(corpus / "second")], [])
    assert (second["texts"], second["tasks"]) == ([], ["source"])
    assert (first["corpus"]["window"], first["train"]["max_steps"], second["train"]["max_steps"]) == (16, 2, 1)
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    assert record["stages"][0]["texts"]["documents"] == 40
    assert list(record["stages"][1]["tasks"]) == ["source"]
    # Its settings alone make the run again; other texts take the place of those it names.
    again, other = tmp_path / "again", tmp_path / "other"
    assert xeric("train", "--config", out / "config.yaml", "-o", again)[0] == 0
    assert (again / "predictions.jsonl").read_bytes() == (out / "predictions.jsonl").read_bytes()
    assert xeric("train", "--config", out / "config.yaml", "--texts", corpus / "first", "-o", other)[0] == 0
    assert [(s["texts"], s["tasks"]) for s in stages(other)] == [([str(corpus / "first")], []), ([], ["source"])]


def test_texts_stand_before_stages_of_a_configuration(xeric: Xeric, quick: list[str], corpus: Path, tmp_path: Path) -> None:
    short = {"train": {"max_steps": 1}}
    cases: list[tuple[list[dict[str, Any]], list[str], list[tuple[bool, int | None]]]] = [
        ([{"tasks": ["source"], **short}], [], [(True, 2), (False, 1)]),
        ([short], [], [(True, 1)]),
        ([short], ["--sources", "source"], [(True, 2), (False, 1)]),
    ]
    for number, (configured, sources, expected) in enumerate(cases):
        file, out = tmp_path / f"{number}.yaml", tmp_path / f"{number}"
        file.write_text(json.dumps({"stages": configured}), encoding="utf-8")
        arguments = ["--config", file, "--texts", corpus / "first", *sources]
        # Where there is no stage of a configuration, the text stage is a new one with settings from here.
        new = ["stages.0.train.max_steps=2"] if len(expected) == 2 else []
        code, _, notes = xeric("train", *quick, *arguments, *new, "-o", out)
        assert code == 0, notes
        assert [(bool(s["texts"]), s["train"]["max_steps"]) for s in stages(out)] == expected


def test_notes_say_what_is_odd_about_the_texts(xeric: Xeric, quick: list[str], corpus: Path, tmp_path: Path) -> None:
    instances = tiny.task_data("hindi", instances=20, language="Hindi")["Instances"]
    (tmp_path / "hi.txt").write_text("\n\n".join(i["output"][0] for i in instances), encoding="utf-8")
    arguments = [
        "--texts",
        tmp_path / "hi.txt",
        "stages.0.train.max_steps=1",
        "stages.0.corpus.window=4096",
        "-o",
        tmp_path / "o",
    ]
    code, _, notes = xeric("train", *quick, *arguments)
    assert code == 0
    assert "stage 1: 0% of the letters are in the script of English (Latin)" in notes
    assert "windows of 255 tokens" in notes


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (["--texts", "nowhere"], "nowhere: no such file or folder", "folder of *.txt files"),
        (["--texts", "tasks"], "tasks: holds no *.txt file", "folder of *.txt files"),
        (["--texts", "latin.txt"], "latin.txt, line 1: not UTF-8 text: byte 0xf1", "stages.0.corpus.encoding=cp1252"),
        (["--texts", "empty.txt"], "empty.txt: holds no text", ""),
        (["--texts", "first", "stages.0.tasks=[source]"], "stages.0: names both tasks and texts", "one of them"),
        (["--texts", "first", "--method", "combined"], "stages.0.method: combined begins with a prompt prefix", "name=lora"),
        (["--texts", "first", "stages.0.corpus.windw=9"], "stages.0.corpus.windw: unknown setting", "window"),
        (["--config", "odd.yaml", "--texts", "first"], "stages: expected a list of stages", ""),
    ],
)
def test_bad_texts_are_one_sentence_and_a_hint(
    arguments: list[str], what: str, hint: str, xeric: Xeric, quick: list[str], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (corpus / "latin.txt").write_bytes("ñandú".encode("latin-1"))
    (corpus / "empty.txt").write_text("\n \n", encoding="utf-8")
    (corpus / "odd.yaml").write_text("stages: {texts: [first]}\n", encoding="utf-8")
    monkeypatch.chdir(corpus)
    code, printed, complaint = xeric("train", *quick, *arguments, "-o", corpus / "out")
    assert (code, printed) == (2, "")
    lines = [line for line in complaint.splitlines() if line.startswith(("xeric: ", "hint: "))]
    assert what in lines[0]
    assert hint in " ".join(lines[1:])
    assert "Traceback" not in complaint
    assert not (corpus / "out").exists()
