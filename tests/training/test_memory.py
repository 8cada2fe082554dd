"""What a run is expected to hold, against what it holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests import rows
from xeric.bases.base import Base
from xeric.data.rows import EncodedTask, InstanceRow, RowGroup
from xeric.methods import METHODS
from xeric.methods.base import method_options
from xeric.training.memory import available_memory, decoding_memory, estimate_memory


def kept_for_backward(base: Base, task: EncodedTask, count: int, shared: bool) -> int:
    """Bytes of distinct tensors in the graph of a micro-batch, weights and logits left out."""
    kept: dict[int, torch.UntypedStorage] = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.data_ptr(), t.untyped_storage()) and t, lambda t: t
    ):
        groups = [RowGroup(task.prefix_of(task.rows[0]), (task.rows[0],) * count)]
        base.target_losses(groups, torch.ones(count * task.rows[0].target_tokens), shared=shared)
    weights = {p.untyped_storage().data_ptr() for p in (*base.model.parameters(), *base.model.buffers())}
    storages = {s.data_ptr(): s.nbytes() for s in kept.values()}
    return sum(size for pointer, size in storages.items() if pointer not in weights)


def batch_of(task: EncodedTask) -> list[tuple[EncodedTask, InstanceRow]]:
    return [(task, row) for row in task.rows]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("method", ["lora", "full", "bottleneck", "combined"])
def test_what_is_kept_of_eight_rows_is_foreseen_from_two(method: str, shared: bool, open_base: Callable[[str], Base]) -> None:
    base = open_base("gemma3")
    adaptation = METHODS.get(method).attach(base, method_options(method), seed=0, definitions={"one": "Answer."})
    task = rows.training_rows(base, rows.task("one"))
    alike = EncodedTask(task.task, task.prefixes, (task.rows[0],) * 8)
    estimate = estimate_memory(base, adaptation, batch_of(alike), shared=shared)
    assert estimate.activations == pytest.approx(kept_for_backward(base, alike, 8, shared), rel=0.02)
    trained = sum(p.numel() for p in adaptation.trainable().values())
    assert (estimate.gradients, estimate.optimizer, estimate.selection) == (4 * trained, 8 * trained, 0)
    assert estimate.logits == 8 * task.rows[0].target_tokens * base.vocabulary * 4


@pytest.mark.parametrize("shape", ["t5", "bart", "bert"])
def test_on_every_architecture(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    adaptation = METHODS.get("lora").attach(base, method_options("lora"), seed=0)
    task = rows.training_rows(base, rows.task("one"))
    alike = EncodedTask(task.task, task.prefixes, (task.rows[0],) * 8)
    estimate = estimate_memory(base, adaptation, batch_of(alike), shared=True)
    assert estimate.activations == pytest.approx(kept_for_backward(base, alike, 8, True), rel=0.02)
    assert estimate_memory(base, adaptation, batch_of(alike), shared=False, recomputing=True).activations < estimate.activations
    # Two layers of keys and values over four heads of 8, of prompt and new tokens, and the logits; all twice, in float32.
    prompt = len(task.prefix_of(task.rows[0]).ids) + max(row.target_start for row in task.rows)
    least = 2 * 4 * (2 * 2 * 4 * 8 * (prompt + 16) + base.vocabulary)
    assert least <= decoding_memory(base, [task], 1, 16) <= 1.1 * least


def test_the_larger_of_training_and_decoding_counts(open_base: Callable[[str], Base]) -> None:
    base = open_base("gemma3")
    task = rows.training_rows(base, rows.task("one"))
    adaptation = METHODS.get("none").attach(base, method_options("none"), seed=0)
    few, many = (decoding_memory(base, [task], size, 16) for size in (1, 32))
    assert many == 32 * few
    estimate = estimate_memory(base, adaptation, batch_of(task), shared=True, decoding=many)
    assert estimate.training == 0
    assert estimate.total == estimate.held + many


def test_the_estimate_draws_nothing_from_the_generator(open_base: Callable[[str], Base]) -> None:
    base = open_base("gemma3")
    adaptation = METHODS.get("lora").attach(base, method_options({"name": "lora", "dropout": 0.5}), seed=0)
    task = rows.training_rows(base, rows.task("one"))
    before = torch.get_rng_state()
    estimate_memory(base, adaptation, batch_of(task), shared=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_the_allocator_keeps_of_freed_memory_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a run in this process the driver has little free, and PyTorch gives the next run what the first one left."""
    memory = {"mem_get_info": (5, 100), "memory_reserved": 60, "memory_allocated": 20}
    for name, value in memory.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert available_memory(torch.device("cuda", 1)) == 5 + 60 - 20
