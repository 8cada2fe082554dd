"""The cross-entropy of training, against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from xeric.training import cross_entropy
from xeric.training.cross_entropy import summed_cross_entropy


@pytest.mark.parametrize("rows", [0, 1, 7, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_value_and_gradient_are_those_of_pytorch(rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "_CHUNK", 100)  # 3 rows at a time
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, 5, generator=generator).to(dtype).requires_grad_()
    weight = (4 * torch.randn(5, 31, generator=generator)).to(dtype).requires_grad_()
    targets = torch.randint(31, (rows,), generator=generator)
    expected = F.cross_entropy((hidden @ weight).float(), targets, reduction="sum")
    wanted = torch.autograd.grad(0.3 * expected, (hidden, weight))
    found = summed_cross_entropy(hidden @ weight, targets)
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad(0.3 * found, (hidden, weight)), wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_logits_beyond_float32_exponents_have_a_finite_loss() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    loss = summed_cross_entropy(logits, torch.tensor([1]))
    assert float(loss) == pytest.approx(1e4)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.tolist() == [[1.0, -1.0, 0.0]]


def test_an_operation_that_kept_the_logits_is_not_given_a_wrong_gradient() -> None:
    logits = torch.randn(2, 5, requires_grad=True).tanh()  # its backward pass needs its result
    loss = summed_cross_entropy(logits, torch.tensor([1, 2]))
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()
