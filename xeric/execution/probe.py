"""How fast a base is here: two micro-batches of training and a few tokens of decoding, on rows of made-up tokens.

What is in a row moves no time, only how long it is; so nothing has to be read or tokenised for a probe, and a large base on a
slow machine is tried on shorter rows. :mod:`xeric.execution.operations` says what follows for other methods and other rows.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from xeric.bases.base import Base
from xeric.bases.causal import can_share_prefix
from xeric.data.encoding import EncodedTask, InstanceRow, PrefixRow
from xeric.data.prompts import SEGMENT_KINDS
from xeric.decoding import DecodeOptions, decode
from xeric.execution.operations import Parts, Size, Speed, batch_work, fitted, reading_operations, training_operations
from xeric.methods.base import Adaptation
from xeric.progress import Progress
from xeric.run.cost import Stopwatch
from xeric.training.loss import step_loss
from xeric.training.memory import estimate_memory, held_memory

__all__ = ["Shape", "parts_of", "probe_decoding", "probe_training", "size_of"]

_PATIENCE = 8.0
"""Seconds that one micro-batch, or the prompts of the decoding probe, may take; what would take longer is tried on less."""

_GIVEN, _TOKENS = 16, 6
"""Tokens of an input, and tokens written, in the decoding probe."""

_OPTIMIZED = 1 << 22
"""Parameters of the optimiser's probe, at most."""

_INSTRUCTION, _INPUT, _TARGET = (SEGMENT_KINDS.index(kind) for kind in ("instruction", "input", "target"))


@dataclass(frozen=True)
class Shape:
    """The usual micro-batch of a study's training.

    Attributes:
        prefix: tokens of the prefix.
        rows: instances.
        tokens: of an instance, its target among them.
        targets: of an instance.
    """

    prefix: int
    rows: int
    tokens: int
    targets: int

    def scaled(self, share: float) -> Shape:
        """Return a smaller micro-batch, about ``share`` of this one."""
        rows = max(round(self.rows * share), 1)
        # What fewer rows cannot make smaller, shorter ones do.
        length = min(self.rows * share / rows, 1.0)
        tokens = max(round(self.tokens * length), 2)
        targets = min(max(round(self.targets * length), 1), tokens - 1)
        return Shape(max(round(self.prefix * share), 1), rows, tokens, targets)


def size_of(base: Base) -> Size:
    """Return what the operations of a base depend on, before a method is attached."""
    config = base.model.config.get_text_config(decoder=True)
    looked_up, made = base.input_embeddings.weight, base.output_embeddings.weight
    assert isinstance(looked_up, torch.Tensor)
    assert isinstance(made, torch.Tensor)
    hidden = int(config.hidden_size)
    width = int(config.num_attention_heads) * int(getattr(config, "head_dim", None) or hidden // config.num_attention_heads)
    apart = 0 if looked_up is made else base.vocabulary * hidden
    body = base.parameters - looked_up.numel() - apart
    return Size(max(body, 1), base.vocabulary * hidden, int(config.num_hidden_layers) * width)


def parts_of(adaptation: Adaptation, own: set[str]) -> Parts:
    """Return what an attached method trains.

    Args:
        adaptation: the method's.
        own: names of the base's own parameters, from before it was attached.
    """
    trained = adaptation.trainable()
    added = 0
    for name, parameter in trained.items():
        owner = adaptation.base.model.get_submodule(name.rpartition(".")[0]) if name not in own else None
        # Tables (prefixes, positions) are looked up and pass nothing through.
        added += parameter.numel() if isinstance(owner, nn.Linear) else 0
    return Parts(sum(parameter.numel() for name, parameter in trained.items() if name in own), added)


def probe_training(
    base: Base, adaptation: Adaptation, size: Size, parts: Parts, task: str, shape: Shape, progress: Progress
) -> tuple[Speed, float]:
    """Time two micro-batches, a small one and a usual one, after one that is not timed, and the optimiser.

    Args:
        base: with the method attached.
        adaptation: the method's.
        size: of the base.
        parts: what the method trains.
        task: one that the method was attached for.
        shape: the usual micro-batch.
        progress: is told of each.

    Returns:
        What concerns training of the speed; and the memory of the last micro-batch over what was expected of it, at least 1.
    """
    shared = can_share_prefix(base)
    progress.start("training", 3)
    # What one micro-batch frees, the next one takes without asking the system for more.
    before, memory = held_memory(base), 1.0

    def tried(one: Shape) -> tuple[float, float]:
        nonlocal memory
        work = batch_work(one.prefix, [one.tokens] * one.rows, one.rows * one.targets, shared=shared)
        encoded = _made_up(base, task, one)
        watch = Stopwatch(base.device)
        batch = [[(encoded, row) for row in encoded.rows]]
        with base.mode(training=True):
            seconds = _seconds(base, lambda: step_loss(base, batch))
        expected = estimate_memory(base, adaptation, [encoded], one.rows, shared=shared)
        memory = max(
            (watch.peak() - before - expected.gradients) / (expected.training - expected.gradients - expected.optimizer), 1.0
        )
        for trained in adaptation.trainable().values():
            trained.grad = None
        progress.advance(1)
        return training_operations(size, work, parts), seconds

    first = tried(shape.scaled(0.1))
    small = first if first[1] > _PATIENCE else tried(shape.scaled(0.25))
    whole = batch_work(shape.prefix, [shape.tokens] * shape.rows, shape.rows * shape.targets, shared=shared)
    share = min(_PATIENCE / max(small[1] / small[0] * training_operations(size, whole, parts), 1e-9), 1.0)
    points = [small] if share < 0.3 else [small, tried(shape.scaled(share) if share < 1 else shape)]
    return Speed(*fitted(points), parameter=_optimizer_seconds(base, adaptation)), memory


def _optimizer_seconds(base: Base, adaptation: Adaptation) -> float:
    """Return the seconds of clipping and AdamW for each parameter, from steps over as many as train, at most a few millions."""
    count = min(sum(p.numel() for p in adaptation.trainable().values()), _OPTIMIZED)
    parameter = nn.Parameter(torch.zeros(count, device=base.device))
    parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.AdamW([parameter])

    def step() -> None:
        clip_grad_norm_([parameter], 1.0, foreach=False)
        optimizer.step()

    step()  # makes the moments
    return _seconds(base, step) / count


def probe_decoding(base: Base, size: Size, options: DecodeOptions, prefix: int, speed: Speed, progress: Progress) -> Speed:
    """Time the prompts and a few tokens of one batch, decoded as a study decodes.

    Args:
        base: without a method.
        size: of the base.
        options: of decoding.
        prefix: tokens of the prefix.
        speed: what is known of training, to foresee how long the prompts take.
        progress: is told of each token.

    Returns:
        The speed, with what concerns decoding.
    """
    copies = options.candidates if options.strategy == "mbr" else 1
    rows = max(options.batch_size // copies, 1)
    prefix, shared = min(prefix, base.context - _GIVEN - _TOKENS), can_share_prefix(base)

    def reading(sequences: int) -> float:
        return reading_operations(size, batch_work(prefix, [_GIVEN] * sequences, sequences, shared=shared))

    while rows > 1 and reading(rows * copies) * speed.operation > _PATIENCE:
        rows //= 2
    encoded = _made_up(base, "", Shape(prefix, rows, _GIVEN, 0))
    # A base that ends no text: every one gets all its tokens.
    endless = dataclasses.replace(base, eos=(base.vocabulary,))
    endless.shares_prefix = shared
    moments: list[float] = []

    def token(*_: object) -> None:
        _wait(base)
        moments.append(time.perf_counter())
        progress.advance(1)

    progress.start("decoding", _TOKENS)
    handle = base.output_embeddings.register_forward_pre_hook(token)
    try:
        start = time.perf_counter()
        decode(endless, encoded, options, max_new_tokens=_TOKENS)
    finally:
        handle.remove()
    sequences = rows * copies
    steps = [after - before for before, after in pairwise(moments)]
    beams = options.beams if options.strategy == "beam" else 1
    # The first step makes what later ones find made.
    writing = statistics.median(steps[1:] or steps or [0.0])
    each = (moments[0] - start) / reading(sequences)
    return dataclasses.replace(speed, reading=each, writing=writing, together=sequences * beams)


def _made_up(base: Base, task: str, shape: Shape) -> EncodedTask:
    """Return rows of a shape, of tokens that mean nothing; rows for decoding where there are no targets."""
    usable = [token for token in range(min(base.vocabulary, 1000)) if token not in base.eos]
    ids = tuple(usable[(7 * place) % len(usable)] for place in range(max(shape.prefix, shape.tokens)))
    start = shape.tokens - shape.targets
    kinds = (_INPUT,) * start + (_TARGET,) * shape.targets
    rows = tuple(InstanceRow(str(number), 0, ids[: shape.tokens], kinds, start) for number in range(shape.rows))
    prefix = PrefixRow(task, ids[: shape.prefix], (_INSTRUCTION,) * shape.prefix, 0)
    return EncodedTask(task, (prefix,), rows)


def _seconds(base: Base, action: Callable[[], object]) -> float:
    """Return how long something takes."""
    _wait(base)
    start = time.perf_counter()
    action()
    _wait(base)
    return time.perf_counter() - start


def _wait(base: Base) -> None:
    if base.device.type == "cuda":
        torch.cuda.synchronize(base.device)
