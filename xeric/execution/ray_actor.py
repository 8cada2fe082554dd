"""The side of a worker that runs on a node of a Ray cluster. Light: it answers before the libraries are loaded."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from xeric.errors import XericError
from xeric.execution.software import check_software
from xeric.execution.worker_events import Event, Order, carry_out, refused
from xeric.interruption import Interrupted

if TYPE_CHECKING:
    from xeric.execution.node import Node

__all__ = ["Actor"]

_SEEN_SECONDS = 10.0


class Actor:
    """A worker, or the node of one whose runs are taken by the process that watches.

    Args:
        token: file in the study's folder, by which a node knows whether it sees that folder.
        directory: that relative paths are meant from.
        variables: of the environment.
    """

    def __init__(self, token: str, directory: str, variables: Mapping[str, str]) -> None:
        self._token = token
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._leaving = threading.Event()
        self._node: Node | None = None
        os.environ.update(variables)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        with contextlib.suppress(OSError):  # relative paths are then those of the node
            os.chdir(directory)

    def carry_out(self, order: Order, required: dict[str, str]) -> bool:
        """Be a worker until no run is left; return False at once where this node does not see the study's folder.

        Args:
            order: what to do.
            required: the software of the process that watches; a node with another one ends the study.
        """
        try:
            check_software(required, ray.util.get_node_ip_address())
        except XericError as error:
            self._events.put(refused(error))
            return True
        if not _appears(Path(order.folder) / self._token):
            return False
        with contextlib.suppress(Interrupted):
            carry_out(order, self._send)
        return True

    def node(self, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call a method of this node as one that does not see the study's folder; see :class:`xeric.execution.node.Node`."""
        if self._node is None:
            # Here, after the first answer: the libraries take seconds.
            from xeric.execution.node import Node

            self._node = Node(ray.util.get_node_ip_address(), ray.get)
        return getattr(self._node, method)(*arguments, **named)

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
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # one that does not answer shows nothing
            if path.is_file():
                return True
        time.sleep(0.5)
    return False
