"""Task weights: fixed ones by their formula, learned ones by hand, and what they do to gradients."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import rows
from tests.attached import train
from xeric.bases.base import Base
from xeric.errors import ConfigError
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.run.config import run_config
from xeric.training.options import TrainOptions
from xeric.training.result import TrainResult
from xeric.training.weighting import WEIGHTINGS, WeightingOptions, weighting_of

SIZES = {"one": 300, "two": 100, "three": 20}


def weights(**options: Any) -> dict[str, float]:
    return weighting_of(WeightingOptions(**options), SIZES).weights()


@pytest.mark.parametrize(
    ("options", "raw"),
    [
        ({"name": "uniform"}, [1, 1, 1]),
        ({"name": "size"}, [300, 100, 20]),
        ({"name": "temperature", "temperature": 3.0}, [300 ** (1 / 3), 100 ** (1 / 3), 20 ** (1 / 3)]),
        ({"name": "temperature", "temperature": 1.0}, [300, 100, 20]),
        ({"name": "manual", "weights": {"three": 6.0, "one": 1.0, "two": 2.0}}, [1, 2, 6]),
        ({"name": "uncertainty"}, [1, 1, 1]),
    ],
)
def test_fixed_weights_follow_their_formula_and_average_one(options: dict[str, Any], raw: list[float]) -> None:
    values = weights(**options)
    assert sum(values.values()) / 3 == pytest.approx(1)
    assert list(values.values()) == pytest.approx([3 * value / sum(raw) for value in raw])


@pytest.mark.parametrize("name", WEIGHTINGS.names())
def test_every_registered_weighting_averages_one_before_and_after_steps(name: str) -> None:
    options = WeightingOptions(name=name, weights={"one": 1.0, "two": 2.0, "three": 6.0} if name == "manual" else {})
    weighting = weighting_of(options, SIZES)
    learned = weighting.parameters()
    optimizer = torch.optim.SGD(learned.values(), lr=0.1) if learned else None
    for losses in ({"one": 3.0, "two": 0.5, "three": 1.0}, {"two": 0.1}):
        values = weighting.weights()
        assert list(values) == list(SIZES)
        assert min(values.values()) >= 0
        assert sum(values.values()) / len(values) == pytest.approx(1)
        weighting.backward(losses)
        if optimizer:
            assert all(parameter.grad is not None for parameter in learned.values())
            optimizer.step()
        weighting.clamp()
    assert (weighting.weights() != weighting_of(options, SIZES).weights()) == bool(learned)


def test_an_unknown_weighting_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as refused:
        run_config({"tasks": ["t"], "base": "b", "method": "lora", "train": {"weighting": {"name": "sise"}}})
    assert str(refused.value) == "train.weighting.name: unknown weighting 'sise'; did you mean 'size'?"


def logged(base: Base, folder: Path, options: dict[str, Any], steps: int, lr: float = 1e-3) -> list[dict[str, Any]]:
    return trained(base, folder, options, steps, lr)[0]


def trained(
    base: Base, folder: Path, options: dict[str, Any], steps: int, lr: float = 1e-3
) -> tuple[list[dict[str, Any]], TrainResult]:
    tasks = [rows.training_rows(base, rows.task("one"), 6), rows.training_rows(base, rows.task("two", language="Hindi"), 3)]
    adaptation = METHODS.get("lora").attach(base, method_options("lora"), seed=0)
    settings = TrainOptions(
        max_steps=steps, batch_size=16, schedule="constant", warmup=0.0, weight_decay=0.5, weighting=WeightingOptions(**options)
    )
    log = folder / "log.jsonl"
    result = train(base, adaptation, tasks, settings, lr=lr, order_seed=0, dropout_seed=0, log=log)
    adaptation.detach()
    return [json.loads(line) for line in log.read_text().splitlines()], result


def test_the_loss_is_the_weighted_sum_and_lambda_is_logged(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    (row,) = logged(open_base("llama"), tmp_path, {"name": "size"}, 1)
    assert row["lambda"] == pytest.approx({"one": 12 / 9, "two": 6 / 9})
    assert row["loss"] == pytest.approx(12 / 9 * row["tasks"]["one"] + 6 / 9 * row["tasks"]["two"])


def test_learned_weights_equal_kendalls_objective_by_hand(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    """Autograd on the objective as written, AdamW beside it; the losses are those that the training logged."""
    log = logged(open_base("llama"), tmp_path, {"name": "uncertainty", "lr_scale": 20.0}, 6)
    s = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.AdamW([s], lr=20.0e-3, weight_decay=0.0)
    for row in log:
        precisions = torch.exp(-s.detach())
        expected = (2 * precisions / precisions.sum()).tolist()
        assert list(row["lambda"].values()) == pytest.approx(expected, rel=1e-5)
        optimizer.zero_grad()
        losses = torch.tensor(list(row["tasks"].values()))
        (torch.exp(-s) * losses + s / 2).sum().backward()
        optimizer.step()
    assert log[-1]["lambda"] != log[0]["lambda"]


def test_learned_weights_stay_in_their_range(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    log = logged(open_base("llama"), tmp_path, {"name": "uncertainty", "lr_scale": 1e4}, 3)
    assert all(0 < value < 2 and math.isfinite(value) for row in log for value in row["lambda"].values())


def test_weights_that_do_not_fit_are_refused(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.weighting\.weights: gives weights for one"):
        logged(open_base("llama"), tmp_path, {"name": "manual", "weights": {"one": 1.0}}, 1)
    for bad in ({"name": "manual"}, {"weights": {"one": 1.0}}, {"name": "manual", "weights": {"one": -1.0}}, {"name": "sise"}):
        with pytest.raises(ConfigError, match=r"train\.weighting"):
            run_config({"tasks": ["t"], "base": "b", "method": "lora", "train": {"weighting": bad}})


def test_the_result_holds_lambda_after_the_last_step(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    """It is what a step more would have been taken with."""
    options = {"name": "uncertainty", "lr_scale": 50.0}
    _, result = trained(open_base("llama"), tmp_path, options, 3)
    assert result.task_weights == logged(open_base("llama"), tmp_path, options, 4)[3]["lambda"]
    assert result.task_weights["one"] != 1.0
