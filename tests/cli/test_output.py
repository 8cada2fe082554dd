"""What standard output gets: UTF-8 in files and pipes, whatever the system's own encoding; never a lost text."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from xeric.cli.options import speak_utf8

_CALL = "from xeric.cli import main; main()"


def _xeric(*arguments: str | Path, encoding: str = "cp1252", out: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", _CALL, *map(str, arguments)]
    return subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=environment, check=False)


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "ascii"])
def test_redirected_output_is_utf8_in_every_locale(encoding: str, tmp_path: Path) -> None:
    tiny.write_task(tmp_path, "नदी", instances=40, language="Hindi")
    plain = _xeric("tasks", "show", "नदी", "--tasks-dir", tmp_path, encoding=encoding)
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert plain.stdout.decode("utf-8").startswith("नदी: 40 instances")
    parsed = json.loads(
        _xeric("tasks", "show", "नदी", "--tasks-dir", tmp_path, "--json", encoding=encoding).stdout.decode("utf-8")
    )
    assert parsed["first"][0]["input"] == tiny.task_data("नदी", language="Hindi")["Instances"][0]["input"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_no_success_and_no_mistake_of_ours(tmp_path: Path) -> None:
    tiny.write_task(tmp_path, "one")
    with Path("/dev/full").open("wb") as full:
        done = _xeric("tasks", "show", "one", "--tasks-dir", tmp_path, out=full.fileno())
    assert done.returncode == 1
    first, second = done.stderr.decode().splitlines()
    assert first == "xeric: standard output: cannot be read or written: No space left on device"
    assert second.startswith("hint: make room")


def test_a_terminal_shows_a_replacement_for_a_letter_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    terminal = io.TextIOWrapper(shown, encoding="cp1252")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    speak_utf8()
    terminal.write("für नमस्ते")
    terminal.flush()
    assert shown.getvalue() == "für ??????".encode("cp1252")


def test_half_a_letter_in_json_stays_json(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    speak_utf8()
    sys.stdout.write(json.dumps({"input": "a\ud83d"}, ensure_ascii=False))
    sys.stdout.flush()
    assert json.loads(written.getvalue().decode("utf-8")) == {"input": "a\ud83d"}
