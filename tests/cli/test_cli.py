"""The command line as its user meets it: one sentence and a hint, exit codes, JSON where a script reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.cli.conftest import Xeric
from xeric import generate
from xeric.errors import DataError


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    tiny.write_task(folder, "reverse_words", instances=80)
    tiny.write_task(folder, "few", instances=6)
    (folder / "broken.json").write_text('{"Definition": ["x"],\n "Instances": [}')
    long = tiny.task_data("long")
    long["Definition"] = ["word " * 400]
    (folder / "long.json").write_text(json.dumps(long))
    return folder


@pytest.fixture
def quick(tasks: Path, base_folder: Callable[[str], Path]) -> list[str]:
    return [
        *("--tasks-dir", str(tasks), "--base", str(base_folder("llama"))),
        *("prompt.demonstrations=1", "train.max_steps=3", "decode.max_new_tokens=4", "metrics=[chrf, bleu]"),
    ]


def test_train_generate_score(xeric: Xeric, quick: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, printed, notes = xeric(
        "train", "reverse_words", *quick, "--method", "lora", "--n-train", "20", "-o", out, "method.rank=2"
    )
    assert code == 0
    assert "chrf" in printed
    assert all(label in printed for label in ("copy input", "first sentences", "copy demonstration", "random training output"))
    assert "memory: about" in notes
    assert "Traceback" not in notes
    assert json.loads((out / "record.json").read_text())["method"] == "lora"
    assert "rank: 2" in (out / "config.yaml").read_text()

    code, printed, _ = xeric("train", "reverse_words", *quick, "--n-train", "20", "-o", out, "method.rank=2", "--json")
    assert code == 0
    assert json.loads(printed)["scores"]["chrf"]["signature"].startswith("chrf|")

    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    code, printed, _ = xeric("generate", out, "--input", rows[0]["input"])
    assert (code, printed.strip()) == (0, rows[0]["prediction"])
    inputs = tmp_path / "inputs.jsonl"
    inputs.write_text("".join(f'{{"id": {n}.10, "input": {json.dumps(r["input"])}}}\n' for n, r in enumerate(rows[:3])))
    code, printed, _ = xeric("generate", out, "--file", inputs)
    assert [json.loads(line)["prediction"] for line in printed.splitlines()] == [r["prediction"] for r in rows[:3]]
    assert [line.split(",")[0] for line in printed.splitlines()] == ['{"id": 0.10', '{"id": 1.10', '{"id": 2.10']
    with pytest.raises(DataError, match=r"input 2: the text holds half of a surrogate pair"):
        generate(out, ["fine", "left \ud83d at noon"])

    again = out.with_name("again")
    assert xeric("train", "--config", out / "config.yaml", "-o", again)[0] == 0, "its settings alone make a run again"
    assert (again / "predictions.jsonl").read_bytes() == (out / "predictions.jsonl").read_bytes()

    code, printed, _ = xeric("score", out / "predictions.jsonl", "--metric", "chrf", "--json")
    record = json.loads((out / "record.json").read_text())
    assert json.loads(printed)["chrf"] == record["scores"]["chrf"]


BAD_INPUTS = {
    "half an emoji": ('{"input": "fine"}\n{"input": "left \\ud83d at noon"}', "line 2: the text holds half of a surrogate pair"),
    "not UTF-8": ('{"input": "fine"}\n{"input": "a\xf1o"}', "line 2: not UTF-8 text: byte 0xf1"),
    "repeated key": ('{"input": "fine", "input": "b"}', "line 1: the key 'input' stands twice"),
    "no text": ('{"input": ["a"]}', "line 1: the row has no text under 'input'"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_inputs_that_are_no_text_are_refused_by_line(case: str, xeric: Xeric, tmp_path: Path) -> None:
    content, what = BAD_INPUTS[case]
    (tmp_path / "inputs.jsonl").write_bytes(content.encode("latin-1"))
    code, printed, complaint = xeric("generate", tmp_path, "--file", tmp_path / "inputs.jsonl")
    assert (code, printed) == (2, "")
    assert what in complaint


def test_an_input_that_is_not_utf8_is_refused(xeric: Xeric, tmp_path: Path) -> None:
    code, printed, complaint = xeric("generate", tmp_path, "--input", os.fsdecode(b"a\xf1o"))
    assert (code, printed) == (2, "")
    assert "--input is not UTF-8 text: byte 0xf1" in complaint


def test_a_table_is_imported_with_every_option(xeric: Xeric, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes('nr^frage^antwort^wer\n7^Schöne "Grüße^ja^a\n'.encode("cp850"))
    named = ["--name", "t", "--definition", "D", "--language", "German", "--input-language", "German", "-o", tmp_path]
    columns = ["--input-column", "frage", "--output-column", "antwort", "--group-column", "wer", "--id-column", "nr"]
    read = ["--encoding", "cp850", "--delimiter", "^", "--quotes", "text"]
    code, printed, notes = xeric("tasks", "import", tmp_path / "m.csv", *named, *columns, *read)
    assert (code, printed, notes) == (0, f"{tmp_path / 't.json'}: 1 instances\n", "")
    (instance,) = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["Instances"]
    assert instance == {"id": "7", "input": 'Schöne "Grüße', "output": ["ja"], "group": "a"}
    code, _, complaint = xeric("tasks", "import", tmp_path / "m.csv", *named, "--quotes", "never")
    assert (code, "unknown reading of quotation marks 'never'" in complaint) == (2, True)


def test_what_is_merged_is_not_called_dropped(xeric: Xeric, tmp_path: Path) -> None:
    tiny.write_task(tmp_path, "again", instances=40)
    data = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    data["Instances"].append({**data["Instances"][0], "id": "more", "output": "a second right answer"})
    (tmp_path / "again.json").write_text(json.dumps(data), encoding="utf-8")
    _, printed, _ = xeric("tasks", "check", "--tasks-dir", tmp_path)
    assert "again: 1 with the input of another is merged into it as references" in printed
    assert "dropped" not in printed


@pytest.mark.parametrize("setting", ["zero-shot", "few-shot", "instruction"])
def test_a_setting_is_named_by_an_option(setting: str, xeric: Xeric, quick: list[str], tmp_path: Path) -> None:
    settings = [argument for argument in quick if argument != "prompt.demonstrations=1"]
    code, printed, notes = xeric(
        "train", "reverse_words", *settings, "--setting", setting, "data.max_test=4", "-o", tmp_path, "--json"
    )
    record = json.loads(printed)
    assert code == 0
    assert record["method"] == ("lora" if setting == "instruction" else "none")
    assert record["tasks"]["reverse_words"]["data"]["demonstrations"] == (0 if setting == "zero-shot" else 2)
    assert f"setting: {setting}" in (tmp_path / "config.yaml").read_text()
    assert "is not used" not in notes


def test_score_against_adds_the_paired_difference(xeric: Xeric, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    texts = ["el tren sale a las ocho", "la niña come pan blanco", "mañana llueve en la costa", "no hay nadie en casa hoy"]
    for path, change in ((good, lambda t: t), (bad, lambda t: "")):
        path.write_text(
            "".join(json.dumps({"id": n, "prediction": change(t), "references": [t]}) + "\n" for n, t in enumerate(texts))
        )
    code, printed, _ = xeric("score", good, "--against", bad, "--language", "es", "--metric", "rouge_l", "--json")
    result = json.loads(printed)["rouge_l"]
    assert (code, result["score"]) == (0, 100.0)
    assert result["against"]["difference"] == 100.0
    assert 0 < result["against"]["p"] <= 1
    assert xeric("score", good, "--against", bad, "--language", "es")[0] == 0
    directions = {"chrf": "higher", "wrong_script_rate": "lower", "length_ratio": None}
    given = ("score", good, "--against", bad, "--language", "es", *(word for name in directions for word in ("--metric", name)))
    assert {name: row["against"]["better"] for name, row in json.loads(xeric(*given, "--json")[1]).items()} == directions
    assert "neither" in xeric(*given)[1]


def test_tasks_commands(xeric: Xeric, tasks: Path) -> None:
    code, printed, _ = xeric("tasks", "check", "--tasks-dir", tasks, "--json")
    by_name = {row["name"]: row for row in json.loads(printed)}
    assert code == 2
    assert set(by_name) == {"reverse_words", "few", "broken", "long"}
    assert by_name["reverse_words"]["ok"]
    assert "line 2" in by_name["broken"]["error"]
    assert "6 instances" in by_name["few"]["error"]
    assert xeric("tasks", "check", "reverse_words", "--tasks-dir", tasks)[0] == 0
    code, printed, _ = xeric("tasks", "show", "reverse_words", "--tasks-dir", tasks)
    assert code == 0
    assert "reverse order" in printed
    assert json.loads(xeric("tasks", "show", "reverse_words", "--tasks-dir", tasks, "--json")[1])["instances"] == 80
    assert "reverse_words" in xeric("tasks", "list", "--tasks-dir", tasks)[1]


@pytest.mark.parametrize("command", ["list methods", "list metrics", "list weightings", "tasks list"])
def test_lists(command: str, xeric: Xeric) -> None:
    code, printed, _ = xeric(*command.split(), "--json")
    rows = json.loads(printed)
    assert code == 0
    assert all(set(row) >= {"name", "summary"} for row in rows)
    assert rows


def test_a_script_learns_why_a_method_is_not_offered(xeric: Xeric) -> None:
    rows = {row["name"]: row for row in json.loads(xeric("list", "methods", "--json")[1])}
    assert rows["lora"]["supported"]
    assert not rows["peft:adalora"]["supported"]
    for name, row in rows.items():
        assert bool(row["summary"]) == row["supported"] != bool(row["reason"]), name
    printed = xeric("list", "methods")[1]
    assert all(name in printed and (row["reason"] or row["summary"]) in printed for name, row in rows.items())


BAD: list[tuple[list[str], str, str]] = [
    (["reverse_word"], "unknown task 'reverse_word'", "reverse_words"),
    (["reverse_words", "--method", "lroa"], "unknown method 'lroa'", "lora"),
    (["reverse_words", "--method", "zero-shot"], "unknown method 'zero-shot'", "--setting zero-shot"),
    (["reverse_words", "--method", "instruction"], "unknown method 'instruction'", "--setting instruction"),
    (["reverse_words", "method=few-shot"], "unknown method 'few-shot'", "--setting few-shot"),
    (["reverse_words", "--setting", "zeroshot"], "prompt.setting", ""),
    (["reverse_words", "prompt=zero-shot"], "prompt", ""),
    (["reverse_words", "--setting", "few-shot", "prompt.demonstrations=0"], "use prompt.setting=zero-shot", ""),
    (["reverse_words", "--method", "peft:adalora"], "unknown method 'peft:adalora'", "not offered"),
    (["reverse_words", "--base", "bundled:english"], "'bundled:english' does not come with Xeric", "gemma-3-270m"),
    (["reverse_words", "--base", "./nowhere"], "no such file or folder", "hub id"),
    (["reverse_words", "--base", "no-such/model"], "could not be fetched", "local folder"),
    (["broken"], "broken.json, line 2", ""),
    (["few"], "6 instances", ""),
    (["long"], "no room for an input", ""),
    (["../reverse_words"], "not a task name", "--tasks-dir"),
    (["/etc/passwd"], "not a task name", "--tasks-dir"),
    (["reverse_words.json"], "file name", "reverse_words"),
    (["reverse_words", "--tasks-dir", "nowhere"], "nowhere: this folder of tasks", ""),
    (["reverse_words", "--n-train", "400"], "400", "64 or fewer"),
    (["reverse_words", "--n-train", "many"], "--n-train", "--help"),
    (["reverse_words", "train.lr=fast"], "train.lr", ""),
    (["reverse_words", "train.learning_rate=1"], "train.learning_rate", ""),
    (["reverse_words", "method.rnk=3"], "method.rnk", "rank"),
    (["reverse_words", "metrics=[rouge]"], "unknown metric 'rouge'", "rouge_l"),
    (["reverse_words", "prompt.demonstrations=60"], "prompt.demonstrations", ""),
    (["reverse_words", "prompt.template=chat"], "chat template", "plain"),
    (["reverse_words", "--device", "cuda"], "CUDA", "cpu"),
    (["reverse_words", "--config", "nowhere.yaml"], "nowhere.yaml", ""),
    (["train.lr=1"], "no task", ""),
    (["reverse_words", "--n-train", "0"], "no training instance", "--n-train"),
    (["reverse_words", "--n-train", "2", "prompt.demonstrations=6"], "no training instance", "fewer demonstrations"),
    (["reverse_words", "method.targets=[nowhere]"], "method.targets", "q_proj"),
    (["reverse_words", "--precision", "4bit"], "CUDA", "bf16"),
    (
        ["reverse_words", "--method", "prefix", "train.gradient_checkpointing=true"],
        "train.gradient_checkpointing",
        "level: input",
    ),
    (["reverse_words", "--sources", "reverse_word"], "unknown task 'reverse_word'", "reverse_words"),
    (["reverse_words", "--sources", "reverse_words"], "which is scored", "other tasks"),
    (["reverse_words", "stages.0.train.lr=1"], "stages", ""),
    (
        ["reverse_words", "--method", "combined", "method.lora=false", "method.prefix=false", "method.embedding=false"],
        "use the method 'none'",
        "",
    ),
]


@pytest.mark.parametrize(("arguments", "what", "hint"), BAD, ids=[" ".join(case[0]) for case in BAD])
def test_bad_input_is_one_sentence_and_a_hint(
    arguments: list[str], what: str, hint: str, xeric: Xeric, quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[-2:-1] == ["--device"]:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    given = [*quick, *arguments[1:]] if "--base" not in arguments else [*quick[:2], *quick[4:], *arguments[1:]]
    code, printed, complaint = xeric("train", arguments[0], *given, "-o", tmp_path / "out")
    assert code == 2
    assert printed == ""
    lines = [line for line in complaint.splitlines() if line.startswith(("xeric: ", "hint: "))]
    assert lines[0].startswith("xeric: ")
    assert what in lines[0]
    assert hint in " ".join(lines[1:])
    assert "Traceback" not in complaint
    assert not (tmp_path / "out").exists(), "the corrected command must find the folder free"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["generate", "nowhere", "--input", "x"], "no finished run"),
        (["generate", "nowhere", "--input", "x", "--file", "y"], "--input or --file"),
        (["generate", "nowhere"], "no finished run"),
        (["score", "nowhere.jsonl"], "nowhere.jsonl"),
        (["frobnicate"], "frobnicate"),
        (["score"], "PREDICTIONS"),
        (["tasks", "show", "x/y"], "not a task name"),
    ],
)
def test_other_commands_refuse_likewise(arguments: list[str], what: str, xeric: Xeric) -> None:
    code, printed, complaint = xeric(*arguments)
    assert (code, printed) == (2, "")
    assert what.lower() in complaint.lower()
    assert "Traceback" not in complaint


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (["pretrain", "multilingual", "-o", "out", "seed=1"], "`xeric pretrain` is gone", "--base gemma-3-270m"),
        (["pretrain", "--help"], "`xeric pretrain` is gone", "--texts DIR"),
        (["list", "bases", "--json"], "`xeric list bases` is gone", "xeric bases list"),
        (["list", "tasks"], "`xeric list tasks` is gone", "xeric tasks list"),
    ],
)
def test_a_command_of_earlier_versions_says_what_takes_its_place(
    arguments: list[str], what: str, hint: str, xeric: Xeric
) -> None:
    code, printed, complaint = xeric(*arguments)
    assert (code, printed) == (2, "")
    first, second = complaint.splitlines()
    assert first == f"xeric: {what}"
    assert hint in second
    assert arguments[0] == "list" or " pretrain " not in xeric("--help")[1]


def test_a_half_written_record_is_not_a_result(xeric: Xeric, quick: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "record.json").write_text('{"run_id": "abc", "sta')
    code, _, complaint = xeric("train", "reverse_words", *quick, "-o", out)
    assert code == 2
    assert "not a run record" in complaint


def test_debug_shows_the_traceback(xeric: Xeric) -> None:
    from xeric.errors import UserError

    with pytest.raises(UserError):
        xeric("--debug", "score", "nowhere.jsonl")


def test_an_unexpected_error_is_a_sentence_too(xeric: Xeric, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of paper")

    monkeypatch.setattr("xeric.record_io.read_predictions", broken)
    code, _, complaint = xeric("score", "x.jsonl")
    assert code == 1
    assert "out of paper" in complaint
    assert "--debug" in complaint


def test_version_and_help(xeric: Xeric) -> None:
    from xeric import __version__

    assert xeric("--version")[:2] == (0, f"xeric {__version__}\n")
    code, printed, _ = xeric("--help")
    assert code == 0
    assert all(command in printed for command in ("train", "generate", "score", "tasks", "list", "demo"))


def test_a_diverged_run_leaves_with_1(xeric: Xeric, quick: list[str], tmp_path: Path) -> None:
    code, printed, _ = xeric(
        "train",
        "reverse_words",
        *quick,
        "-o",
        tmp_path / "out",
        "train.lr=1e30",
        "train.clip=0",
        "train.warmup=0",
        "train.max_steps=9",
    )
    assert code == 1
    assert "diverged" in printed


def test_scoring_imports_no_model_library(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prediction": "कल बारिश होगी", "references": ["कल बारिश होगी"]}\n')
    code = (
        "import sys; from xeric.cli import run; code = run(['score', sys.argv[1], '--language', 'hi', '--json']);"
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers', 'peft')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rouge_l"]["score"] == 100.0
