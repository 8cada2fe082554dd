"""Sets of hashed windows of text (shingles), by which texts are compared: n words, or n characters.

Case, punctuation and Unicode form do not count. Hashes are fixed (BLAKE2), never Python's own, so that every run on every machine
gets the same.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from xeric.text import normalize, words

__all__ = ["MIN_DISTINCTIVE", "Hashes", "Unit", "fold", "jaccard", "shingles", "window_hashes"]

Hashes = npt.NDArray[np.uint64]
Unit = Literal["word", "char"]

MIN_DISTINCTIVE = 40
"""Characters of a folded text from which two unrelated texts do not share it by chance."""

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)
_ASCII_WORD = re.compile("[a-z0-9]+")


def fold(text: str) -> list[str]:
    """Return the words of ``text`` without case and in one Unicode form: what counts when texts are compared."""
    # The same result as below, several times as fast.
    return _ASCII_WORD.findall(text.lower()) if text.isascii() else words(normalize(normalize(text).casefold()))


@functools.lru_cache(maxsize=1_000_000)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _mix(values: Hashes) -> Hashes:
    # splitmix64's finaliser: neighbouring numbers come out unrelated.
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@functools.lru_cache(maxsize=32)
def _powers(base: int, count: int) -> Hashes:
    return np.cumprod(np.array([1] + [base] * (count - 1), dtype=np.uint64), dtype=np.uint64)


def window_hashes(tokens: Sequence[str], unit: Unit, n: int) -> Hashes:
    """Return one hash for each window of ``n`` words or characters, in order; none where the text is shorter."""
    if unit == "word":
        values = np.fromiter(map(_hash, tokens), dtype=np.uint64, count=len(tokens))
    else:
        encoded = " ".join(tokens).encode("utf-32-le", "surrogatepass")
        values = _mix(np.frombuffer(encoded, dtype="<u4").astype(np.uint64) + np.uint64(1))
    if len(values) < n:
        return np.empty(0, dtype=np.uint64)
    # sum(v[i + k] * B**k) modulo 2**64 for every i at once: differences of sums, over B**i, which an odd B allows.
    size = 1 << len(values).bit_length()
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(values * _powers(_BASE, size)[: len(values)])])
    return _mix((sums[n:] - sums[:-n]) * _powers(_INVERSE, size)[: len(values) - n + 1])


def shingles(text: str, unit: Unit, n: int) -> Hashes:
    """Return the set of windows of a text as sorted hashes; a text shorter than ``n`` is one window, an empty text none."""
    tokens = fold(text)
    length = len(tokens) if unit == "word" else len(" ".join(tokens))
    return np.unique(window_hashes(tokens, unit, min(n, max(length, 1))))


def jaccard(left: Hashes, right: Hashes, threshold: float = 0.0) -> float:
    """Return the Jaccard similarity of two sets from :func:`shingles`; 0 where sizes alone keep it under ``threshold``."""
    if min(len(left), len(right)) < threshold * max(len(left), len(right)) or not len(left) + len(right):
        return 0.0
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)
