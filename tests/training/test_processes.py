"""A training by several processes is that of one: losses, weights, and after a process is killed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.together import Case, carry_out, together
from xeric.bases.tensors import read_tensors
from xeric.errors import UserError
from xeric.training.processes import ALONE, Rank, joined, launched_rank, shared_out

LORA = {"name": "lora", "rank": 4}
METHODS = [
    Case("lora", LORA, {"select": "loss", "patience": 9}),
    Case("full", {"name": "full"}, {"clip": 0.0}),
    # A prefix per task: in many steps one process has no row of a task, and so no gradient of its prefix.
    # Its embedding tables learn at 50 times the rate, and AdamW divides gradients by their own size: where they are nearly 0, the
    # order of their sum shows in a weight as a share of the rate.
    Case("combined", {"name": "combined"}, {"weighting": {"name": "uncertainty"}}, lr=2e-5),
    Case("prefix", {"name": "prefix", "level": "kv", "scope": "task", "length": 4}, {"batch_size": 3}),
    Case("stopped", LORA, {"select": "loss", "patience": 1, "dev_every": 1, "max_steps": 30}),
]
DROPOUT = Case("dropout", {**LORA, "dropout": 0.3}, {"select": "loss", "patience": 9, "checkpoint_seconds": 1000})
HALF = Case("half", LORA, {"checkpoint_seconds": 0})


@pytest.fixture(scope="module")
def base(base_folder: Callable[[str], Path]) -> str:
    return str(base_folder("llama"))


@pytest.fixture(scope="module")
def pair(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes trained."""
    folder = tmp_path_factory.mktemp("pair")
    assert together(2, [*METHODS, DROPOUT], base, folder) == [0, 0]
    return folder


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights(folder: Path, number: int = 0) -> dict[str, torch.Tensor]:
    return read_tensors(folder / f"weights{number}.safetensors", "weights")


def assert_same_training(folder: Path, expected: Path) -> None:
    """Losses, gradient norms, task weights, dev and rates agree to 1e-6 of their size, and weights to 1e-6."""
    for row, other in zip(log_of(folder), log_of(expected), strict=True):
        assert row.keys() == other.keys()
        for key in row:
            exact = isinstance(row[key], (str, bool))
            assert row[key] == (other[key] if exact else pytest.approx(other[key], rel=1e-6)), (key, row, other)
    values, wanted = weights(folder), weights(expected)
    assert values.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(values[name], tensor, rtol=1e-6, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("case", METHODS, ids=lambda case: case.name)
def test_two_processes_train_as_one(case: Case, pair: Path, base: str, tmp_path: Path) -> None:
    alone = carry_out(case, base, tmp_path)
    assert alone.status == "ok"
    assert_same_training(pair / case.name, tmp_path / case.name)
    assert len(log_of(pair / case.name)) == len(log_of(tmp_path / case.name)) > 3


@pytest.mark.parametrize("case", [*METHODS, DROPOUT], ids=lambda case: case.name)
def test_all_processes_end_with_the_same_weights_and_one_writes(case: Case, pair: Path) -> None:
    assert (pair / case.name / "weights0.safetensors").read_bytes() == (pair / case.name / "weights1.safetensors").read_bytes()
    steps = [row["step"] for row in log_of(pair / case.name) if "loss" in row]
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others_and_the_training_goes_on(killed: int, pair: Path, base: str, tmp_path: Path) -> None:
    """The first process saves when it loses another; where it is killed itself, the last checkpoint is there."""
    options = {**DROPOUT.train, "checkpoint_seconds": 1000 if killed else 0}
    codes = together(2, [Case("dropout", DROPOUT.method, options, killed=(killed, 5))], base, tmp_path)
    assert codes[killed] == -9
    assert codes[1 - killed] == 1
    assert "another process of this run has ended" in (tmp_path / f"error{1 - killed}").read_text()
    assert (tmp_path / "dropout" / "checkpoint" / "training.safetensors").is_file()
    assert together(2, [DROPOUT], base, tmp_path) == [0, 0]
    for file in ("log.jsonl", "weights0.safetensors"):
        assert (tmp_path / "dropout" / file).read_bytes() == (pair / "dropout" / file).read_bytes(), file


def test_a_checkpoint_serves_any_number_of_processes(base: str, tmp_path: Path) -> None:
    """One process begins, three go on and are killed, one ends; the last two steps are those of another plan."""
    carry_out(HALF, base, tmp_path / "alone")
    with pytest.raises(SystemExit):
        carry_out_until(3, base, tmp_path / "mixed")
    assert -9 in together(3, [Case("half", HALF.method, HALF.train, killed=(2, 3))], base, tmp_path / "mixed")
    began = [row["step"] for row in log_of(tmp_path / "mixed" / "half")]
    carry_out(HALF, base, tmp_path / "mixed")
    assert 3 < len(began) < 8
    assert_same_training(tmp_path / "mixed" / "half", tmp_path / "alone" / "half")


def carry_out_until(step: int, base: str, folder: Path) -> None:
    """Train alone, and leave after a step."""

    def leave(*_: object) -> None:
        raise SystemExit

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tests.training.together.os.kill", leave)
        carry_out(Case("half", HALF.method, HALF.train, killed=(0, step + 1)), base, folder)


@pytest.mark.parametrize(
    ("costs", "count", "expected"),
    [
        ([5, 9, 4, 4], 2, [[1, 3], [0, 2]]),
        ([3, 3, 3], 3, [[0], [1], [2]]),
        ([7], 2, [[0], []]),
        ([], 2, [[], []]),
        ([1, 2, 3], 1, [[0, 1, 2]]),
    ],
)
def test_work_is_shared_out_by_its_cost(costs: Sequence[int], count: int, expected: list[list[int]]) -> None:
    assert shared_out(costs, count) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"WORLD_SIZE": "4"}, None),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, Rank(3, 4, 1)),
    ],
)
def test_a_launcher_says_which_process_this_is(
    variables: dict[str, str], expected: Rank | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched_rank() == expected


@pytest.mark.parametrize(("number", "count"), [("4", "4"), ("-1", "2"), ("one", "2"), ("0", "")])
def test_an_environment_that_contradicts_itself_is_refused(number: str, count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", number)
    monkeypatch.setenv("WORLD_SIZE", count)
    with pytest.raises(UserError, match="name no process of a run"):
        launched_rank()


def test_one_gpu_is_refused_for_several_processes() -> None:
    with pytest.raises(UserError, match="cuda:1 is one GPU"), joined("cuda:1", Rank(0, 2, 0)):
        pass


def test_alone_nothing_is_waited_for() -> None:
    with joined("cpu", None) as processes:
        assert processes is ALONE
    assert ALONE.first
    assert ALONE.from_first(lambda: 7) == 7
    assert ALONE.total([1.5, 2.0]) == [1.5, 2.0]
    assert [ALONE.any(flag) for flag in (True, False)] == [True, False]
