"""What a training does at a step as a function of the step alone: the learning rate, and the seed of its random numbers."""

from __future__ import annotations

import hashlib
import math

from xeric.training.options import TrainOptions

__all__ = ["lr_factor", "step_seed"]


def lr_factor(options: TrainOptions, step: int, planned: int) -> float:
    """Return the factor on the learning rate of optimiser step ``step`` (from 0) of ``planned``."""
    warm = math.ceil(options.warmup * planned)
    if step < warm:
        return (step + 1) / warm
    if options.schedule == "constant":
        return 1.0
    progress = (step - warm) / max(1, planned - warm)
    return 1.0 - progress if options.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))


def step_seed(seed: int, step: int) -> int:
    """Return the seed of everything random in a step."""
    return int.from_bytes(hashlib.sha256(f"dropout {seed} {step}".encode()).digest()[:8], "big") >> 1
