"""Four-bit weights: where there are none, a sentence says so; what they cannot do is refused."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests import rows
from tests.attached import attach, loss_of, stir
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.bases.precision import resolve_precision
from xeric.errors import ConfigError, RunError, UserError
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.run.config import run_config
from xeric.training.loss import Rows, step_loss


def test_the_cpu_has_none(base_folder: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="CUDA") as caught:
        load_base(str(base_folder("llama")), device="cpu", precision="4bit")
    assert "bf16" in (caught.value.hint or "")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="bitsandbytes") as caught:
        resolve_precision("4bit", torch.device("cuda"))
    assert "xeric[gpu]" in (caught.value.hint or "")


def test_an_old_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    with pytest.raises(UserError, match="bf16"):
        resolve_precision("4bit", torch.device("cuda"))


def test_full_fine_tuning_and_merging_are_refused(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    base.precision = "4bit"
    with pytest.raises(ConfigError, match="cannot be trained"):
        METHODS.get("full").attach(base, method_options("full"), seed=0)
    adaptation = METHODS.get("lora").attach(base, method_options("lora"), seed=0)
    with pytest.raises(RunError, match="merged"):
        adaptation.merge()
    task = rows.training_rows(base, rows.task("one"))
    assert step_loss(base, [Rows.of([task]).items])["one"] > 0, "the adapter is still on"


def test_a_refused_merge_leaves_a_gated_lora_as_it_was(open_base: Callable[[str], Base]) -> None:
    """A scalar gate is folded into B before B is merged."""
    base = open_base("llama")
    adaptation = attach(base, "combined", gate="scalar", prefix=False, embedding=False)
    stir(adaptation)
    base.precision = "4bit"
    task = rows.training_rows(base, rows.task("one"))
    loss, state = loss_of(base, task), adaptation.state()
    with pytest.raises(RunError, match="merged"):
        adaptation.merge()
    assert all(torch.equal(tensor, state[name]) for name, tensor in adaptation.state().items())
    assert loss_of(base, task) == loss


def test_a_stage_that_would_be_merged_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = {"tasks": ["source"], "method": "lora"}
    chosen = {"tasks": ["target"], "base": "b", "method": {"name": "bottleneck"}, "stages": [stage], "precision": "4bit"}
    monkeypatch.setattr("xeric.run.config.resolve_device", lambda _: torch.device("cuda"))
    with pytest.raises(ConfigError, match="four-bit") as caught:
        run_config(chosen)
    assert caught.value.where == "stages.0.method"
