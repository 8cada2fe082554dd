"""Text that stands in two places: near-duplicates, and leaks between a test set and anything trained on.

Both compare hashed windows of text: n words, or n characters where words are too few or not written apart. Case, punctuation and
Unicode form do not count. Hashes are fixed (BLAKE2), never Python's own, so that every run on every machine finds the same.

* **Near-duplicates** (Broder 1997): Jaccard similarity of the window sets. MinHash and locality-sensitive hashing propose pairs,
  the exact similarity decides: a pair can be missed (one in 7,000 at similarity 0.7), but none is invented.
* **Leaks** (Brown et al. 2020, appendix C): a test *output* that shares a 13-word sequence with a text that is trained on, its
  input or its output. Outputs under 13 words, and scripts without spaces, go by sequences of 40 characters of the folded text.
  Shorter outputs ("Paris", "yes") are in every text and prove nothing alone: there the test *input* must be in the training input
  too, half of its windows or all of its words, and the output be the same; or the training text, input and output together, holds
  half of the test input and, oftener than the test input itself, the output: a mail to be completed gives away the subject line
  that another task asks for. One word counts there only as a line or field of its own, or in plain text. A shared input alone is
  no leak: many questions are asked of one passage, and the answer stays unknown.
* **Boilerplate** (footers, formulas of politeness, templates) must not remove the world. Windows of more than 1% of a task's test
  outputs (at least 5) are set aside, and windows of more than 10 training texts unless half of the test output is in that one
  text. Definitions are not compared: they are meant to be shared.

Leaks are removed from training, never from the test set.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xeric.data.tasks import Example, Instance
from xeric.text import dominant_script, normalize, words

__all__ = ["Hit", "Leak", "LeakIndex", "LeakReport", "find_leaks", "fold", "jaccard", "near_pairs", "same_texts", "shingles"]

Hashes = npt.NDArray[np.uint64]
Unit = Literal["word", "char"]

TELLING = 40
"""Characters of a folded text from which two unrelated texts do not share it by chance."""

_PERMUTATIONS, _BANDS, _ROWS = 128, 32, 4
_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)
_FIELD_END = re.compile(r"[\n:：]")
_ASCII_WORD = re.compile("[a-z0-9]+")
_UNSPACED = {"Thai", "Lao", "Khmer", "Myanmar", "Han", "Hiragana", "Katakana"}


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


def _windows(tokens: Sequence[str], unit: Unit, n: int) -> Hashes:
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
    return np.unique(_windows(tokens, unit, min(n, max(length, 1))))


def jaccard(left: Hashes, right: Hashes, threshold: float = 0.0) -> float:
    """Return the Jaccard similarity of two sets from :func:`shingles`; 0 where sizes alone keep it under ``threshold``."""
    if min(len(left), len(right)) < threshold * max(len(left), len(right)) or not len(left) + len(right):
        return 0.0
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)


def near_pairs(sets: Sequence[Hashes], threshold: float) -> Iterator[tuple[int, int, float]]:
    """Yield the pairs of window sets whose Jaccard similarity is at least ``threshold``, as (i, j, similarity) with i < j.

    Proposed by MinHash and locality-sensitive hashing (Broder 1997; Leskovec et al. 2014, chapter 3), decided exactly.

    Args:
        sets: as from :func:`shingles`; empty sets are like nothing.
        threshold: at least 0.5; below it the hashing would miss too many.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=_PERMUTATIONS, params=(_BANDS, _ROWS))
    blank = MinHash(num_perm=_PERMUTATIONS, seed=1, hashfunc=int)
    signatures = np.zeros((len(sets), _PERMUTATIONS), dtype=np.uint64)
    # Four standard errors of an estimate from so many permutations: what is below is not worth the exact computation.
    floor = threshold - 4 * math.sqrt(threshold * (1 - threshold) / _PERMUTATIONS)
    for j, values in enumerate(sets):
        if not len(values):
            continue
        sketch = blank.copy()
        sketch.update_batch((values & np.uint64(0xFFFFFFFF)).tolist())
        signatures[j] = sketch.hashvalues
        candidates = np.array(sorted(index.query(sketch)), dtype=np.int64)
        index.insert(j, sketch, check_duplication=False)
        likely = candidates[(signatures[candidates] == signatures[j]).mean(axis=1) >= floor]
        for i in likely.tolist():
            similarity = jaccard(sets[i], values, threshold)
            if similarity >= threshold:
                yield i, j, similarity


def same_texts(texts: Sequence[Iterable[str]]) -> Iterator[tuple[int, int]]:
    """Yield (i, j) where the texts at i and at j have a long one in common, unless so many have it that it is a formula."""
    holders: dict[str, list[int]] = {}
    for position, several in enumerate(texts):
        for text in {" ".join(fold(text)) for text in several}:
            if len(text) >= TELLING:
                holders.setdefault(text, []).append(position)
    for same in holders.values():
        if len(same) <= max(5, len(texts) // 100):
            yield from ((same[0], other) for other in same[1:])


@dataclass(frozen=True)
class Hit:
    """What a text shares with test text ``key``: windows, their share of the test text's windows, and the first, readable."""

    key: str
    windows: frozenset[int]
    share: float
    shared: str


class LeakIndex:
    """An index of test texts that texts of any length and number are checked against, training documents for one.

    Args:
        texts: test texts by key. Those too short to prove anything are in :attr:`short` and never hit.
        n_words: windows of words, for texts that have as many.
        n_chars: windows of characters of the folded text, for shorter texts and scripts without spaces.
        common: windows of more test texts than this are boilerplate, only counted; 1% of the texts, at least 4, where None.
    """

    def __init__(self, texts: Mapping[str, str], *, n_words: int = 13, n_chars: int = TELLING, common: int | None = None) -> None:
        self._sizes: dict[Unit, int] = {"word": n_words, "char": n_chars}
        self._postings: dict[Unit, dict[int, list[str]]] = {"word": {}, "char": {}}
        self._totals: dict[str, int] = {}
        self.short: set[str] = set()
        for key, text in texts.items():
            tokens = fold(text)
            unit: Unit = "word" if len(tokens) >= n_words and dominant_script(text[:1000]) not in _UNSPACED else "char"
            windows = set(_windows(tokens, unit, self._sizes[unit]).tolist())
            for window in windows:
                self._postings[unit].setdefault(window, []).append(key)
            self._totals[key] = len(windows)
            if not windows:
                self.short.add(key)
        limit = max(4, len(texts) // 100) if common is None else common
        frequent = [(unit, w) for unit, postings in self._postings.items() for w, keys in postings.items() if len(keys) > limit]
        for unit, window in frequent:
            del self._postings[unit][window]
        self.boilerplate = len(frequent)
        self._known = {unit: np.array(sorted(postings), dtype=np.uint64) for unit, postings in self._postings.items()}

    def hits(self, *texts: str) -> list[Hit]:
        """Return what the parts of one text (an input and its outputs, say) share with each test text, largest share first."""
        windows: dict[str, set[int]] = {}
        shown: dict[str, str] = {}
        for text in texts if any(map(len, self._known.values())) else ():
            tokens = fold(text)
            for unit, known in self._known.items():
                n = self._sizes[unit]
                stream = _windows(tokens, unit, n) if len(known) else known
                places = np.searchsorted(known, stream)
                for position in (
                    np.flatnonzero(known[np.minimum(places, len(known) - 1)] == stream).tolist() if len(known) else ()
                ):
                    window = int(stream[position])
                    for key in self._postings[unit][window]:
                        windows.setdefault(key, set()).add(window)
                        if key not in shown:
                            shown[key] = " ".join(tokens[position:][:n]) if unit == "word" else " ".join(tokens)[position:][:n]
        found = [Hit(key, frozenset(w), len(w) / self._totals[key], shown[key]) for key, w in windows.items()]
        return sorted(found, key=lambda hit: (-hit.share, hit.key))


@dataclass(frozen=True)
class Leak:
    """One test output that one text trained on gives away.

    Attributes:
        test_task: task of the test instance ``test_id``.
        training_task: task of the training instance ``training_id``; where that is None, of positive example ``demonstration``.
        kind: ``text`` (a shared sequence) or ``pair`` (a short output, with its input).
        share: the share of the test output's sequences that are in that text, 0-1.
        shared: the first sequence shared, folded; for a pair the output.
    """

    test_task: str
    test_id: str
    training_task: str
    training_id: str | None
    demonstration: int | None
    kind: Literal["text", "pair"]
    share: float
    shared: str


@dataclass(frozen=True)
class LeakReport:
    """What :func:`find_leaks` found; ``boilerplate`` counts the sequences set aside as common to many texts."""

    leaks: tuple[Leak, ...]
    test_instances: int
    training_texts: int
    boilerplate: int

    def instances(self, task: str) -> frozenset[str]:
        """Return the ids of the training instances of ``task`` that must go."""
        return frozenset(leak.training_id for leak in self.leaks if leak.training_task == task and leak.training_id is not None)

    def demonstrations(self, task: str) -> frozenset[int]:
        """Return the positions of the positive examples of ``task`` that must not be shown."""
        return frozenset(
            leak.demonstration for leak in self.leaks if leak.training_task == task and leak.demonstration is not None
        )

    def summary(self, examples: int = 3) -> dict[str, Any]:
        """Return plain values for a record: counts for each pair of tasks, with the first few leaks of each."""
        between: dict[tuple[str, str], list[Leak]] = {}
        for leak in self.leaks:
            between.setdefault((leak.test_task, leak.training_task), []).append(leak)
        rows = [
            {
                "test_task": test,
                "training_task": training,
                "test_instances": len({leak.test_id for leak in leaks}),
                "training_texts": len({(leak.training_id, leak.demonstration) for leak in leaks}),
                "examples": [{"test_id": x.test_id, "training_id": x.training_id, "shared": x.shared} for x in leaks[:examples]],
            }
            for (test, training), leaks in sorted(between.items())
        ]
        counts = {"test_instances": self.test_instances, "training_texts": self.training_texts, "boilerplate": self.boilerplate}
        return {**counts, "leaks": len(self.leaks), "between": rows}


_Text = tuple[str, str | None, int | None, str, tuple[str, ...]]


def find_leaks(
    test: Mapping[str, Iterable[Instance]],
    training: Mapping[str, Iterable[Instance]],
    demonstrations: Mapping[str, Iterable[Example]] | None = None,
    *,
    n_words: int = 13,
    n_chars: int = TELLING,
) -> LeakReport:
    """Find the test outputs that anything trained on gives away; see the module's text for what counts.

    Args:
        test: test instances by task.
        training: training instances by task, of source and target tasks alike; one without outputs is plain text.
        demonstrations: positive examples by task, as far as prompts show them.
        n_words: length of a telling sequence of words.
        n_chars: length of a telling sequence of characters, for short outputs and scripts without spaces.
    """
    wanted = [
        (task, instance, output) for task, instances in test.items() for instance in instances for output in instance.outputs
    ]
    texts: list[_Text] = [(t, i.id, None, i.input, i.outputs) for t, instances in training.items() for i in instances]
    for task, shown in (demonstrations or {}).items():
        texts.extend((task, None, position, e.input, (e.output,)) for position, e in enumerate(shown))
    common = max(4, len(wanted) // (100 * max(1, len(test))))
    index = LeakIndex({str(k): w[2] for k, w in enumerate(wanted)}, n_words=n_words, n_chars=n_chars, common=common)
    hits = [(int(hit.key), text, hit) for text in texts for hit in index.hits(text[3], *text[4])]
    spread = Counter(window for _, _, hit in hits for window in hit.windows)
    leaks = [
        Leak(wanted[k][0], wanted[k][1].id, *text[:3], "text", hit.share, hit.shared)
        for k, text, hit in hits
        if hit.share >= 0.5 or any(spread[window] <= 10 for window in hit.windows)
    ]
    short = [wanted[int(key)] for key in index.short]
    leaks.extend(_pairs(short, texts, n_words, n_chars, common))
    leaks.sort(key=lambda x: (x.test_task, x.test_id, x.training_task, x.training_id or "", x.demonstration or 0, x.kind))
    boilerplate = index.boilerplate + sum(count > 10 for count in spread.values())
    return LeakReport(tuple(leaks), len({(t, i.id) for t, i, _ in wanted}), len(texts), boilerplate)


def _pairs(
    short: Sequence[tuple[str, Instance, str]], texts: Sequence[_Text], n_words: int, n_chars: int, common: int
) -> Iterator[Leak]:
    """Yield the leaks of outputs too short to tell: beside the same input, or one that holds half of it."""
    answers: dict[tuple[str, ...], list[int]] = {}
    for k, (_, _, output) in enumerate(short):
        answers.setdefault(tuple(fold(output)), []).append(k)
    answers.pop((), None)
    asked = [fold(instance.input) for _, instance, _ in short]
    index = LeakIndex({str(k): w[1].input for k, w in enumerate(short)}, n_words=n_words, n_chars=n_chars, common=common)
    for text in texts if short else ():
        same = {k for output in text[4] for k in answers.get(tuple(fold(output)), ())}
        shares = {int(hit.key): hit.share for hit in index.hits(text[3], *text[4])}
        given = fold(text[3]) if same else []
        for k in sorted(same | shares.keys()):
            share = 1.0 if k in same and asked[k] == given else shares.get(k, 0.0)
            if share >= 0.5 and (k in same or _tells(text, asked[k], fold(short[k][2]))):
                yield Leak(short[k][0], short[k][1].id, *text[:3], "pair", share, short[k][2])


def _tells(text: _Text, question: Sequence[str], answer: Sequence[str]) -> bool:
    """Say whether an answer stands in a text oftener than in the question that the text holds too."""
    parts = [text[3], *text[4]]
    if len(answer) == 1 and text[4]:
        return any(fold(field) == list(answer) for part in parts for field in _FIELD_END.split(part))
    return bool(answer) and sum(_count(fold(part), answer) for part in parts) > _count(question, answer)


def _count(text: Sequence[str], part: Sequence[str]) -> int:
    return sum(text[i : i + len(part)] == part for i in range(len(text) - len(part) + 1))
