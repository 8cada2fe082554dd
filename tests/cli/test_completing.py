"""What a shell asks when TAB is pressed is answered without a tensor library."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny
from tests.cli.conftest import Xeric
from tests.test_light import xeric_without_train
from xeric import __version__


def completed(line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    words = line.split(" ")
    monkeypatch.setenv("_XERIC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line.replace(" ", "\n"))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    done = xeric_without_train()
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("xeric gen", ["generate"]),
        ("xeric train --method pre", ["prefix"]),
        ("xeric train --base smol", ["smollm2-135m"]),
        ("xeric train summarization_", ["summarization_en", "summarization_es", "summarization_hi"]),
        ("xeric train --setting few", ["few-shot"]),
        ("xeric train --track tens", ["tensorboard"]),
        ("xeric score --metric rou", ["rouge_l"]),
        ("xeric bases show gem", ["gemma-3-270m"]),
        ("xeric study run sample", ["sample_size"]),
        ("xeric tasks show email_subject_e", ["email_subject_en", "email_subject_es"]),
        ("xeric train --tasks-dir nowhere a", []),
    ],
)
def test_names_are_completed_without_torch(line: str, offered: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(line, monkeypatch) == offered


def test_tasks_of_a_folder_that_stands_before_are_completed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny.write_task(tmp_path, "tickets", instances=3)
    assert completed(f"xeric train --tasks-dir {tmp_path} tick", monkeypatch) == ["tickets"]


def test_the_script_and_the_version(xeric: Xeric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    code, printed, _ = xeric("--version")
    assert (code, printed) == (0, f"xeric {__version__}\n")
    monkeypatch.setenv("_XERIC_COMPLETE", "source_bash")
    done = xeric_without_train()
    assert done.returncode == 0
    assert "_XERIC_COMPLETE=complete_bash" in done.stdout
    assert "complete -o default -F" in done.stdout
