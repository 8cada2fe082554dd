"""Which n-grams of predictions stand in their references, counted for many rows at once over arrays.

An n-gram has a number of its own: the numbers of the n-gram one token shorter and of the token behind it are paired, and the
pairs are numbered anew. Nothing is hashed, so nothing can be mistaken for anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from xeric.statistics.arrays import IntArray

__all__ = ["code_points", "matched_ngrams", "ngram_totals", "numbered"]

_TOKENS_AT_ONCE = 1 << 15
"""Few enough that what is sorted stays near the processor."""


def code_points(text: str) -> IntArray:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64)


def numbered(rows: Sequence[Sequence[Sequence[str]]]) -> list[list[IntArray]]:
    """Return the words of each row's sequences as numbers, the same for the same word in all of them."""
    numbers: dict[str, int] = {}

    def of(words: Sequence[str]) -> IntArray:
        return np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.int64)

    return [[of(words) for words in row] for row in rows]


def ngram_totals(lengths: IntArray, highest: int) -> IntArray:
    """Return how many n-grams sequences of some lengths have, ``[...]`` -> ``[..., highest]``."""
    return np.asarray(np.maximum(lengths[..., None] - np.arange(highest), 0))


def matched_ngrams(rows: Sequence[Sequence[IntArray]], highest: int, *, pooled: bool = False) -> IntArray:
    """Return how many n-grams of predictions stand in references, none more often than it does there.

    Args:
        rows: of each row the tokens of its prediction, then those of each of its references.
        highest: tokens of the longest n-gram; shorter ones are counted, too.
        pooled: match against all references at once, each n-gram as often as the reference that has most of it (BLEU), and not
            against each reference by itself.

    Returns:
        ``[n_rows, most references of a row, highest]``, 0 where a row has fewer; of ``pooled``, ``[n_rows, 1, highest]``.
    """
    references = 1 if pooled else max(map(len, rows)) - 1
    matched = np.zeros((len(rows), references, highest), dtype=np.int64)
    for first, last in _parts(rows):
        _match(rows[first:last], matched[first:last], pooled=pooled)
    return matched


def _parts(rows: Sequence[Sequence[IntArray]]) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that are counted together."""
    first, tokens = 0, 0
    for number, row in enumerate(rows):
        tokens += sum(map(len, row))
        if tokens >= _TOKENS_AT_ONCE:
            yield first, number + 1
            first, tokens = number + 1, 0
    if first < len(rows):
        yield first, len(rows)


def _match(rows: Sequence[Sequence[IntArray]], matched: IntArray, *, pooled: bool) -> None:
    """Write the matches of some rows into their part of the result."""
    sequences = [(row, place, tokens) for row, several in enumerate(rows) for place, tokens in enumerate(several)]
    lengths = np.array([len(tokens) for _, _, tokens in sequences])
    tokens = np.concatenate([tokens for _, _, tokens in sequences])
    if not tokens.size:
        return
    row, place = (np.repeat([sequence[part] for sequence in sequences], lengths) for part in (0, 1))
    left = np.repeat(lengths.cumsum(), lengths) - np.arange(tokens.size)  # tokens to the end of the sequence, this one included
    places = max(map(len, rows))
    single = _numbers(row * (tokens.max() + 1) + tokens)
    size = single.max() + 1
    ngrams, starts = single, np.arange(tokens.size)
    for order in range(matched.shape[-1]):
        if order:
            reaching = left[starts] > order
            starts = starts[reaching]
            if not starts.size:
                return
            ngrams = _numbers(ngrams[reaching] * size + single[starts + order])
        count = ngrams.max() + 1
        counts = np.bincount(ngrams * places + place[starts], minlength=count * places).reshape(count, places)
        owner = np.empty(count, dtype=np.int64)
        owner[ngrams] = row[starts]
        in_references = counts[:, 1:].max(axis=1, keepdims=True) if pooled else counts[:, 1:]
        for reference, shared in enumerate(np.minimum(counts[:, :1], in_references).T):
            matched[:, reference, order] = np.bincount(owner, weights=shared, minlength=len(rows))


def _numbers(keys: IntArray) -> IntArray:
    """Return numbers from 0 on in the place of keys, the same for the same key."""
    order = np.argsort(keys)
    inorder = keys[order]
    numbers = np.empty_like(keys)
    numbers[order] = np.concatenate([[0], (inorder[1:] != inorder[:-1]).cumsum()])
    return numbers
