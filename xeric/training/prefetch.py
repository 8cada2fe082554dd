"""Batches made ahead by other processes, for a device that reads faster than one core can write rows.

A step's batches are a function of its number, so the processes need no word from each other and the training sees what it would
have made itself.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from pathlib import Path

from xeric.processes import process_pool
from xeric.training.corpus import CorpusOptions, prepare_corpus
from xeric.training.mixture import Batch, Mixture, MixtureOptions

__all__ = ["Prefetch"]

_AHEAD = 4
_mixture: Mixture | None = None


def _start(options: CorpusOptions, folder: Path, mixture: MixtureOptions, seed: int) -> None:
    global _mixture
    _mixture = Mixture(prepare_corpus(options, folder, None, None), mixture, seed)


def _make(number: int) -> list[Batch]:
    assert _mixture is not None
    return _mixture.step(number)


class Prefetch:
    """Steps in order, from worker processes.

    Args:
        options: of the corpus.
        folder: where the prepared corpus lies.
        mixture: what a step is made of.
        seed: of everything drawn.
        workers: processes.
    """

    def __init__(self, options: CorpusOptions, folder: Path, mixture: MixtureOptions, seed: int, workers: int) -> None:
        self._pool = process_pool(workers, _start, (options, folder, mixture, seed))
        self._depth = workers * _AHEAD
        self._queue: deque[Future[list[Batch]]] = deque()
        self._next = 0

    def step(self, number: int) -> list[Batch]:
        """Return the batches of a step and have the following ones made."""
        if number != self._next - len(self._queue):
            self._queue.clear()
            self._next = number
        while len(self._queue) < self._depth:
            self._queue.append(self._pool.submit(_make, self._next))
            self._next += 1
        return self._queue.popleft().result()

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)
