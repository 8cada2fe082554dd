"""The shared prefix gives the loss and the gradients of the plain computation, on every shape."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests import rows, tiny
from tests.attached import attach
from xeric.bases.base import Base
from xeric.decoding import DecodeOptions, decode
from xeric.training.loss import Rows, dev_loss, step_loss


def micro_batches(base: Base) -> list[list[tuple[object, object]]]:
    """A step with two tasks, in micro-batches of unequal sizes whose rows differ in length."""
    tasks = [rows.training_rows(base, rows.task("one"), 7), rows.training_rows(base, rows.task("two", language="Hindi"), 3)]
    items = Rows.of(tasks).items
    return [items[:3], items[3:7], items[7:]]  # type: ignore[list-item]


def losses_and_gradients(base: Base, *, shared: bool, together: bool = False) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    base.model.requires_grad_(True)
    base.model.zero_grad()
    batches = micro_batches(base)
    losses = step_loss(base, [[item for batch in batches for item in batch]] if together else batches, shared=shared)  # type: ignore[arg-type]
    return losses, {name: p.grad.clone() for name, p in base.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("batching", ["shared", "packed"])
@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_loss_and_gradients_equal_the_plain_computation(
    shape: str, batching: str, together: bool, open_base: Callable[[str], Base]
) -> None:
    """Rows of one prefix in each micro-batch, and all of them, of two tasks, in one."""
    base = open_base(shape)
    plain, expected = losses_and_gradients(base, shared=False)
    if batching == "shared":
        base.packs_rows = False
    elif shape == "bloom":
        assert base.batching() == "shared", "it takes no positions"
        return
    assert base.batching() == batching
    shared, gradients = losses_and_gradients(base, shared=True, together=together)
    assert shared == pytest.approx(plain, rel=1e-5)
    assert set(gradients) == set(expected)
    compared = 0
    for name, gradient in expected.items():
        if gradient.norm() > 1e-6:
            compared += 1
            assert (gradients[name] - gradient).norm() <= 1e-5 * gradient.norm(), name
    assert compared > len(expected) // 2


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_plain_computation_equals_the_models_own_loss(shape: str, open_base: Callable[[str], Base]) -> None:
    """Row by row, without padding, through the library's own labels: an independent path to the same number."""
    base = open_base(shape)
    task = rows.training_rows(base, rows.task("one"), 4)
    total, count = 0.0, 0
    for row in task.rows:
        prefix = task.prefix_of(row).ids
        ids = torch.tensor([[*prefix, *row.ids]])
        labels = ids.clone()
        labels[0, : len(prefix) + row.target_start] = -100
        total += float(base.model(input_ids=ids, labels=labels).loss) * row.target_tokens
        count += row.target_tokens
    with torch.no_grad():
        losses = step_loss(base, [Rows.of([task]).items], backward=False)
    assert losses["one"] == pytest.approx(total / count, rel=1e-5)


def test_only_target_positions_reach_the_output_layer(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    task = rows.training_rows(base, rows.task("one"), 4)
    logits, targets = base.target_logits(task.prefixes[-1], list(task.rows))
    expected = [token for row in task.rows for token in row.ids[row.target_start :]]
    assert targets.tolist() == expected
    assert logits.shape == (len(expected), tiny.VOCABULARY)
    assert targets[-1] in base.eos


def test_gradient_checkpointing_takes_the_plain_way(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    plain, expected = losses_and_gradients(base, shared=False)
    base.model.gradient_checkpointing_enable()
    with base.mode(training=True):
        assert not base.can_share_prefix()
        losses, gradients = losses_and_gradients(base, shared=True)
    assert losses == pytest.approx(plain, rel=1e-5)
    name = "model.embed_tokens.weight"
    assert (gradients[name] - expected[name]).norm() <= 1e-5 * expected[name].norm()


def test_a_base_whose_prefix_cannot_be_shared_is_found_out(
    open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that ignores the cache would train without its prefix; the check must see it and the loss must stay right."""
    base = open_base("llama")
    expected, _ = losses_and_gradients(base, shared=False)
    forward = base.model.model.forward

    def forgetful(*args: object, past_key_values: object = None, attention_mask: object = None, **kwargs: object) -> object:
        cached = past_key_values is not None and past_key_values.get_seq_length()  # type: ignore[attr-defined]
        return forward(
            *args,
            past_key_values=None if cached else past_key_values,
            attention_mask=None if cached else attention_mask,
            **kwargs,
        )

    monkeypatch.setattr(base.model.model, "forward", forgetful)
    assert not base.can_share_prefix()
    losses, _ = losses_and_gradients(base, shared=True)
    assert losses == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_rotation_that_depends_on_the_length_of_a_row_is_not_shared(kind: str, open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    base.model.config.rope_parameters = {"rope_type": kind, "rope_theta": 10000.0, "factor": 2.0}
    assert not base.can_share_prefix()


def contiguous_inputs(layer: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each input that reaches a layer from now on is contiguous; several rows at once only, one has no gaps."""
    seen: list[bool] = []
    forward = layer.forward

    def spied(hidden: torch.Tensor, *args: object, **kwargs: object) -> object:
        if len(hidden) > 1:
            seen.append(hidden.is_contiguous())
        return forward(hidden, *args, **kwargs)

    monkeypatch.setattr(layer, "forward", spied)
    return seen


@pytest.mark.parametrize("shape", tiny.SHAPES)
@pytest.mark.parametrize("options", [{}, {"strategy": "beam"}, {"strategy": "mbr", "candidates": 2}])
@pytest.mark.parametrize("shared", [True, False])
def test_the_output_layer_gets_contiguous_rows_in_decoding(
    shape: str, options: dict[str, object], shared: bool, open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the last columns of a batch as a view, ``linear`` in bf16 copies the whole layer for every row."""
    base = open_base(shape)
    seen = contiguous_inputs(base.output_embeddings, monkeypatch)
    chosen = DecodeOptions.model_validate({"batch_size": 4, **options})
    decode(base, rows.decoding_rows(base, rows.task("one"), 4), chosen, max_new_tokens=3, shared=shared)
    assert seen
    assert all(seen)


def test_an_output_layer_that_a_method_wraps_gets_contiguous_rows_in_training_and_on_dev(
    open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary output layer is not called in training: the loss takes its weights."""
    base = open_base("llama")
    ordinary = contiguous_inputs(base.output_embeddings, monkeypatch)
    losses_and_gradients(base, shared=True)
    checked = len(ordinary)
    losses_and_gradients(base, shared=True)
    assert len(ordinary) == checked
    attach(base, "lora", targets=["lm_head"])
    seen = contiguous_inputs(base.output_embeddings, monkeypatch)
    losses_and_gradients(base, shared=True)
    losses_and_gradients(base, shared=False)
    dev_loss(base, [rows.training_rows(base, rows.task("one"), 7)], batch_size=4)
    assert len(seen) >= 8
    assert all(seen)


def test_an_output_layer_that_a_method_wraps_gets_contiguous_rows_too(
    open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = open_base("llama")
    assert base.can_share_prefix()
    plain = base.output_embeddings
    adaptation = attach(base, "lora", targets=["lm_head"])
    assert base.output_embeddings is not plain
    wrapper, inner = (contiguous_inputs(layer, monkeypatch) for layer in (base.output_embeddings, plain))
    decode(base, rows.decoding_rows(base, rows.task("one"), 4), DecodeOptions(batch_size=4), max_new_tokens=3)
    assert len(wrapper) == len(inner) == 3
    assert all(wrapper + inner)
    adaptation.detach()
    inner.clear()
    decode(base, rows.decoding_rows(base, rows.task("one"), 4), DecodeOptions(batch_size=4), max_new_tokens=3)
    assert inner == [True] * 3
