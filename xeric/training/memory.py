"""An estimate, before a run starts, of the memory it will take: what its device holds now, and what training and decoding add.

What a micro-batch keeps for its backward pass depends on the model's code, on the modules of the method and on the kernels that
PyTorch picks. So it is not derived from the size of the model: the tensors that autograd keeps are counted on one and on two rows
of the run itself, and extrapolated linearly in the number of tokens.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import psutil
import torch

from xeric.bases.base import Base
from xeric.data.rows import EncodedTask, RowGroup, grouped_rows
from xeric.methods.base import Adaptation
from xeric.training.steps import MicroBatch

__all__ = [
    "MemoryEstimate",
    "available_memory",
    "decoding_memory",
    "estimate_memory",
    "held_memory",
    "kept_bytes",
    "memory_of",
    "recomputed_bytes",
]

_PASSING = 0.4
"""Memory of a step beyond activations and logits, as a share of the former; measured: 0.17 to 0.55 (Gemma 3 270M, on a CPU)."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes, by what they hold.

    Attributes:
        held: by the process (CPU) or its tensors (CUDA) before training: the base, the method, libraries.
        gradients: of the trained parameters.
        optimizer: the moments of AdamW.
        selection: the copy of the best weights so far.
        activations: what the largest micro-batch keeps for its backward pass, without logits.
        logits: as many as are held at once.
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
    batch: MicroBatch,
    *,
    shared: bool,
    recomputing: bool = False,
    selecting: bool = False,
    decoding: int = 0,
) -> MemoryEstimate:
    """Return the estimate for the largest micro-batch.

    Args:
        base: with the method attached.
        adaptation: the method's.
        batch: the micro-batch; empty where no step is taken.
        shared: whether the task prefix is computed once per micro-batch.
        recomputing: whether training keeps only the inputs of layers (gradient checkpointing).
        selecting: whether training keeps the best weights beside the current ones.
        decoding: of :func:`decoding_memory`.
    """
    held = held_memory(base)
    trained = sum(p.numel() for p in adaptation.trainable().values())
    activations = _kept_by(base, batch, shared=shared) if trained and batch else 0
    if activations and recomputing:
        rows = [(len(task.prefix_of(row).ids) + row.target_start, row.target_tokens) for task, row in batch]
        activations = recomputed_bytes(base, rows, activations)
    targets = sum(row.target_tokens for _, row in batch)
    return memory_of(base, held, trained, activations, targets, selecting=selecting, decoding=decoding)


def memory_of(
    base: Base, held: int, trained: int, activations: int, targets: int, *, selecting: bool, decoding: int
) -> MemoryEstimate:
    """Return the estimate of :func:`estimate_memory` where it is known what the largest micro-batch keeps.

    Args:
        base: the base.
        held: bytes held before training.
        trained: number of trained parameters.
        activations: bytes that the micro-batch keeps for its backward pass, without logits; 0 where no step is taken.
        targets: its target tokens.
        selecting: as of :func:`estimate_memory`.
        decoding: likewise.
    """
    if not trained or not activations:
        return MemoryEstimate(held, decoding=decoding)
    logits = base.architecture.logits_at_once(base, targets) * (4 if base.precision == "fp32" else 6)
    return MemoryEstimate(
        held=held,
        gradients=4 * trained,
        optimizer=8 * trained,
        selection=4 * trained if selecting else 0,
        activations=activations,
        logits=logits,
        passing=round(_PASSING * activations),
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
    """Return the bytes that tensors can take on a device now (weights already loaded are not free).

    On CUDA these are what the driver has free, and what PyTorch's allocator keeps of memory that tensors have left.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + kept)
    return int(psutil.virtual_memory().available)


def _kept_by(base: Base, batch: MicroBatch, *, shared: bool) -> int:
    """Return the bytes that a micro-batch keeps: counted on its longest row and on that twice, and extrapolated."""
    task, row = max(batch, key=lambda item: len(item[0].prefix_of(item[1]).ids) + len(item[1].ids))
    prefix = task.prefix_of(row)
    first = kept_bytes(base, [RowGroup(prefix, (row,))], shared=shared)
    # A single row needs no second measurement.
    further = kept_bytes(base, [RowGroup(prefix, (row, row))], shared=shared) - first if len(batch) > 1 else 0
    if base.batching(shared=shared) != "packed":
        return first + further * (len(batch) - 1)
    tokens = sum(len(group.prefix.ids) + sum(len(row.ids) for row in group.rows) for group in grouped_rows(batch))
    return first + round(further * (tokens - len(prefix.ids) - len(row.ids)) / len(row.ids))


def recomputed_bytes(base: Base, rows: Sequence[tuple[int, int]], whole: int) -> int:
    """Return the bytes kept where activations are recomputed: the input of every layer, and the one layer at hand.

    Args:
        base: the base.
        rows: tokens of prompt and target of each row of the micro-batch.
        whole: bytes that it would keep otherwise.
    """
    config = base.model.config.get_text_config(decoder=True)
    inputs = sum(base.architecture.kept_inputs(base, prompt, target) for prompt, target in rows)
    return inputs * int(config.hidden_size) * (4 if base.precision == "fp32" else 2) + whole // int(config.num_hidden_layers)


def kept_bytes(base: Base, groups: Sequence[RowGroup], *, shared: bool) -> int:
    """Return the bytes of all tensors that autograd keeps for a micro-batch, without parameters and logits.

    Args:
        base: with the method attached.
        groups: the rows of the micro-batch by prefix.
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
    targets = sum(row.target_tokens for group in groups for row in group.rows)
    counting = torch.autograd.graph.saved_tensors_hooks(keep, _never)
    with torch.random.fork_rng(devices=devices), base.mode(training=True), base.autocast(), counting:
        base.target_losses(groups, torch.ones(targets, device=base.device), shared=shared)
    return sum(storage.nbytes() for storage in storages.values())


def _never(_: object) -> torch.Tensor:
    raise AssertionError("the counting pass has no backward pass")
