"""An estimate, before a run starts, of the memory it will take: what its device holds now, and what training and decoding add.

What a micro-batch keeps for its backward pass depends on the model's code, on the modules of the method and on the kernels that
PyTorch picks. So it is not derived from the size of the model: the tensors that autograd keeps are counted on one and on two rows
of the run itself, and extrapolated linearly in the number of rows.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import psutil
import torch

from xeric.bases.base import Base
from xeric.data.encoding import EncodedTask, InstanceRow
from xeric.methods.base import Adaptation

__all__ = [
    "MemoryEstimate",
    "available_memory",
    "decoding_memory",
    "estimate_memory",
    "held_memory",
    "kept_bytes",
    "memory_of",
]


_PASSING = 0.5
"""Memory of a step beyond activations and logits, as a share of theirs; measured: 0.25 to 0.6 (Gemma 3 270M, on a CPU)."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes, by what they hold.

    Attributes:
        held: by the process (CPU) or its tensors (CUDA) before training: the base, the method, libraries.
        gradients: of the trained parameters.
        optimizer: the moments of AdamW.
        selection: the copy of the best weights so far.
        activations: what the largest micro-batch keeps for its backward pass, without logits.
        logits: at its target positions.
        passing: gradients of activations during the backward pass, and freed memory that the allocator cannot reuse.
        decoding: keys and values, and logits, of the largest batch that is decoded; training's memory is freed by then.
    """

    held: int
    gradients: int = 0
    optimizer: int = 0
    selection: int = 0
    activations: int = 0
    logits: int = 0
    passing: int = 0
    decoding: int = 0

    @property
    def training(self) -> int:
        """What training adds to what is held."""
        return self.gradients + self.optimizer + self.selection + self.activations + self.logits + self.passing

    @property
    def total(self) -> int:
        """The most that is held at any moment."""
        return self.held + max(self.training, self.decoding)

    def as_bytes(self) -> dict[str, int]:
        """Return every part and the total, by name."""
        return {**asdict(self), "total": self.total}


def estimate_memory(
    base: Base,
    adaptation: Adaptation,
    tasks: Sequence[EncodedTask],
    micro_batch_size: int,
    *,
    shared: bool,
    recomputing: bool = False,
    selecting: bool = False,
    decoding: int = 0,
) -> MemoryEstimate:
    """Return the estimate for the largest micro-batch that these rows can give.

    Args:
        base: with the method attached.
        adaptation: the method's.
        tasks: rows that are trained on.
        micro_batch_size: rows of the largest micro-batch; 0 where no step is taken.
        shared: whether the task prefix is computed once per micro-batch.
        recomputing: whether training keeps only the inputs of layers (gradient checkpointing).
        selecting: whether training keeps the best weights beside the current ones.
        decoding: of :func:`decoding_memory`.
    """
    held = held_memory(base)
    trained = sum(p.numel() for p in adaptation.trainable().values())

    def kept(task: EncodedTask, rows: Sequence[InstanceRow]) -> int:
        """Return the bytes of a prefix and a first row, plus those of each further row; they are padded to the first."""
        first = kept_bytes(base, task, rows[:1], shared=shared)
        # A single row needs no second measurement.
        further = kept_bytes(base, task, [rows[0]] * 2, shared=shared) - first if len(rows) > 1 else 0
        return first + further * (len(rows) - 1)

    arguments = base, held, trained, tasks, micro_batch_size, kept
    return memory_of(*arguments, recomputing=recomputing, selecting=selecting, decoding=decoding)


def memory_of(
    base: Base,
    held: int,
    trained: int,
    tasks: Sequence[EncodedTask],
    micro_batch_size: int,
    kept: Callable[[EncodedTask, Sequence[InstanceRow]], int],
    *,
    recomputing: bool,
    selecting: bool,
    decoding: int,
) -> MemoryEstimate:
    """Return the estimate of :func:`estimate_memory` where a function says what a micro-batch keeps.

    Args:
        base: the base.
        held: bytes held before training.
        trained: number of trained parameters.
        tasks: rows that are trained on.
        micro_batch_size: rows of the largest micro-batch.
        kept: returns the bytes that rows of a task keep for their backward pass, without logits; the first row is the longest.
        recomputing: as of :func:`estimate_memory`.
        selecting: likewise.
        decoding: likewise.
    """
    batches = [_largest_micro_batch(task, micro_batch_size) for task in tasks if task.rows]
    if not trained or not batches or not micro_batch_size:
        return MemoryEstimate(held, decoding=decoding)
    task, rows = max(batches, key=lambda batch: sum(len(row.ids) for row in batch[1]))
    targets = max(sum(row.target_tokens for row in batch) for _, batch in batches)
    activations = kept(task, rows)
    if recomputing:
        activations = _recomputed(base, task, rows, activations)
    logits = targets * base.vocabulary * (4 if base.precision == "fp32" else 2)
    return MemoryEstimate(
        held=held,
        gradients=4 * trained,
        optimizer=8 * trained,
        selection=4 * trained if selecting else 0,
        activations=activations,
        logits=logits,
        passing=round(_PASSING * (activations + logits)),
        decoding=decoding,
    )


def decoding_memory(base: Base, tasks: Sequence[EncodedTask], batch_size: int, max_new_tokens: int) -> int:
    """Return the bytes that decoding adds: keys and values of the longest rows twice, and logits.

    Twice, because those of prompts that were just run are copied to where they are kept, and ``generate`` copies all of them as
    they grow.

    Args:
        base: that decodes.
        tasks: rows with or without targets.
        batch_size: sequences decoded at once, beams and candidates counted.
        max_new_tokens: limit of a text.
    """
    longest = max((len(task.prefix_of(row).ids) + row.target_start for task in tasks for row in task.rows), default=0)
    cached = base.architecture.cached_numbers(base, longest, max_new_tokens)
    return batch_size * 4 * (2 * cached + 2 * base.vocabulary)


def held_memory(base: Base) -> int:
    """Return the bytes held now on the base's device, by the process or (CUDA) by its tensors.

    Memory that the process has freed and its allocator still keeps (from an earlier run, say) is returned to the system first.
    """
    if base.device.type == "cuda":
        return int(torch.cuda.memory_allocated(base.device))
    _give_back_freed_memory()
    return int(psutil.Process().memory_info().rss)


def _give_back_freed_memory() -> None:
    """Make glibc's allocator return freed memory to the system (malloc_trim(3)); other systems have no such call."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def available_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device now (weights already loaded are not free)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _largest_micro_batch(task: EncodedTask, size: int) -> tuple[EncodedTask, list[InstanceRow]]:
    return task, sorted(task.rows, key=lambda row: len(row.ids), reverse=True)[:size]


def _recomputed(base: Base, task: EncodedTask, rows: Sequence[InstanceRow], whole: int) -> int:
    """Return the bytes kept where activations are recomputed: the input of every layer, and the one layer at hand."""
    config = base.model.config.get_text_config(decoder=True)
    prompt = len(task.prefix_of(rows[0]).ids) + rows[0].target_start
    inputs = len(rows) * base.architecture.kept_inputs(base, prompt, rows[0].target_tokens)
    return inputs * int(config.hidden_size) * (4 if base.precision == "fp32" else 2) + whole // int(config.num_hidden_layers)


def kept_bytes(base: Base, task: EncodedTask, rows: Sequence[InstanceRow], *, shared: bool) -> int:
    """Return the bytes of all tensors that autograd keeps for a micro-batch, without parameters and logits.

    Args:
        base: with the method attached.
        task: that the rows belong to.
        rows: of the micro-batch.
        shared: whether the task prefix is computed once.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*base.model.parameters(), *base.model.buffers())}
    # The hook keeps storages, not tensors: an output that its own graph refers to through Python would never be freed.
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage

    devices = [base.device] if base.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), base.mode(training=True), base.autocast():
        with torch.autograd.graph.saved_tensors_hooks(keep, _never):
            logits, _ = base.target_logits(task.prefix_of(rows[0]), rows, shared=shared)
        storages.pop(logits.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in storages.values())


def _never(_: object) -> torch.Tensor:
    raise AssertionError("the counting pass has no backward pass")
