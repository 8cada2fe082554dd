"""Several processes that carry out one run together, data-parallel over micro-batches; a process alone by default.

Each process computes its part of a step's micro-batches; gradients and losses are summed, so all take the same optimiser step,
that of one process up to rounding. The *first* process alone writes files, tells progress and decodes
(:meth:`Processes.from_first`).

The processes are connected by PyTorch's process groups: tensors of a GPU by NCCL, everything else by Gloo, which notices at once
when a process has ended. Launchers (``torchrun``, ``accelerate launch``) say in the environment which process is which.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
from torch import distributed

from xeric.errors import RunError, UserError, XericError

__all__ = ["ALONE", "LAUNCHER", "ProcessLostError", "Processes", "Rank", "joined", "launched_rank", "shared_out"]

T = TypeVar("T")

LAUNCHER = "env://"
"""A rendezvous: where the environment that a launcher made says."""

_JOIN_TIMEOUT = timedelta(minutes=10)
# The others wait as long as the first decodes; that a process has ended they notice without a timeout.
_WAIT_TIMEOUT = timedelta(days=1)
# Gradients are summed in pieces of about this many numbers: few messages, and no second copy of all gradients.
_BUCKET = 8_000_000


class ProcessLostError(RunError):
    """Another process of the run has ended or cannot be reached; the run goes on from its last checkpoint."""

    def __init__(self) -> None:
        hint = "see its own message; the same command goes on from the last checkpoint"
        super().__init__("another process of this run has ended", hint=hint)


class Rank(NamedTuple):
    """Which process of a run this is.

    Attributes:
        number: of the process, from 0.
        processes: how many there are.
        local: number of the process on its machine, from 0; its GPU.
    """

    number: int
    processes: int
    local: int


class Processes:
    """The processes that carry out a run, seen from one of them.

    Every method but :meth:`share` must be called by all of them, in the same order. A process that is alone waits for nobody.

    Args:
        number: of this process, from 0.
        count: of processes.
        control: the process group for what is on the processor; None for a process alone.
        device: the process group for what is on the run's device.
    """

    def __init__(
        self,
        number: int = 0,
        count: int = 1,
        control: distributed.ProcessGroup | None = None,
        device: distributed.ProcessGroup | None = None,
    ) -> None:
        self.number, self.count = number, count
        self._control, self._device = control, device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and tells progress."""
        return self.number == 0

    def share(self, costs: Sequence[int]) -> list[int]:
        """Return which of several pieces of work this process does; see :func:`shared_out`."""
        return shared_out(costs, self.count)[self.number]

    def from_first(self, action: Callable[[], T]) -> T:
        """Return what an action of the first process returned; the others wait for it.

        Args:
            action: called in the first process alone; what it returns can be pickled.

        Raises:
            XericError: the action raised it; in every process.
            ProcessLostError: a process has ended.
        """
        if self.count == 1:
            return action()
        outcome: list[Any] = [None, None]
        if self.first:
            try:
                outcome[0] = action()
            except XericError as error:
                outcome[1] = error
        with _noticing_loss():
            distributed.broadcast_object_list(outcome, src=0, group=self._control, device=torch.device("cpu"))
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result

    def check_same(self, value: str, what: str) -> None:
        """Check that a value is the same in this process as in the first.

        Args:
            value: to compare.
            what: it says something about, for the message.

        Raises:
            RunError: it is not.
            ProcessLostError: a process has ended; the one in which the value differs, for example.
        """
        if self.from_first(lambda: value) != value:
            hint = "start all processes with the same command, on machines that share a file system"
            raise RunError(f"process {self.number} of this run sees other {what} than process 0", hint=hint)

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set in any process."""
        return flag if self.count == 1 else self.total([float(flag)])[0] > 0

    def total(self, values: Sequence[float]) -> list[float]:
        """Return numbers summed over all processes, the same bits in each.

        Raises:
            ProcessLostError: a process has ended.
        """
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        with _noticing_loss():
            distributed.all_reduce(tensor, group=self._control)
        return tensor.tolist()

    def sum_gradients(self, parameters: Sequence[torch.Tensor]) -> None:
        """Sum the gradients over all processes, in place; a parameter without gradient in every process keeps none.

        Args:
            parameters: the same in every process, in the same order.

        Raises:
            ProcessLostError: a process has ended.
        """
        if self.count == 1:
            return
        # This exchange waits for the slowest process, by Gloo: one that died while it computed is noticed here, not within NCCL.
        present = self.total([float(parameter.grad is not None) for parameter in parameters])
        gradients = []
        for parameter, holders in zip(parameters, present, strict=True):
            if holders:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            with _noticing_loss():
                distributed.all_reduce(flat, group=self._group(flat))
            for gradient, summed in zip(bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True):
                gradient.copy_(summed.view_as(gradient))

    def copy_from_first(self, tensors: Sequence[torch.Tensor]) -> None:
        """Overwrite tensors by those of the first process.

        Args:
            tensors: of the same shapes in every process, in the same order.

        Raises:
            ProcessLostError: a process has ended.
        """
        if self.count > 1:
            for tensor in tensors:
                copy = tensor.detach().contiguous()
                with _noticing_loss():
                    distributed.broadcast(copy, src=0, group=self._group(copy))
                tensor.detach().copy_(copy)

    def _group(self, tensor: torch.Tensor) -> distributed.ProcessGroup | None:
        return self._control if tensor.device.type == "cpu" else self._device


ALONE = Processes()
"""A process that carries a run out by itself."""


def shared_out(costs: Sequence[int], count: int) -> list[list[int]]:
    """Share pieces of work out, the largest first, each to the process that has least so far.

    Args:
        costs: of the pieces.
        count: of processes.

    Returns:
        Indices of each process's pieces, in their own order.
    """
    shares: list[list[int]] = [[] for _ in range(count)]
    loads = [0] * count
    for index in sorted(range(len(costs)), key=lambda index: (-costs[index], index)):
        process = loads.index(min(loads))
        shares[process].append(index)
        loads[process] += costs[index]
    return [sorted(share) for share in shares]


def launched_rank() -> Rank | None:
    """Return which process this is, as a launcher's environment says; None where it was started alone.

    Raises:
        UserError: the environment contradicts itself.
    """
    values = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if None in values:
        return None
    try:
        number, count = int(values[0] or ""), int(values[1] or "")
        local = int(os.environ.get("LOCAL_RANK", "0"))
    except ValueError:
        number, count, local = -1, 0, 0
    if not 0 <= number < count:
        what = f"RANK={values[0]} and WORLD_SIZE={values[1]} name no process of a run"
        raise UserError(what, where="environment", hint="unset them, or start the run by torchrun")
    return Rank(number, count, local) if count > 1 else None


@contextlib.contextmanager
def joined(device: str, rank: Rank | None, rendezvous: str = LAUNCHER) -> Iterator[Processes]:
    """Connect this process with the others of a run for what is inside.

    Args:
        device: that the run is computed on: ``cpu`` or ``cuda``. The GPU of this process becomes the current one.
        rank: which process this is; None is :data:`ALONE`.
        rendezvous: where processes find each other, as PyTorch writes it: :data:`LAUNCHER`, or a file that all of them reach.

    Raises:
        UserError: the device names one GPU for several processes.
        RunError: the other processes do not come, or cannot be reached.
    """
    if rank is None:
        yield ALONE
        return
    kind, _, index = device.partition(":")
    if index:
        what = f"{device} is one GPU, and the run has {rank.processes} processes"
        raise UserError(what, where="device", hint="use --device cuda")
    if kind == "cuda":
        torch.cuda.set_device(rank.local % torch.cuda.device_count())
    try:
        if not distributed.is_initialized():
            distributed.init_process_group(
                "gloo", init_method=rendezvous, rank=rank.number, world_size=rank.processes, timeout=_JOIN_TIMEOUT
            )
        groups = [distributed.new_group(backend="gloo", timeout=_WAIT_TIMEOUT)]
        if kind == "cuda":
            groups.append(distributed.new_group(backend="nccl"))
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        hint = "start all of them, with one MASTER_ADDR and MASTER_PORT that they can reach"
        raise RunError(f"the {rank.processes} processes of this run do not find each other: {reason}", hint=hint) from None
    try:
        yield Processes(rank.number, rank.processes, groups[0], groups[-1])
    finally:
        # The groups are of this run alone: where it failed here, the others notice. What a launcher has connected stays so for
        # further runs, as a second rendezvous would find what is left of the first.
        for group in groups:
            distributed.destroy_process_group(group)
        if rendezvous != LAUNCHER:
            distributed.destroy_process_group()


def _buckets(gradients: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Yield gradients in their order, neighbours of one type together up to a size."""
    bucket: list[torch.Tensor] = []
    for gradient in gradients:
        if bucket and (gradient.dtype != bucket[0].dtype or sum(map(torch.numel, bucket)) + gradient.numel() > _BUCKET):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


@contextlib.contextmanager
def _noticing_loss() -> Iterator[None]:
    """Raise :class:`ProcessLostError` where an exchange fails: the library has several classes of errors for it."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError from error
