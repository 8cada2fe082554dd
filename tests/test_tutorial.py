"""The tutorial's commands, one after the other, on a made file and a tiny base."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from xeric.adapt import studies
from xeric.adapt.costs import MeasuredCosts
from xeric.cli import run

TUTORIAL = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```\n(.*?)```", TUTORIAL, re.DOTALL) for line in block.splitlines()]
WORDS = ["parcel", "lamp", "chair", "invoice", "switch", "letter", "refund", "cable", "window", "kettle", "bicycle", "garden"]


def write_files(folder: Path) -> None:
    """Write the reader's files: tickets of customers who wrote up to three times, and messages to answer."""
    with (folder / "tickets.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["message", "reply", "customer_id"])
        for number in range(120):
            about = [WORDS[(number * 5 + step * (number % 7 + 1)) % len(WORDS)] for step in range(5)]
            writer.writerow(
                [f"{' '.join(about)} did not come {number}", f"we send {' and '.join(about[:3])} {number * 3}", number // 3]
            )
    (folder / "messages.txt").write_text("the lamp is broken\nwhere is my parcel\n", encoding="utf-8")


def test_every_command_of_the_tutorial_works(
    base_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # The reader's base and time are those of a machine in a hurry: one method, and a speed that is known.
    monkeypatch.setattr(studies, "_METHODS", ("lora",))
    monkeypatch.setattr(studies, "_TRIALS", 1)
    monkeypatch.setattr(MeasuredCosts, "step", lambda self, candidate: 0.01)
    monkeypatch.setattr(MeasuredCosts, "text", lambda self: 0.001)
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        words = shlex.split(command)
        assert words[0] == "xeric"
        extra = ["--base", str(base_folder("llama")), "--device", "cpu"] if words[1] == "adapt" else []
        assert run([*words[1:], *extra]) == 0, (command, capfd.readouterr())
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "out-merged" / "model.safetensors").is_file()
    assert "What would help most: " in capfd.readouterr().out
