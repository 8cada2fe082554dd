"""What needs no tensor library runs without one; what needs one says what to install."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.made_study import write_study
from xeric.errors import missing_package_error

_ROOT = Path(__file__).parents[1]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

_BLOCKED = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in PACKAGES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

PACKAGES = sys.argv.pop(1).split(",")
sys.meta_path.insert(0, Missing())
"""
_COMMAND = """
from xeric.cli import main
main()
"""
_API = """
import xeric

predictions = sys.argv[1]
prepared = xeric.prepare(xeric.load_task("summarization_en"), n_train=5)
print(list(xeric.score(predictions, ["chrf"])))
for call in (
    lambda: xeric.load_base("nowhere"),
    lambda: xeric.open_adapted("nowhere"),
    lambda: xeric.train("nowhere", prepared),
    lambda: xeric.generate("nowhere", ["text"]),
    lambda: xeric.run_study("nowhere", "nowhere"),
):
    try:
        call()
    except xeric.errors.UserError as error:
        print(error.hint)
"""


def train_packages() -> set[str]:
    """The packages of the extra ``train``, as they are imported."""
    return {Requirement(line).name.replace("-", "_") for line in _PROJECT["optional-dependencies"]["train"]}


def without_train(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process in which the packages of the extra ``train`` cannot be imported."""
    command = [sys.executable, "-c", _BLOCKED + code, ",".join(train_packages()), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def xeric_without_train(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return without_train(_COMMAND, *arguments)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study") / "made")


@pytest.mark.parametrize("command", ["--version", "--help", "list metrics", "list methods", "tasks list", "bases list"])
def test_what_is_there_is_listed_without_torch(command: str) -> None:
    done = xeric_without_train(*command.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("command", ["study status", "study rescore", "report", "recommend"])
def test_a_study_is_looked_at_without_torch(command: str, study: Path) -> None:
    done = xeric_without_train(*command.split(), study)
    assert done.returncode == 0, done.stderr


def test_predictions_are_scored_without_torch(study: Path) -> None:
    done = xeric_without_train("score", next(study.glob("runs/*/predictions.jsonl")), "--json")
    assert done.returncode == 0, done.stderr
    assert '"chrf"' in done.stdout


@pytest.mark.parametrize("command", ["train a_task --base nowhere", "generate nowhere --input text", "demo"])
def test_what_trains_or_decodes_says_what_to_install(command: str) -> None:
    done = xeric_without_train(*command.split())
    assert done.returncode == 2
    assert "which is not installed" in done.stderr
    assert "hint: pip install 'xeric[train]'" in done.stderr


def test_python_functions_work_without_torch_or_say_what_to_install(study: Path) -> None:
    done = without_train(_API, next(study.glob("runs/*/predictions.jsonl")))
    assert done.stdout.splitlines() == ["['chrf']", *["pip install 'xeric[train]'"] * 5], done.stderr


def test_every_package_of_the_extra_has_the_message() -> None:
    for name in train_packages():
        error = missing_package_error(ModuleNotFoundError(f"No module named '{name}.part'", name=f"{name}.part"))
        assert error is not None, name
        assert str(error) == f"this needs {name}, which is not installed"
    assert missing_package_error(ModuleNotFoundError("No module named 'xeric.typo'", name="xeric.typo")) is None


def test_the_lock_is_within_every_range() -> None:
    """`pip check` looks at what the package itself needs, not at its extras."""
    lines = (_ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    extras = _PROJECT["optional-dependencies"]
    for line in [*_PROJECT["dependencies"], *extras["train"], *extras["dev"], *extras["docs"]]:
        needed = Requirement(line)
        if needed.name != _PROJECT["name"]:
            assert needed.specifier.contains(pins[canonicalize_name(needed.name)]), line
