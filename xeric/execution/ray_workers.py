"""Workers as actors of a Ray cluster (Ray Core alone), on a folder that all its nodes see. The one module that imports Ray.

An actor waits until the cluster has room for it, so a study spreads as nodes come; where a node goes, its actors die, and others
are started in their place.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from xeric.errors import UserError
from xeric.execution.worker_events import Event, Order, carry_out
from xeric.files import write_atomically
from xeric.interruption import Interrupted

__all__ = ["RayWorker", "cluster", "gpus_in_cluster", "token_in"]

_VARIABLES = ("OMP_NUM_THREADS", "XERIC_HOME", "XERIC_TASKS", "HF_HUB_OFFLINE", "HF_HOME")
_LEAVE_SECONDS = 20.0
_SEEN_SECONDS = 10.0
_KNOCK_SECONDS = 10.0


@contextlib.contextmanager
def cluster(address: str) -> Iterator[None]:
    """Connect to a Ray cluster for what is inside, unless this process is connected already.

    Args:
        address: ``auto`` for the cluster of this machine, or ``HOST:PORT`` of its head.

    Raises:
        UserError: there is none.
    """
    if ray.is_initialized():
        yield
        return
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    except Exception as error:
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
        (folder / token).unlink(missing_ok=True)


class _Actor:
    """The side of a worker that runs on a node of the cluster."""

    def __init__(self, token: str, directory: str, variables: Mapping[str, str]) -> None:
        self._token = token
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._leaving = threading.Event()
        os.environ.update(variables)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        with contextlib.suppress(OSError):  # relative paths are then those of the node
            os.chdir(directory)

    def carry_out(self, order: Order) -> None:
        """Be a worker until no run is left."""
        if not _appears(Path(order.folder) / self._token):
            message = f"the node {ray.util.get_node_ip_address()} does not see this folder"
            hint = "put the study on a file system that all nodes of the cluster share"
            self._events.put(["refused", "UserError", message, order.folder, hint])
            return
        with contextlib.suppress(Interrupted):
            carry_out(order, self._send)

    def events(self) -> list[Event]:
        """Return what happened since the last call."""
        return [self._events.get() for _ in range(self._events.qsize())]

    def leave(self) -> None:
        """Let the worker leave its run as an interrupted process does."""
        self._leaving.set()

    def _send(self, event: Event) -> None:
        if self._leaving.is_set():
            raise Interrupted(signal.SIGTERM)
        self._events.put(event)


def _appears(path: Path) -> bool:
    """Return whether a file is there; network file systems show new files of other machines after some seconds."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while not path.is_file():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


class RayWorker:
    """A worker that runs as an actor; see :class:`xeric.execution.watching.Worker`.

    Args:
        order: what it is to do.
        token: of :func:`token_in`.
        gpus: how many it takes.
    """

    def __init__(self, order: Order, token: str, gpus: float) -> None:
        self.number = order.number
        variables = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        # Two threads: one works, one answers.
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": gpus, "max_concurrency": 2, "max_restarts": 0}
        self._actor: Any = ray.remote(_Actor).options(**options).remote(token, str(Path.cwd()), variables)
        self._work = self._actor.carry_out.remote(order)
        self._asked = self._actor.events.remote()
        self._told: list[Event] = []
        self._started = False

    def events(self) -> list[Event]:
        """Return what it has told since the last call."""
        self._collect()
        told, self._told = self._told, []
        return told

    def ended(self) -> str | None:
        """Return how it died, empty where it left by itself; None while it works or waits for room in the cluster."""
        if not ray.wait([self._work], timeout=0)[0]:
            return None
        try:
            ray.get(self._work)
        except RayActorError:
            return "died with its process or its node"
        except RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return f"ended with {lines[-1][:300]}"
        # Twice: the question under way may have been answered before the last events.
        for _ in range(2):
            self._collect(_LEAVE_SECONDS)
        return ""

    def leave(self) -> None:
        """Ask it to leave."""
        if self._started:
            self._actor.leave.remote()

    def stop(self) -> None:
        """End it, and wait until it has gone; one that still waits for room in the cluster is gone at once."""
        if self._started:
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
