"""Workers as actors of a Ray cluster (Ray Core alone). With its actor, the one module that imports Ray.

An actor waits until the cluster has room for it, so a study spreads as nodes come; where a node goes, its actors die, and others
are started in their place. An actor whose node sees the study's folder works there as any other process does; for one whose node
does not, this process takes the runs, and what they leave crosses through Ray's object store.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from xeric.errors import UserError
from xeric.execution.jobs import Jobs
from xeric.execution.open_study import OpenStudy
from xeric.execution.ray_actor import Actor
from xeric.execution.remote_computer import NodeLostError
from xeric.execution.remote_worker import RemoteWorker
from xeric.execution.software import cluster_mismatch, software
from xeric.execution.worker_events import Event, Order
from xeric.files import write_atomically

__all__ = ["RayWorker", "cluster", "gpus_in_cluster", "share", "token_in"]

_VARIABLES = ("OMP_NUM_THREADS", "XERIC_HOME", "XERIC_TASKS", "HF_HUB_OFFLINE", "HF_HOME")
_LEAVE_SECONDS = 20.0
_KNOCK_SECONDS = 10.0


@contextlib.contextmanager
def cluster(address: str) -> Iterator[None]:
    """Connect to a Ray cluster for what is inside, unless this process is connected already.

    Args:
        address: ``auto`` for the cluster of this machine, or ``HOST:PORT`` of its head.

    Raises:
        UserError: there is none, or it has another Ray or Python.
    """
    if ray.is_initialized():
        yield
        return
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    except Exception as error:
        if (mismatch := cluster_mismatch(error, f"--ray {address}")) is not None:
            raise mismatch from error
        hint = "start one with `ray start --head`, and see its address with `ray status`"
        raise UserError("there is no Ray cluster that answers", where=f"--ray {address}", hint=hint) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Check that something listens at ``HOST:PORT``: Ray itself tries for minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


def gpus_in_cluster() -> float:
    """Return how many GPUs the nodes of the cluster have now."""
    return float(ray.cluster_resources().get("GPU", 0.0))


@contextlib.contextmanager
def token_in(folder: Path) -> Iterator[str]:
    """Write a file into the folder of a study as long as the context lasts, by which a node knows whether it sees that folder.

    Args:
        folder: of the study.

    Yields:
        The file's path in the folder.
    """
    token = f"locks/.seen-{secrets.token_hex(8)}"
    (folder / "locks").mkdir(exist_ok=True)
    write_atomically(folder / token, "")
    try:
        yield token
    finally:
        with contextlib.suppress(OSError):  # a network file system that does not answer
            (folder / token).unlink(missing_ok=True)


def share(value: Any) -> Any:
    """Put a value into the object store, once for all nodes, and return a reference to it."""
    return ray.put(value)


class RayWorker:
    """A worker that runs as an actor; see :class:`xeric.execution.watching.Worker`.

    Args:
        order: what it is to do.
        token: of :func:`token_in`.
        gpus: how many it takes.
        opened: the study.
        jobs: of the study, for a node that does not see its folder.
    """

    def __init__(self, order: Order, token: str, gpus: float, opened: OpenStudy, jobs: Jobs) -> None:
        self.number = order.number
        self._order, self._opened, self._jobs = order, opened, jobs
        self._remote: RemoteWorker | None = None
        variables = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        # Two threads: one works, one answers.
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": gpus, "max_concurrency": 2, "max_restarts": 0}
        self._actor: Any = ray.remote(Actor).options(**options).remote(token, str(Path.cwd()), variables)
        self._work = self._actor.carry_out.remote(order, software())
        self._asked = self._actor.events.remote()
        self._told: list[Event] = []
        self._started = False

    def events(self) -> list[Event]:
        """Return what it has told since the last call."""
        if self._remote is not None:
            return self._remote.events()
        self._collect()
        told, self._told = self._told, []
        return told

    def ended(self) -> str | None:
        """Return how it died, empty where it left by itself; None while it works or waits for room in the cluster."""
        if self._remote is not None:
            return self._remote.ended()
        if not ray.wait([self._work], timeout=0)[0]:
            return None
        try:
            sees_folder = _result(self._work)
        except NodeLostError as error:
            return str(error)
        if not sees_folder:
            self._remote = RemoteWorker(self._order, self._opened, self._jobs, _Link(self._actor))
            return None
        # Twice: the question under way may have been answered before the last events.
        for _ in range(2):
            self._collect(_LEAVE_SECONDS)
        return ""

    def leave(self) -> None:
        """Ask it to leave."""
        if self._remote is not None:
            self._remote.leave()
        elif self._started:
            self._actor.leave.remote()

    def stop(self) -> None:
        """End it, and wait until it has gone; one that still waits for room in the cluster is gone at once."""
        if self._remote is not None:
            self._remote.stop()
        elif self._started:
            with contextlib.suppress(RayError):
                ray.get(self._work, timeout=_LEAVE_SECONDS)
        ray.kill(self._actor)

    def _collect(self, timeout: float = 0.0) -> None:
        """Take the answer to the question under way, if it is there in time, and ask again."""
        if ray.wait([self._asked], timeout=timeout)[0]:
            with contextlib.suppress(RayError):
                self._told += ray.get(self._asked)
                self._started = True
                self._asked = self._actor.events.remote()


class _Link:
    """Calls methods of the node of an actor; see :class:`xeric.execution.remote_computer.NodeLink`."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def begin(self, method: str, *arguments: Any, **named: Any) -> Any:
        return self._actor.node.remote(method, arguments, named)

    def wait(self, call: Any, seconds: float) -> bool:
        return bool(ray.wait([call], timeout=seconds)[0])

    def result(self, call: Any) -> Any:
        return _result(call)


def _result(call: Any) -> Any:
    """Return the result of a call.

    Raises:
        NodeLostError: the actor or its node has died, or the call ended with an error that is not foreseen.
    """
    try:
        return ray.get(call)
    except RayActorError:
        raise NodeLostError("died with its process or its node") from None
    except RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise NodeLostError(f"ended with {lines[-1][:300]}") from None
