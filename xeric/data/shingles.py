"""Sets of hashed windows of text (shingles), by which texts are compared: n words, or n characters.

Case, punctuation and Unicode form do not count, nor do compatibility forms (full and half width, ligatures) and what Arabic and
Hebrew may leave out: vowel marks and the tatweel. Hashes are fixed (BLAKE2), never Python's own, so that every run on
every machine gets the same.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from xeric.text import words

__all__ = ["MIN_DISTINCTIVE", "Hashes", "Unit", "comparable", "fold", "jaccard", "shingles", "window_hashes"]

Hashes = npt.NDArray[np.uint64]
Unit = Literal["word", "char"]

MIN_DISTINCTIVE = 40
"""Characters of a folded text from which two unrelated texts do not share it by chance."""

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)
_ASCII_WORD = re.compile("[a-z0-9]+")
_OPTIONAL = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u0652\u0670]+")


def fold(text: str) -> list[str]:
    """Return the words of ``text`` without case and in one form: what counts when texts are compared.

    >>> fold("¿Qué AÑO?"), fold("ﾗｰﾒﾝ") == fold("ラーメン"), fold("كِتَاب")
    (['qué', 'año'], True, ['كتاب'])
    """
    if text.isascii():  # the same result as below, several times as fast
        return _ASCII_WORD.findall(text.lower())
    return words(_OPTIONAL.sub("", _compatible(_compatible(text).casefold())))


def comparable(text: str) -> list[str]:
    """Return the folded words of ``text``; where it has none, of emoji for one, all of its signs as one word.

    >>> comparable("A frog: 🐸"), comparable("🐸 🎉!"), comparable(" ")
    (['a', 'frog'], ['🐸🎉!'], [])
    """
    return fold(text) or (["".join(text.split())] if text.strip() else [])


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


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


def shingles(text: str | Sequence[str], unit: Unit, n: int) -> Hashes:
    """Return the set of windows of a text, or of its words, as sorted hashes.

    A text shorter than ``n`` is one window, an empty text none.
    """
    tokens = fold(text) if isinstance(text, str) else text
    length = len(tokens) if unit == "word" else len(" ".join(tokens))
    return np.unique(window_hashes(tokens, unit, min(n, max(length, 1))))


def jaccard(left: Hashes, right: Hashes, threshold: float = 0.0) -> float:
    """Return the Jaccard similarity of two sets from :func:`shingles`; 0 where sizes alone keep it under ``threshold``."""
    if min(len(left), len(right)) < threshold * max(len(left), len(right)) or not len(left) + len(right):
        return 0.0
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)
