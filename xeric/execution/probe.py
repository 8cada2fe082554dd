"""The speed of a base on this machine: growing micro-batches of training and a few tokens of decoding, of arbitrary tokens.

The time depends on the length of rows, not on their tokens; so a probe needs no data, and a large base on a slow machine is timed
on shorter rows. :mod:`xeric.execution.operations` derives the times of other methods and other rows.
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
from xeric.data.rows import SEGMENT_KINDS, EncodedTask, InstanceRow, PrefixRow
from xeric.decoding import DecodeOptions, decode
from xeric.execution.operations import Parts, Row, Size, Speed, batch_work, fitted, reading_operations, training_operations
from xeric.methods.base import Adaptation
from xeric.progress import Progress
from xeric.run.cost import Stopwatch
from xeric.training.loss import step_loss
from xeric.training.memory import estimate_memory, held_memory

__all__ = ["Shape", "arbitrary_rows", "parts_of", "probe_decoding", "probe_training", "size_of"]

_SHARES = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0)
"""Of the usual micro-batch: the first warms up, the next ones are timed until that has taken long enough."""

_ENOUGH = 1.5
"""Seconds of a micro-batch from which no larger one is timed."""

_LEVER = 3.0
"""At least so many times the operations of the smallest that is timed has the largest: reading the weights, which takes the same
time for any number of rows, is told apart from computing."""

_SHORTENED, _PATIENCE = 2.0, 8.0
"""Seconds that the prompts of the decoding probe may take: their prefix is shortened to the first, then there are fewer texts."""

_INPUT_TOKENS, _NEW_TOKENS = 4, 5
"""Tokens of an input, and new tokens, in the decoding probe."""

_SHORTEST_PREFIX = 16
"""Tokens to which the prefix is shortened in the decoding probe before there are fewer texts."""

_OPTIMIZER_PARAMETERS = 1 << 22
"""Largest number of parameters in the optimiser's probe."""

_INSTRUCTION, _INPUT, _TARGET = (SEGMENT_KINDS.index(kind) for kind in ("instruction", "input", "target"))


@dataclass(frozen=True)
class Shape:
    """The usual micro-batch of a study's training.

    Attributes:
        prefix: tokens of the prefix.
        rows: instances.
        tokens: of an instance, its target included.
        targets: target tokens of an instance.
    """

    prefix: int
    rows: int
    tokens: int
    targets: int

    def as_rows(self, task: str) -> list[Row]:
        """Return its instances, of one task."""
        return [Row(task, self.prefix, self.tokens, self.targets)] * self.rows

    def scaled(self, share: float) -> Shape:
        """Return a smaller micro-batch, about ``share`` of this one."""
        rows = max(round(self.rows * share), 1)
        # Where the number of rows cannot be reduced far enough, their length is.
        length = min(self.rows * share / rows, 1.0)
        tokens = max(round(self.tokens * length), 2)
        targets = min(max(round(self.targets * length), 1), tokens - 1)
        return Shape(max(round(self.prefix * share), 1), rows, tokens, targets)


def size_of(base: Base) -> Size:
    """Return the sizes that determine a base's operations, before a method is attached."""
    config = base.model.config.get_text_config(decoder=True)
    input_weight, output_weight = base.input_embeddings.weight, base.output_embeddings.weight
    assert isinstance(input_weight, torch.Tensor)
    assert isinstance(output_weight, torch.Tensor)
    hidden = int(config.hidden_size)
    width = int(config.num_attention_heads) * int(getattr(config, "head_dim", None) or hidden // config.num_attention_heads)
    untied = 0 if input_weight is output_weight else base.vocabulary * hidden
    body = base.parameters - input_weight.numel() - untied
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
        # Tables (prefixes, positions) are looked up and take no operations.
        added += parameter.numel() if isinstance(owner, nn.Linear) else 0
    return Parts(sum(parameter.numel() for name, parameter in trained.items() if name in own), added)


def probe_training(
    base: Base, adaptation: Adaptation, size: Size, parts: Parts, task: str, shape: Shape, progress: Progress
) -> tuple[Speed, float]:
    """Time micro-batches of growing size until one takes long enough, after a first one that is not counted, and the optimiser.

    Args:
        base: with the method attached.
        adaptation: the method's.
        size: of the base.
        parts: what the method trains.
        task: a task that the method was attached for.
        shape: the usual micro-batch.
        progress: is told of each micro-batch.

    Returns:
        The speed of training; and the ratio of the last micro-batch's memory to its estimate, at least 1.
    """
    batching = base.batching()
    progress.start("training", len(_SHARES))
    # Memory that one micro-batch frees is used again by the next one, so all are compared with the memory before the first.
    held_before, peak = held_memory(base), 0

    def timed(used: Shape) -> tuple[float, float]:
        nonlocal peak
        work = batch_work(used.as_rows(task), batching)
        encoded = arbitrary_rows(base, task, used)
        watch = Stopwatch(base.device)
        batch = [[(encoded, row) for row in encoded.rows]]
        with base.mode(training=True):
            seconds = _seconds(base, lambda: step_loss(base, batch))
        peak = watch.peak()
        for trained in adaptation.trainable().values():
            trained.grad = None
        progress.advance(1)
        return training_operations(size, work, parts), seconds

    timed(shape.scaled(_SHARES[0]))
    points: list[tuple[float, float]] = []
    for share in _SHARES[1:]:
        points.append(timed(shape.scaled(share)))
        if points[-1][1] >= _ENOUGH and points[-1][0] >= _LEVER * points[0][0]:
            break
    progress.advance(len(_SHARES) - 1 - len(points))
    largest = shape.scaled(_SHARES[len(points)])
    rows = arbitrary_rows(base, task, largest)
    expected = estimate_memory(base, adaptation, [(rows, row) for row in rows.rows], shared=batching != "plain")
    memory = (peak - held_before - expected.gradients) / (expected.training - expected.gradients - expected.optimizer)
    return Speed(*fitted((points[0], points[-1])), parameter=_optimizer_seconds(base, adaptation)), max(memory, 1.0)


def _optimizer_seconds(base: Base, adaptation: Adaptation) -> float:
    """Return the seconds of clipping and AdamW per parameter, timed on as many parameters as train, at most a few millions."""
    count = min(sum(p.numel() for p in adaptation.trainable().values()), _OPTIMIZER_PARAMETERS)
    parameter = nn.Parameter(torch.zeros(count, device=base.device))
    parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.AdamW([parameter], fused=True)

    def step() -> None:
        clip_grad_norm_([parameter], 1.0, foreach=False)
        optimizer.step()

    step()  # creates the moments
    return _seconds(base, step) / count


def probe_decoding(base: Base, size: Size, options: DecodeOptions, prefix: int, speed: Speed, progress: Progress) -> Speed:
    """Time reading the prompts and writing a few tokens, for one batch that is decoded as a study decodes.

    Args:
        base: without a method.
        size: of the base.
        options: of decoding.
        prefix: tokens of the prefix.
        speed: of training, to predict how long the prompts take.
        progress: is told of each token.

    Returns:
        The speed, with that of decoding added.
    """
    copies = options.candidates if options.strategy == "mbr" else 1
    rows = max(options.batch_size // copies, 1)
    prefix, shared = min(prefix, base.context - _INPUT_TOKENS - _NEW_TOKENS), base.can_share_prefix()

    def reading(sequences: int) -> float:
        asked = Shape(prefix, sequences, _INPUT_TOKENS, 1).as_rows("")
        return reading_operations(size, batch_work(asked, "shared" if shared else "plain"))

    while prefix > _SHORTEST_PREFIX and reading(rows * copies) * speed.operation > _SHORTENED:
        prefix = max(prefix // 2, _SHORTEST_PREFIX)
    while rows > 1 and reading(rows * copies) * speed.operation > _PATIENCE:
        rows //= 2
    encoded = arbitrary_rows(base, "", Shape(prefix, rows, _INPUT_TOKENS, 0))
    # No token ends a text, so that every text has all its tokens.
    endless = dataclasses.replace(base, eos=(base.vocabulary,))
    # Tested before, so that the clock sees no test.
    endless.shares_prefix, endless.writes_in_steps = shared, base.writes_in_steps
    moments: list[float] = []

    def token(*_: object) -> None:
        _synchronize(base)
        moments.append(time.perf_counter())
        progress.advance(1)

    progress.start("decoding", _NEW_TOKENS)
    handle = base.output_embeddings.register_forward_pre_hook(token)
    try:
        start = time.perf_counter()
        decode(endless, encoded, options, max_new_tokens=_NEW_TOKENS)
    finally:
        handle.remove()
    sequences = rows * copies
    steps = [after - before for before, after in pairwise(moments)]
    beams = options.beams if options.strategy == "beam" else 1
    # The first step also allocates what later ones use.
    writing = statistics.median(steps[1:] or steps or [0.0])
    per_operation = (moments[0] - start) / reading(sequences)
    return dataclasses.replace(speed, reading=per_operation, writing=writing, together=sequences * beams)


def arbitrary_rows(base: Base, task: str, shape: Shape) -> EncodedTask:
    """Return rows of a shape, made of arbitrary tokens; they are rows for decoding where the shape has no targets."""
    usable = [token for token in range(min(base.vocabulary, 1000)) if token not in base.eos]
    ids = tuple(usable[(7 * position) % len(usable)] for position in range(max(shape.prefix, shape.tokens)))
    start = shape.tokens - shape.targets
    kinds = (_INPUT,) * start + (_TARGET,) * shape.targets
    rows = tuple(InstanceRow(str(number), 0, ids[: shape.tokens], kinds, start) for number in range(shape.rows))
    prefix = PrefixRow(task, ids[: shape.prefix], (_INSTRUCTION,) * shape.prefix, 0)
    return EncodedTask(task, (prefix,), rows)


def _seconds(base: Base, action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    _synchronize(base)
    start = time.perf_counter()
    action()
    _synchronize(base)
    return time.perf_counter() - start


def _synchronize(base: Base) -> None:
    if base.device.type == "cuda":
        torch.cuda.synchronize(base.device)
