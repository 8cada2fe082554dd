"""How much memory a training will take, roughly, before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import psutil
import torch

from xeric.bases.base import Base
from xeric.data.encoding import EncodedTask
from xeric.methods.base import Adaptation

__all__ = ["MemoryEstimate", "available_memory", "estimate_memory"]

# Bytes of saved activations a token, a layer and a hidden unit at 2-byte precision without attention maps
# (Korthikanti et al. 2022, arXiv 2205.05198, section 4.1: s b h (34 + ...)).
_ACTIVATION_BYTES = 34


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes, by what they hold."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())


def estimate_memory(
    base: Base,
    adaptation: Adaptation,
    tasks: Sequence[EncodedTask],
    micro_batch_size: int,
    *,
    shared: bool,
    recomputing: bool = False,
) -> MemoryEstimate:
    """Return the estimate for the largest micro-batch that these rows can give."""
    trained = sum(p.numel() for p in adaptation.trainable().values())
    config = base.model.config.get_text_config(decoder=True)
    layers, hidden = int(config.num_hidden_layers), int(config.hidden_size)
    tokens = targets = 0
    for task in tasks:
        longest = sorted((len(row.ids) for row in task.rows), reverse=True)[:micro_batch_size]
        prefix = max((len(task.prefix_of(row).ids) for row in task.rows), default=0)
        tokens = max(tokens, (longest[0] if longest else 0) * len(longest) + prefix * (1 if shared else len(longest)))
        targets = max(targets, sum(sorted((row.target_tokens for row in task.rows), reverse=True)[:micro_batch_size]))
    width = 2 if base.precision == "fp32" else 1
    # Recomputing keeps the input of each layer (2 bytes a hidden unit) and the activations of one.
    kept = layers * 2 + _ACTIVATION_BYTES if recomputing else layers * _ACTIVATION_BYTES
    return MemoryEstimate(
        weights=sum(p.numel() * p.element_size() for p in base.model.parameters()),
        gradients=4 * trained,
        optimizer=8 * trained,
        activations=tokens * hidden * kept * width,
        logits=3 * targets * base.vocabulary * 4,
    )


def available_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device now (weights already loaded are not free)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
