"""What a large micro-batch keeps follows from small ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xeric.bases.base import Base
from xeric.execution.activations import counted
from xeric.execution.operations import batch_work
from xeric.execution.probe import Shape, arbitrary_rows
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.training.memory import estimate_memory

DEFINITIONS = {"one": "Say the words of the input in the reverse order."}


@pytest.mark.parametrize("shape", ["llama", "gpt2", "bloom"])
@pytest.mark.parametrize("name", ["lora", "full", "bottleneck", "prefix", "combined"])
def test_a_large_micro_batch_follows_from_small_ones(name: str, shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    batching = base.batching()
    adaptation = METHODS.get(name).attach(base, method_options(name), seed=0, definitions=DEFINITIONS)
    learned = base.learned_prefix
    length = learned.length("one") if learned and learned.keys_and_values("one") else 0
    kept = counted(base, "one", batching)
    for size in (Shape(40, 8, 20, 5), Shape(10, 2, 80, 20), Shape(60, 1, 30, 10)):
        rows = arbitrary_rows(base, "one", size)
        exact = estimate_memory(base, adaptation, [(rows, row) for row in rows.rows], shared=batching != "plain").activations
        assert kept.of(batch_work(size.as_rows("one"), batching, learned=length)) == pytest.approx(exact, rel=0.12)
