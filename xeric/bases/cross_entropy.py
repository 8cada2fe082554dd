"""The loss at an output layer over a large vocabulary, in pieces that never hold all logits.

For the 262,144 tokens of Gemma's vocabulary and the 800 target tokens of a usual micro-batch, logits take 0.8 GB in float32. Here
a few rows of hidden states at a time become logits, then losses and, where gradients are wanted, the gradients of the hidden
states and of the layer; the next rows use the same memory. So the backward pass only scales what the forward pass has made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

__all__ = ["logits_loss", "output_loss", "rows_at_once"]

_CHUNK = 1 << 25
"""Logits that are worked on at a time (128 MB in float32)."""


def rows_at_once(vocabulary: int) -> int:
    """Return of how many rows :func:`output_loss` holds the logits at a time."""
    return max(_CHUNK // max(vocabulary, 1), 1)


def output_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    coefficients: torch.Tensor,
    precision: torch.dtype = torch.float32,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted sum of - log P(target), which can be differentiated once, and - log P(target) of each row.

    Args:
        hidden: ``[N, width]``, the input of the output layer.
        weight: ``[vocabulary, width]``.
        bias: ``[vocabulary]`` or None.
        targets: ids ``[N]``.
        coefficients: ``[N]``, float32, of the sum.
        precision: of the matrix products; losses are computed in float32.
    """
    wanted = torch.is_grad_enabled()
    result: tuple[torch.Tensor, torch.Tensor] = _OutputLoss.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, targets, coefficients, precision, wanted
    )
    return result


def logits_loss(logits: torch.Tensor, targets: torch.Tensor, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what :func:`output_loss` returns, for logits of any precision; for families that change the output layer's result.

    One copy of the logits is kept, where PyTorch's own cross-entropy keeps up to four. The backward pass overwrites them with
    their gradient: do not use them after it.

    Args:
        logits: ``[N, vocabulary]``.
        targets: ids ``[N]``.
        coefficients: ``[N]``, float32, of the sum.
    """
    result: tuple[torch.Tensor, torch.Tensor] = _LogitsLoss.apply(logits, targets, coefficients)  # type: ignore[no-untyped-call]
    return result


class _OutputLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        coefficients: torch.Tensor,
        precision: torch.dtype,
        wanted: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # The casts that autocast would make, once for all rows.
        given, layer = hidden.to(precision), weight.to(precision)
        gradients = _Gradients(hidden, weight, bias, layer, [wanted and needed for needed in ctx.needs_input_grad[:3]])
        losses = coefficients.new_empty(len(targets))
        size = rows_at_once(len(weight))
        space = given.new_empty(min(size, len(targets)), len(weight))
        exact = space if precision == torch.float32 else torch.empty_like(space, dtype=torch.float32)
        for start in range(0, len(targets), size):
            rows = slice(start, min(start + size, len(targets)))
            count = rows.stop - start
            logits, work, chosen = space[:count], exact[:count], targets[rows, None]
            if bias is None:
                torch.mm(given[rows], layer.t(), out=logits)
            else:
                torch.addmm(bias.to(precision), given[rows], layer.t(), out=logits)
            if work is not logits:
                work.copy_(logits)
            peaks = work.amax(dim=1, keepdim=True)
            of_targets = work.gather(1, chosen)
            sums = work.sub_(peaks).exp_().sum(dim=1, keepdim=True)
            losses[rows] = (sums.log() + peaks - of_targets).squeeze(1)
            if gradients.any:
                scale = coefficients[rows, None]
                work.mul_(scale / sums).scatter_add_(1, chosen, -scale)
                if work is not logits:
                    logits.copy_(work)
                gradients.add(rows, logits, given[rows])
        ctx.gradients = gradients
        ctx.mark_non_differentiable(losses)
        return (losses * coefficients).sum(), losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (*ctx.gradients.scaled(float(gradient)), None, None, None, None)


class _Gradients:
    """The gradients of hidden states, weight and bias, as far as they are needed."""

    def __init__(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        layer: torch.Tensor,
        needed: list[bool],
    ) -> None:
        self.any = any(needed)
        self._layer, self._taken = layer, False
        self._hidden = torch.empty_like(hidden) if needed[0] else None
        self._weight = torch.zeros_like(weight) if needed[1] else None
        self._bias = torch.zeros_like(bias) if bias is not None and needed[2] else None

    def add(self, rows: slice, of_logits: torch.Tensor, hidden: torch.Tensor) -> None:
        """Take the gradient of some rows' logits, whose coefficients it holds."""
        if self._hidden is not None:
            self._hidden[rows] = torch.mm(of_logits, self._layer)
        if self._weight is not None and self._weight.dtype == of_logits.dtype:
            self._weight.addmm_(of_logits.t(), hidden)
        elif self._weight is not None:
            self._weight += torch.mm(of_logits.t(), hidden)
        if self._bias is not None:
            self._bias += of_logits.sum(dim=0)

    def scaled(self, factor: float) -> tuple[torch.Tensor | None, ...]:
        """Return them, multiplied by a factor in place: they can be taken once."""
        if self._taken:
            raise RuntimeError("the gradients of this loss were taken before")
        self._taken = True
        made = (self._hidden, self._weight, self._bias)
        self._hidden = self._weight = self._bias = None
        return tuple(tensor if tensor is None or factor == 1.0 else tensor.mul_(factor) for tensor in made)


class _LogitsLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, targets: torch.Tensor, coefficients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        size = rows_at_once(logits.shape[-1])
        log_sums = [chunk.float().logsumexp(dim=-1) for chunk in logits.split(size)]
        normalizers = torch.cat(log_sums) if log_sums else logits.new_zeros(0, dtype=torch.float32)
        losses = normalizers - logits.gather(1, targets[:, None]).squeeze(1).float()
        # As an attribute: what is saved for the backward pass must not be changed, and there the logits become their gradient.
        ctx.logits = logits
        ctx.save_for_backward(targets, normalizers, coefficients)
        ctx.mark_non_differentiable(losses)
        return (losses * coefficients).sum(), losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, (targets, normalizers, coefficients) = ctx.logits, ctx.saved_tensors
        # Detached views: PyTorch still raises an error if another operation has kept the logits for its own backward pass.
        size = rows_at_once(logits.shape[-1])
        parts = (tensor.split(size) for tensor in (logits.detach(), targets, normalizers, gradient * coefficients))
        for chunk, chosen, normalizer, scale in zip(*parts, strict=True):
            probabilities = (chunk.float() - normalizer[:, None]).exp_()
            probabilities.scatter_add_(1, chosen[:, None], probabilities.new_full((len(chosen), 1), -1.0))
            chunk.copy_(probabilities.mul_(scale[:, None]))
        return logits, None, None
