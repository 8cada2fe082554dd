"""What needs no tensor library runs without one; what needs one says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.made_study import write_study

_WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

HEAVY = {"torch", "transformers", "peft", "accelerate", "safetensors", "gguf", "tokenizers", "huggingface_hub"}
sys.meta_path.insert(0, Missing())
from xeric.cli import main
main()
"""


def _xeric(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process in which the packages of the extra ``train`` cannot be imported."""
    command = [sys.executable, "-c", _WITHOUT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study") / "made")


@pytest.mark.parametrize("command", ["--version", "--help", "list metrics", "list methods", "tasks list"])
def test_what_is_there_is_listed_without_torch(command: str) -> None:
    done = _xeric(*command.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("command", ["study status", "study rescore", "report", "recommend"])
def test_a_study_is_looked_at_without_torch(command: str, study: Path) -> None:
    done = _xeric(*command.split(), study)
    assert done.returncode == 0, done.stderr


def test_predictions_are_scored_without_torch(study: Path) -> None:
    done = _xeric("score", next(study.glob("runs/*/predictions.jsonl")), "--json")
    assert done.returncode == 0, done.stderr
    assert '"chrf"' in done.stdout


@pytest.mark.parametrize("command", ["train a_task --base nowhere", "generate nowhere --input text", "demo"])
def test_what_trains_or_decodes_says_what_to_install(command: str) -> None:
    done = _xeric(*command.split())
    assert done.returncode == 2
    assert "which is not installed" in done.stderr
    assert "hint: pip install 'xeric[train]'" in done.stderr


def test_the_list_of_tasks_has_one_name() -> None:
    done = _xeric("list", "tasks")
    assert (done.returncode, done.stderr) == (2, "xeric: `xeric list tasks` is gone\nhint: use `xeric tasks list`\n")
