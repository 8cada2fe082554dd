"""PEFT's tuners by name: what is offered, what is not, and how settings are checked. The contract matrix trains them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import attached, rows
from xeric.bases.base import Base
from xeric.errors import ConfigError, DataError, RunError, UnknownNameError
from xeric.methods import METHODS, unsupported_methods
from xeric.methods.base import Adaptation, method_options
from xeric.methods.peft_names import TUNERS, UNSUPPORTED
from xeric.training.loss import Rows, step_loss

IDS = torch.tensor([[5, 9, 40, 77, 12, 200, 3, 8]])


def attach(base: Base, name: str, **options: Any) -> Adaptation:
    return METHODS.get(name).attach(base, method_options({"name": name, "options": options}), seed=0)


@torch.no_grad()
def outputs(base: Base) -> torch.Tensor:
    logits: torch.Tensor = base.model(input_ids=IDS).logits
    return logits


def test_every_type_that_peft_knows_is_offered_or_refused_with_a_reason() -> None:
    from peft.utils import PeftType

    named = set(TUNERS) | set(UNSUPPORTED)
    assert {kind.value.lower() for kind in PeftType} - named == set()
    assert not set(TUNERS) & set(UNSUPPORTED)
    assert all(reason and "\n" not in reason for reason in unsupported_methods().values())
    assert {name for name in METHODS.names() if name.startswith("peft:")} == {f"peft:{name}" for name in TUNERS}
    assert not set(unsupported_methods()) & set(METHODS.names())


def test_names_and_reasons_need_no_torch() -> None:
    code = "import sys; from xeric.methods import METHODS, unsupported_methods; METHODS.names(); unsupported_methods(); "
    code += "sys.exit('torch' in sys.modules or 'peft' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", TUNERS)
def test_options_come_back_from_their_plain_form(name: str) -> None:
    options = method_options(f"peft:{name}")
    assert method_options(options.model_dump(mode="json")) == options
    assert METHODS.get(f"peft:{name}").Options is type(options)
    assert METHODS.get(f"peft:{name}").default_lr == TUNERS[name].lr


@pytest.mark.parametrize(
    ("options", "where", "complaint", "hint"),
    [
        ({"target_module": ["x"]}, "method.options.target_module", "unknown setting", "target_modules"),
        ({"r": "8"}, "method.options.r", "expected a whole number", ""),
        ({"r": 8.5}, "method.options.r", "expected a whole number", ""),
        ({"rank_pattern": [8]}, "method.options.rank_pattern", "expected a", ""),
        ({"use_effective_conv2d": "yes"}, "method.options.use_effective_conv2d", "expected true or false", ""),
        ({"modules_to_save": ["lm_head"]}, "method.options.modules_to_save", "unknown setting", ""),
    ],
)
def test_wrong_settings_are_named_with_their_path(options: dict[str, Any], where: str, complaint: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        method_options({"name": "peft:loha", "options": options})
    assert caught.value.where == where
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("field", ["bias", "init_lora_weights", "use_dora"])
def test_settings_that_reach_the_base_or_make_another_tuner_are_not_offered(field: str) -> None:
    with pytest.raises(ConfigError, match="unknown setting"):
        method_options({"name": "peft:dora", "options": {field: "all"}})


def test_an_unknown_tuner_is_named_with_near_ones() -> None:
    with pytest.raises(UnknownNameError) as caught:
        method_options("peft:dorra")
    assert "peft:dora" in (caught.value.hint or "")


@pytest.mark.parametrize("name", [name for name, tuner in TUNERS.items() if not tuner.on_conv1d])
def test_families_of_conv1d_layers_are_refused_where_peft_cannot(name: str, open_base: Callable[[str], Base]) -> None:
    base = open_base("gpt2")
    with pytest.raises(ConfigError, match="Conv1D") as caught:
        attach(base, f"peft:{name}")
    assert caught.value.where == "method.name"


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("peft:c3a", {"block_size": 24}, "block size"),
        ("peft:loha", {"target_modules": ["query_key_value"]}, "query_key_value"),
        ("peft:fourierft", {"n_frequency": 600}, "n_frequency"),
        ("peft:oft", {"r": 3, "oft_block_size": 5}, "r"),
    ],
)
def test_an_attachment_that_fails_leaves_the_base_as_it_was(
    name: str, options: dict[str, Any], complaint: str, open_base: Callable[[str], Base]
) -> None:
    base = open_base("llama")
    before, types = outputs(base), [(n, type(m)) for n, m in base.model.named_modules()]
    with pytest.raises(ConfigError, match=complaint) as caught:
        attach(base, name, **options)
    assert caught.value.where == "method.options"
    assert [(n, type(m)) for n, m in base.model.named_modules()] == types
    assert not any(p.requires_grad for p in base.model.parameters())
    assert torch.equal(outputs(base), before)
    attach(base, "peft:dora")  # and another method goes on


@pytest.mark.parametrize(
    ("shape", "name"),
    [(shape, name) for shape in ("gpt2", "bloom") for name in TUNERS if TUNERS[name].on_conv1d or shape != "gpt2"],
)
def test_the_contract_in_short(shape: str, name: str, open_base: Callable[[str], Base], tmp_path: Path) -> None:
    """What tests/test_contracts.py asks of every tuner on llama, on transposed layers and on layers with biases."""
    tuner, base = TUNERS[name], open_base(shape)
    options = attached.SMALL_TUNERS.get(f"peft:{name}", {})
    task = rows.training_rows(base, rows.task("one"), 3)
    before, weights = attached.loss_of(base, task), {n: p.detach().clone() for n, p in base.model.named_parameters()}
    adaptation = attach(base, f"peft:{name}", **options)
    at_start = attached.loss_of(base, task)
    assert at_start == pytest.approx(before, rel=1e-5) if tuner.starts_at_base else at_start != before
    start, declared = adaptation.state(), set(adaptation.trainable())
    attached.fit(base, adaptation, task, steps=2, lr=max(5e-3, 10 * tuner.lr))
    assert any(not torch.equal(tensor, start[n]) for n, tensor in adaptation.state().items())
    frozen = {n: p for n, p in base.model.named_parameters() if n not in declared and n in weights}
    assert all(torch.equal(p, weights[n]) for n, p in frozen.items())
    trained = attached.loss_of(base, task)
    assert trained != before
    adaptation.save(tmp_path)
    adaptation.detach()
    assert attached.loss_of(base, task) == before
    again = METHODS.get(f"peft:{name}").attach(base, method_options({"name": f"peft:{name}", "options": options}), seed=9)
    again.load(tmp_path)
    assert attached.loss_of(base, task) == pytest.approx(trained, rel=1e-6)


@pytest.mark.parametrize("name", ["peft:dora", "peft:ia3", "peft:ln_tuning", "peft:oft"])
def test_settings_reach_peft_and_detaching_leaves_no_trace(
    name: str, open_base: Callable[[str], Base], recwarn: pytest.WarningsRecorder
) -> None:
    base = open_base("llama")
    keys, types = list(base.model.state_dict()), [(n, type(m)) for n, m in base.model.named_modules()]
    attributes, config = set(vars(base.model)), base.model.config.to_dict()
    for _ in range(2):
        adaptation = attach(base, name)
        step_loss(base, [Rows.of([rows.training_rows(base, rows.task("one"), 2)]).items])
        adaptation.detach()
        assert list(base.model.state_dict()) == keys
        assert [(n, type(m)) for n, m in base.model.named_modules()] == types
        assert set(vars(base.model)) == attributes
        assert base.model.config.to_dict() == config
        assert all(not p.requires_grad and p.grad is None for p in base.model.parameters())
        assert not attached.hooks_left(base)
    assert not [w for w in recwarn if "second time" in str(w.message) or "multiple adapters" in str(w.message)]


def test_the_rank_counts_parameters(open_base: Callable[[str], Base]) -> None:
    """DoRA: r (d + k) + k per layer."""
    base = open_base("llama")
    shapes = [m.weight.shape for n, m in base.model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    adaptation = attach(base, "peft:dora", r=3)
    assert sum(p.numel() for p in adaptation.trainable().values()) == sum(3 * (d + k) + k for k, d in shapes)


def test_another_size_is_not_loaded(open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base("llama")
    first = attach(base, "peft:dora", r=3)
    first.save(tmp_path)
    first.detach()
    with pytest.raises(DataError, match="other sizes"):
        attach(base, "peft:dora", r=4).load(tmp_path)


@pytest.mark.parametrize("name", ["peft:beft", "peft:lily"])
def test_merging_is_refused_where_it_is_not_defined(name: str, open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    with pytest.raises(RunError, match="cannot be merged"):
        attach(base, name).merge()
