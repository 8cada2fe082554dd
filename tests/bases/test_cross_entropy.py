"""The loss at the output layer, against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from xeric.bases import cross_entropy
from xeric.bases.cross_entropy import logits_loss, output_loss


@pytest.mark.parametrize("rows", [0, 1, 7, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [False, True])
def test_values_and_gradients_are_those_of_pytorch(
    rows: int, dtype: torch.dtype, biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "_CHUNK", 100)  # 3 rows at a time
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, 5, generator=generator).to(dtype).requires_grad_()
    weight = (4 * torch.randn(31, 5, generator=generator)).to(dtype).requires_grad_()
    bias = torch.randn(31, generator=generator).to(dtype).requires_grad_() if biased else None
    targets = torch.randint(31, (rows,), generator=generator)
    coefficients = torch.rand(rows, generator=generator)
    losses = F.cross_entropy(F.linear(hidden, weight, bias).float(), targets, reduction="none")
    inputs = [tensor for tensor in (hidden, weight, bias) if tensor is not None]
    wanted = torch.autograd.grad(0.3 * (losses * coefficients).sum(), inputs)
    for total, per_row in (
        output_loss(hidden, weight, bias, targets, coefficients, dtype),
        logits_loss(F.linear(hidden, weight, bias), targets, coefficients),
    ):
        torch.testing.assert_close(per_row, losses)
        torch.testing.assert_close(total, (losses * coefficients).sum())
        for one, other in zip(torch.autograd.grad(0.3 * total, inputs), wanted, strict=True):
            # In 16 bit the factor is rounded in another order.
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 0.06)


def test_only_the_gradients_that_are_needed_are_made() -> None:
    hidden, weight = torch.randn(4, 5, requires_grad=True), torch.randn(31, 5)
    total, _ = output_loss(hidden, weight, None, torch.arange(4), torch.ones(4))
    total.backward()
    assert hidden.grad is not None
    assert weight.grad is None
    with torch.no_grad():
        total, _ = output_loss(hidden, weight, None, torch.arange(4), torch.ones(4))
    assert not total.requires_grad


def test_a_second_backward_pass_is_refused() -> None:
    hidden = torch.randn(4, 5, requires_grad=True)
    total, _ = output_loss(hidden, torch.randn(31, 5), None, torch.arange(4), torch.ones(4))
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="taken before"):
        total.backward()


def test_logits_beyond_float32_exponents_have_a_finite_loss() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    loss, _ = logits_loss(logits, torch.tensor([1]), torch.ones(1))
    assert loss.item() == pytest.approx(1e4)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.tolist() == [[1.0, -1.0, 0.0]]
    hidden = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss, _ = output_loss(hidden, torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]), None, torch.tensor([1]), torch.ones(1))
    assert loss.item() == pytest.approx(1e4)
    (gradient,) = torch.autograd.grad(loss, hidden)
    assert gradient.tolist() == [[0.5, -0.5]]


def test_an_operation_that_kept_the_logits_is_not_given_a_wrong_gradient() -> None:
    logits = torch.randn(2, 5, requires_grad=True).tanh()  # its backward pass needs its result
    loss, _ = logits_loss(logits, torch.tensor([1, 2]), torch.ones(2))
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()
