"""Gradient checkpointing: the same training with less memory, and no learned prefix that is silently dropped."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests import rows
from tests.attached import train
from xeric.bases.base import Base
from xeric.errors import ConfigError
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.training.memory import estimate_memory
from xeric.training.options import TrainOptions

# Whose parts stand in front of, beside and behind the frozen layers: gradients must reach them all.
METHODS_TO_TRY = ["lora", "bottleneck", "full", "embedding", {"name": "prefix", "level": "input"}, "peft:dora"]


def trained(base: Base, method: object, *, recompute: bool) -> dict[str, torch.Tensor]:
    options = TrainOptions(max_steps=3, batch_size=8, schedule="constant", warmup=0.0, gradient_checkpointing=recompute)
    adaptation = METHODS.get(method_options(method).name).attach(
        base, method_options(method), seed=0, definitions={"one": "Turn it round."}
    )
    result = train(base, adaptation, [rows.training_rows(base, rows.task("one"))], options, lr=1e-3, order_seed=0, dropout_seed=0)
    assert result.done_steps == 3
    state = adaptation.state()
    adaptation.detach()
    return state


@pytest.mark.parametrize("shape", ["llama", "gemma3", "bart", "bert"])
@pytest.mark.parametrize("method", METHODS_TO_TRY, ids=str)
def test_the_result_is_that_without_it(method: object, shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    plain, recomputed = trained(base, method, recompute=False), trained(base, method, recompute=True)
    assert any(bool((tensor != 0).any()) for tensor in plain.values())
    for name, tensor in plain.items():
        torch.testing.assert_close(recomputed[name], tensor, rtol=1e-3, atol=2e-5)


def test_it_ends_with_the_training(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    trained(base, "lora", recompute=True)
    with base.mode(training=True):
        assert base.can_share_prefix()


def test_a_family_that_cannot_says_so(open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch) -> None:
    base = open_base("llama")
    monkeypatch.setattr(type(base.model), "supports_gradient_checkpointing", False)
    with pytest.raises(ConfigError, match="cannot recompute") as caught:
        trained(base, "lora", recompute=True)
    assert caught.value.where == "train.gradient_checkpointing"


def test_less_memory_is_expected(open_base: Callable[[str], Base]) -> None:
    base = open_base("gemma3")
    adaptation = METHODS.get("lora").attach(base, method_options("lora"), seed=0)
    task = rows.training_rows(base, rows.task("one"))
    batch = [(task, row) for row in task.rows]
    kept, recomputed = (estimate_memory(base, adaptation, batch, shared=False, recomputing=flag) for flag in (False, True))
    assert recomputed.activations < 0.8 * kept.activations  # of two layers, one is kept
    assert recomputed.logits == kept.logits
