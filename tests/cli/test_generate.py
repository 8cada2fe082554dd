"""``xeric generate``: where inputs come from and how texts go out; in which precision, and when texts may not be the run's."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import xeric as package
from tests import tiny
from tests.cli.conftest import Xeric
from xeric.errors import DataError, UserError

ROUNDING = "texts may differ from the run's where two words are nearly as likely: in bf16 rounding depends on"


@pytest.fixture
def run(xeric: Xeric, base_folder: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    tiny.write_task(tmp_path / "tasks", "words", instances=60)

    def made(precision: str) -> Path:
        out = tmp_path / precision
        settings = ("prompt.demonstrations=0", "train.max_steps=1", "decode.max_new_tokens=4", "metrics=[chrf]")
        given = ("--tasks-dir", tmp_path / "tasks", "--base", base_folder("llama"), "--device", "cpu", "--n-train", "20")
        code, _, notes = xeric("train", "words", *given, "--precision", precision, *settings, "-o", out)
        assert code == 0, notes
        return out

    return made


def first(out: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads((out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()[0])
    return row


def test_the_runs_own_precision_unless_another_is_asked_for(xeric: Xeric, run: Callable[[str], Path]) -> None:
    out = run("fp32")
    row = first(out)
    code, printed, notes = xeric("generate", out, "--input", row["input"])
    assert (code, printed.strip(), notes) == (0, row["prediction"], "")
    assert xeric("generate", out, "--input", row["input"], "--precision", "fp32")[1:] == (printed, "")
    code, _, notes = xeric("generate", out, "--input", row["input"], "--precision", "bf16")
    assert code == 0
    assert notes.splitlines() == [
        "texts may differ from the run's: it was computed in fp32 on cpu, and this is computed in bf16 on cpu"
    ]


def test_sixteen_bits_promise_no_equal_texts(xeric: Xeric, run: Callable[[str], Path]) -> None:
    out = run("bf16")
    code, _, notes = xeric("generate", out, "--input", first(out)["input"])
    assert code == 0
    assert ROUNDING in notes
    assert "it was computed in bf16 on cpu" in xeric("generate", out, "--input", "a boat", "--precision", "fp32")[2]


def test_another_device_than_the_runs_is_said(xeric: Xeric, run: Callable[[str], Path]) -> None:
    out = run("fp32")
    path = out / "adapter" / "adapted.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    assert description["device"] == "cpu"
    path.write_text(json.dumps({**description, "device": "cuda"}), encoding="utf-8")
    assert (
        "it was computed in fp32 on cuda, and this is computed in fp32 on cpu" in xeric("generate", out, "--input", "a boat")[2]
    )
    del description["device"]  # an adaptation of an earlier version
    path.write_text(json.dumps(description), encoding="utf-8")
    assert xeric("generate", out, "--input", "a boat")[2] == ""


def test_a_precision_that_there_is_not_is_refused(xeric: Xeric, run: Callable[[str], Path]) -> None:
    out = run("fp32")
    code, _, notes = xeric("generate", out, "--input", "a boat", "--precision", "fp16")
    assert (code, "unknown precision 'fp16'" in notes, "bf16" in notes) == (2, True, True)
    code, _, notes = xeric("generate", out, "--input", "a boat", "--precision", "4bit")
    assert (code, "CUDA" in notes) == (2, True)


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_lines_and_rows_come_from_files_and_from_standard_input(
    xeric: Xeric, run: Callable[[str], Path], piped: Callable[[bytes], None], tmp_path: Path
) -> None:
    out = run("fp32")
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()[:3]]
    expected = [row["prediction"] for row in rows]
    assert not any("\n" in text for text in expected)
    plain = "".join(f"{row['input']}\n" for row in rows)
    (tmp_path / "inputs.txt").write_text(plain, encoding="utf-8")
    assert xeric("generate", out, "--file", tmp_path / "inputs.txt") == (0, "".join(f"{text}\n" for text in expected), "")
    for arguments in ([], ["--file", "-"], ["--stream"], ["--file=-", "--stream"]):
        piped(plain.encode("utf-8-sig"))
        code, printed, notes = xeric("generate", out, *arguments)
        assert (code, printed.splitlines(), notes) == (0, expected, ""), arguments
    for arguments in ([], ["--stream"]):
        piped("".join(json.dumps({"id": n, "input": row["input"]}) + "\n" for n, row in enumerate(rows)).encode())
        code, printed, _ = xeric("generate", out, *arguments)
        answers = [{"id": n, "input": row["input"], "prediction": row["prediction"]} for n, row in enumerate(rows)]
        assert [json.loads(line) for line in printed.splitlines()] == answers
    code, printed, notes = xeric("generate", out, "--input", rows[0]["input"], "--json")
    assert (code, json.loads(printed)) == (0, {"input": rows[0]["input"], "prediction": expected[0]})
    piped(b"one\n\nt\xf1o\n")
    code, printed, notes = xeric("generate", out, "--stream", "--encoding", "cp1252", "--json")
    assert [json.loads(line)["input"] for line in printed.splitlines()] == ["one", "t\u00f1o"]
    assert notes == "standard input: 1 empty line was skipped\n"


def test_what_is_wrong_with_standard_input_is_one_sentence(
    xeric: Xeric, run: Callable[[str], Path], piped: Callable[[bytes], None]
) -> None:
    out = run("fp32")
    for content, arguments, what in (
        (b"", [], "standard input: holds no inputs"),
        (b"\xf1o\n", [], "not UTF-8 text: byte 0xf1"),
        (b"\xf1o\n", ["--stream"], "not utf-8 text: byte 0xf1"),
        (b"a\n", ["--stream", "--format", "table"], "a table is not read while it is being written"),
        (b"a\n", ["--stream", "--encoding", "morse"], "there is no encoding 'morse'"),
        (b"a\n", ["--format", "xml"], "unknown format 'xml'"),
        (b'{"input": "a", "task": "no such task"}\n', [], "unknown task 'no such task'"),
    ):
        piped(content)
        code, printed, complaint = xeric("generate", out, *arguments)
        assert (code, printed, what in complaint) == (2, "", True), (what, complaint)
        assert "Traceback" not in complaint


def test_a_pipe_is_answered_line_by_line_and_may_break(run: Callable[[str], Path]) -> None:
    out = run("fp32")
    row = first(out)
    code = "import sys; from xeric.cli import main; sys.argv[0] = 'xeric'; main()"
    command = [sys.executable, "-c", code, "generate", str(out), "--stream"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as served:
        assert served.stdin is not None
        assert served.stdout is not None
        assert served.stderr is not None
        for _ in range(2):
            served.stdin.write(row["input"] + "\n")
            served.stdin.flush()
            assert served.stdout.readline() == row["prediction"] + "\n", "answered before the next line is written"
        served.stdout.close()
        served.stdin.write("the reader has gone\n")
        served.stdin.flush()
        assert served.stderr.read() == ""
        assert served.wait() == 0


def test_in_python_texts_come_as_they_are_finished(run: Callable[[str], Path]) -> None:
    out = run("fp32")
    row = first(out)
    asked: list[int] = []

    def inputs() -> Any:
        for number in range(2):
            asked.append(number)
            yield row["input"]
        yield "left \ud83d at noon"

    texts = package.stream(out, inputs())
    assert (next(texts), asked) == (row["prediction"], [0])
    assert (next(texts), asked) == (row["prediction"], [0, 1])
    with pytest.raises(DataError, match="input 3: the text holds half of a surrogate pair"):
        next(texts)
    with pytest.raises(UserError, match="unknown task"):
        package.stream(out, [], task="no such task")


def test_a_terminal_is_asked_for_inputs_only_where_it_is_to_stream(
    xeric: Xeric, run: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    out = run("fp32")
    row = first(out)
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(row["input"].encode() + b"\n")))
    code, printed, complaint = xeric("generate", out)
    assert (code, printed, "give either --input or --file" in complaint) == (2, "", True)
    assert xeric("generate", out, "--stream") == (0, row["prediction"] + "\n", "")
