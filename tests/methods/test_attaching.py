"""What fails while a method is put on, or while values are put into it, leaves base and values as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.attached import attach, hooks_left, stir
from xeric.bases.base import Base
from xeric.errors import DataError
from xeric.methods import bottleneck


def test_a_bottleneck_for_which_there_is_no_memory_leaves_nothing(
    open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = open_base("llama")
    names = {name for name, _ in base.model.named_parameters()}
    made: list[None] = []

    class Last(bottleneck._Adapter):
        def __init__(self, *args: Any) -> None:
            made.append(None)
            if len(made) == 4:
                raise MemoryError
            super().__init__(*args)

    monkeypatch.setattr(bottleneck, "_Adapter", Last)
    with pytest.raises(MemoryError):
        attach(base, "bottleneck")
    assert not hooks_left(base)
    assert {name for name, _ in base.model.named_parameters()} == names


def test_full_fine_tuning_for_which_there_is_no_memory_leaves_nothing(
    open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = open_base("llama")
    base.model.to(torch.bfloat16)
    real, calls = torch.Tensor.float, []

    def fail(tensor: torch.Tensor) -> torch.Tensor:
        calls.append(None)
        if len(calls) == 4:
            raise MemoryError
        return real(tensor)

    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "float", fail)
        with pytest.raises(MemoryError):
            attach(base, "full")
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in base.model.parameters())


@pytest.mark.parametrize("method", ["embedding", "combined"])
def test_values_of_another_shape_are_refused_and_not_spread_out(method: str, open_base: Callable[[str], Base]) -> None:
    adaptation = attach(open_base("llama"), method)
    stir(adaptation)
    state = adaptation.state()
    name = "fused_embedding.segment.gate"
    with pytest.raises(DataError, match=rf"{name} is \[32\] here, not \[1\]"):
        adaptation.load_state({**state, name: state[name][:1]})
    assert torch.equal(adaptation.state()[name], state[name])
