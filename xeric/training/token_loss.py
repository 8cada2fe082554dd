"""Cross-entropy of chosen tokens, from hidden states to gradients, a few hundred tokens at a time.

At a few million parameters the output layer is a third of the work and its logits most of the memory. Here logits exist for one
chunk at a time, for target places only, and their gradient is made in the same pass, so nothing is computed twice (as in Liger's
fused linear cross-entropy, Hsu et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["mean_token_loss", "summed_token_loss"]

CHUNK = 512

_Step = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def _chunk_step(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted loss of a chunk and its gradient by the logits, in the logits' own type."""
    scores = logits.float()
    total = torch.logsumexp(scores, dim=-1, keepdim=True)
    loss = ((total - scores.gather(1, targets[:, None]))[:, 0] * weights).sum()
    gradient = torch.exp(scores - total) * weights[:, None]
    gradient = gradient.scatter_add(1, targets[:, None], -weights[:, None])
    return loss, gradient.to(logits.dtype)


_compiled: _Step | None = None


def _step(compiled: bool) -> _Step:
    global _compiled
    if not compiled:
        return _chunk_step
    if _compiled is None:
        _compiled = torch.compile(_chunk_step, dynamic=False)
    return _compiled


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, compiled: bool, dtype: torch.dtype
    ) -> torch.Tensor:
        count = len(targets)
        padded = -count % CHUNK
        states = torch.nn.functional.pad(hidden.to(dtype), (0, 0, 0, padded))
        wanted = torch.nn.functional.pad(targets, (0, padded))
        weights = torch.nn.functional.pad(torch.full((count,), 1.0 / max(count, 1), device=hidden.device), (0, padded))
        matrix = head.to(dtype)
        d_head = torch.zeros_like(head)
        d_states = torch.empty_like(states)
        loss = torch.zeros((), device=hidden.device)
        step = _step(compiled)
        for start in range(0, len(wanted), CHUNK):
            part = slice(start, start + CHUNK)
            value, gradient = step(states[part] @ matrix.T, wanted[part], weights[part])
            loss += value
            d_states[part] = gradient @ matrix
            d_head += gradient.T @ states[part]
        ctx.save_for_backward(d_states[:count].to(hidden.dtype), d_head)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        d_hidden, d_head = ctx.saved_tensors
        return d_hidden * gradients[0], d_head * gradients[0], None, None, None


def mean_token_loss(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, *, compiled: bool = False, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Return the mean cross-entropy in nats.

    Args:
        hidden: ``[N, H]`` states that predict the targets.
        head: ``[V, H]`` rows of the output layer.
        targets: ``[N]`` token ids.
        compiled: compile the element-wise part.
        dtype: of the matrix products.
    """
    apply: Callable[..., torch.Tensor] = _TokenLoss.apply
    return apply(hidden, head, targets, compiled, dtype)


@torch.no_grad()
def summed_token_loss(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype = torch.float32
) -> tuple[float, torch.Tensor]:
    """Return the summed cross-entropy in nats, and for each target (``[N]``) whether it is the likeliest token."""
    matrix = head.to(dtype)
    total, right = 0.0, []
    for start in range(0, len(targets), CHUNK):
        part = slice(start, start + CHUNK)
        logits = (hidden[part].to(dtype) @ matrix.T).float()
        total += float(torch.nn.functional.cross_entropy(logits, targets[part], reduction="sum"))
        right.append(logits.argmax(dim=-1) == targets[part])
    return total, torch.cat(right)
