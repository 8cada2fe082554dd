"""``xeric pretrain`` as its user meets it: what it leaves, that it goes on after a kill, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from transformers import AutoModelForCausalLM

from tests.cli.conftest import Xeric
from tests.training.test_corpus import write_sources
from tests.training.test_pretrain import SETTINGS
from xeric.cli.pretrain_progress import PretrainingProgress
from xeric.config import dump_yaml
from xeric.training.pretrain_config import find_recipe
from xeric.training.pretrain_progress import Progress

ROOT = Path(__file__).parents[2]

# The command itself, in a process that kills itself, hard, in the middle of a step.
KILLED = """
import os, signal, sys
from xeric.cli import run
from xeric.cli.pretrain_progress import PretrainingProgress

shown = PretrainingProgress.step

def step(self, progress):
    shown(self, progress)
    if progress.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

PretrainingProgress.step = step
run(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    corpus = write_sources(folder).model_dump(mode="json")
    (folder / "tiny.yaml").write_text(dump_yaml({**SETTINGS, "corpus": corpus}), encoding="utf-8")
    return folder


def _command(sources: Path, output: Path) -> list[str | Path]:
    return ["pretrain", sources / "tiny.yaml", "-o", output, "--text-dir", sources / "text", "--tasks-dir", sources / "tasks"]


def test_a_killed_training_goes_on_to_the_bytes_of_an_undisturbed_one(sources: Path, xeric: Xeric, tmp_path: Path) -> None:
    code, said, notes = xeric(*_command(sources, tmp_path / "whole"))
    assert code == 0
    assert "8 steps" in said
    assert "tokens/s" in notes
    assert "step 3, bits per character" in notes
    AutoModelForCausalLM.from_pretrained(tmp_path / "whole")

    arguments = list(map(str, _command(sources, tmp_path / "cut")))
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    code, said, _ = xeric("pretrain", sources / "tiny.yaml", "-o", tmp_path / "cut", "--publish", tmp_path / "base", "--json")
    assert code == 0
    assert json.loads(said)["finished"]
    assert sorted(json.loads(said)["published"]) == sorted(map(str, (tmp_path / "base").iterdir()))
    for name in ("model.safetensors", "log.jsonl", "config.json", "tokenizer.json", "pretrain.yaml"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_stopped_after_a_time_it_says_that_it_is_not_finished(sources: Path, xeric: Xeric, tmp_path: Path) -> None:
    code, said, _ = xeric(*_command(sources, tmp_path / "base"), "--seconds", "0", "--publish", tmp_path / "published")
    assert code == 0
    assert "not finished" in said
    assert not (tmp_path / "published").exists()
    assert "not measured yet" in said


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (["{config}"], "no folder is named", "-o"),
        (["englsh", "-o", "{out}"], "unknown pretraining config 'englsh'", "english"),
        (["nowhere.yaml", "-o", "{out}"], "nowhere.yaml: cannot be read", "YAML"),
        (["{config}", "-o", "{out}"], "the folder that this file lies in is not known", "--tasks-dir"),
        (["{config}", "-o", "{out}", "--tasks-dir", "{tasks}"], "is not known", "--text-dir"),
        (["{config}", "-o", "{out}", "--tasks-dir", "{out}"], "target.json", ""),
        (["{config}", "-o", "{tasks}"], "not a training's", "-o"),
        (["{config}", "-o", "{config}"], "is a file", "-o"),
        (["{config}", "-o", "{out}", "--beside", "{tasks}"], "no trained base", "end first"),
        (["{config}", "-o", "{out}", "shape.hidden_sise=3"], "shape.hidden_sise", "hidden_size"),
        (["{config}", "-o", "{out}", "mixture.tokens=100"], "mixture", ""),
        (["{config}", "-o", "{out}", "device=tpu9"], "unknown device", "cpu"),
        (["{config}", "-o", "{out}", "--seconds", "-1"], "--seconds", "--help"),
    ],
)
def test_bad_input_is_one_sentence_and_a_hint(
    arguments: list[str], what: str, hint: str, sources: Path, xeric: Xeric, tmp_path: Path
) -> None:
    places = {"config": sources / "tiny.yaml", "out": tmp_path / "out", "tasks": sources / "tasks"}
    code, said, complaint = xeric("pretrain", *(argument.format(**places) for argument in arguments))
    lines = [line for line in complaint.splitlines() if line.startswith(("xeric: ", "hint: "))]
    assert (code, said) == (2, "")
    assert what in lines[0]
    assert hint in " ".join(lines[1:])
    assert "Traceback" not in complaint
    assert not (tmp_path / "out").exists(), "the corrected command must find the folder free"


def test_bundled_configs_go_by_name_and_others_by_path() -> None:
    assert find_recipe("english").name == "english.yaml"
    assert find_recipe("mine/english.yaml") == Path("mine/english.yaml")


def test_the_bar_shows_rate_and_time_left() -> None:
    progress = PretrainingProgress()
    progress._console = progress._bar.live.console = Console(force_terminal=True, width=200, record=True)
    progress.step(Progress(7, {"text": 4.5, "rows": 2.25}, 2_500_000, 10_000_000, 2271.6, 3725.0, decaying=True))
    progress._console.print(progress._bar.get_renderable())
    shown = progress._console.export_text()
    for part in ("decay", "2.50M of 10.00M characters", "text 4.500, rows 2.250", "2,272 tokens/s", "1:02:05 left"):
        assert part in shown
