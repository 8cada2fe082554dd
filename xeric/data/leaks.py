"""Leaks: text that stands both in a test set and in anything trained on.

Texts are compared by hashed windows (:mod:`xeric.data.shingles`): n words, or n characters where words are too few or not written
apart.

* **Leak** (Brown et al. 2020, appendix C): a test *output* that shares a 13-word sequence with a text that is trained on, its
  input or its output. Outputs under 13 words, and scripts without spaces, go by sequences of 40 characters of the folded text.
  Shorter outputs ("Paris", "yes") are in every text and prove nothing alone: there the test *input* must be in the training input
  too, half of its windows or all of its words, and the output be the same; or the training text, input and output together, holds
  half of the test input and, more often than the test input itself, the output: a mail to be completed gives away the subject
  line that another task asks for. One word counts there only as a line or field of its own, or in plain text. A shared input
  alone is no leak: many questions are asked of one passage, and the answer stays unknown.
* A **picture** of a test instance that a training instance has too is a leak, whatever is asked of it. The short output of an
  instance with a picture is not compared: its input is the picture, and "flag" under another picture proves nothing.
* **Boilerplate** (footers, formulas of politeness, templates) is no leak. Windows in more than 1% of a task's test instances (at
  least 5, however many references they have) are set aside, and windows of more than 10 training texts unless half of the test
  output is in that one text. Definitions are not compared: they are meant to be shared.

Leaks are removed from training, never from the test set.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xeric.data.shingles import MIN_DISTINCTIVE, Unit, comparable, fold, window_hashes
from xeric.data.tasks import Example, Instance
from xeric.text import dominant_script

__all__ = ["Hit", "Leak", "LeakIndex", "LeakReport", "find_leaks"]

_FIELD_END = re.compile(r"[\n:：]")
_UNSPACED = {"Thai", "Lao", "Khmer", "Myanmar", "Han", "Hiragana", "Katakana"}


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
        owners: what texts belong to, by key, where several belong to one: references to their instance. Itself where None.
        n_words: windows of words, for texts that have as many.
        n_chars: windows of characters of the folded text, for shorter texts and scripts without spaces.
        common: windows of more owners than this are boilerplate, only counted; 1% of the owners, at least 4, where None.
    """

    def __init__(
        self,
        texts: Mapping[str, str],
        *,
        owners: Mapping[str, Hashable] | None = None,
        n_words: int = 13,
        n_chars: int = MIN_DISTINCTIVE,
        common: int | None = None,
    ) -> None:
        self._sizes: dict[Unit, int] = {"word": n_words, "char": n_chars}
        self._postings: dict[Unit, dict[int, list[str]]] = {"word": {}, "char": {}}
        self._totals: dict[str, int] = {}
        self.short: set[str] = set()
        for key, text in texts.items():
            tokens = fold(text)
            unit: Unit = "word" if len(tokens) >= n_words and dominant_script(text[:1000]) not in _UNSPACED else "char"
            windows = set(window_hashes(tokens, unit, self._sizes[unit]).tolist())
            for window in windows:
                self._postings[unit].setdefault(window, []).append(key)
            self._totals[key] = len(windows)
            if not windows:
                self.short.add(key)
        owner = owners or {key: key for key in texts}
        limit = max(4, len(set(owner.values())) // 100) if common is None else common
        frequent = [
            (unit, window)
            for unit, postings in self._postings.items()
            for window, keys in postings.items()
            if len(keys) > limit and len({owner[key] for key in keys}) > limit
        ]
        for unit, window in frequent:
            del self._postings[unit][window]
        self.boilerplate = len(frequent)
        self._windows = {unit: np.array(sorted(postings), dtype=np.uint64) for unit, postings in self._postings.items()}

    def hits(self, *texts: str) -> list[Hit]:
        """Return what the parts of one text (an input and its outputs, say) share with each test text, largest share first."""
        windows: dict[str, set[int]] = {}
        shown: dict[str, str] = {}
        indexed = {unit: hashes for unit, hashes in self._windows.items() if len(hashes)}
        for text in texts if indexed else ():
            tokens = fold(text)
            for unit, hashes in indexed.items():
                n = self._sizes[unit]
                stream = window_hashes(tokens, unit, n)
                nearest = np.minimum(np.searchsorted(hashes, stream), len(hashes) - 1)
                for position in np.flatnonzero(hashes[nearest] == stream).tolist():
                    window = int(stream[position])
                    for key in self._postings[unit][window]:
                        windows.setdefault(key, set()).add(window)
                        if key not in shown:
                            shown[key] = " ".join(tokens[position:][:n]) if unit == "word" else " ".join(tokens)[position:][:n]
        hits = (Hit(key, frozenset(w), len(w) / self._totals[key], shown[key]) for key, w in windows.items())
        return sorted(hits, key=lambda hit: (-hit.share, hit.key))


@dataclass(frozen=True)
class Leak:
    """One test output that one text trained on gives away.

    Attributes:
        test_task: task of the test instance ``test_id``.
        training_task: task of the training instance ``training_id``; where that is None, of positive example ``demonstration``.
        kind: ``text`` (a shared sequence), ``pair`` (a short output, with its input) or ``picture``.
        share: the share of the test output's sequences that are in that text, 0-1.
        shared: the first sequence shared, folded; for a pair the output, for a picture the name of its file.
    """

    test_task: str
    test_id: str
    training_task: str
    training_id: str | None
    demonstration: int | None
    kind: Literal["text", "pair", "picture"]
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
    n_chars: int = MIN_DISTINCTIVE,
) -> LeakReport:
    """Find the test outputs that anything trained on gives away; see the module's text for what counts.

    Args:
        test: test instances by task.
        training: training instances by task, of source and target tasks alike; one without outputs is plain text.
        demonstrations: positive examples by task, as far as prompts show them.
        n_words: length of a shared sequence of words that counts.
        n_chars: length of a shared sequence of characters that counts, for short outputs and scripts without spaces.
    """
    outputs = [
        (task, instance, output) for task, instances in test.items() for instance in instances for output in instance.outputs
    ]
    texts: list[_Text] = [(t, i.id, None, i.input, i.outputs) for t, instances in training.items() for i in instances]
    for task, shown in (demonstrations or {}).items():
        texts.extend((task, None, position, e.input, (e.output,)) for position, e in enumerate(shown))
    owners = {str(k): (task, instance.id) for k, (task, instance, _) in enumerate(outputs)}
    tested = len(set(owners.values()))
    common = max(4, tested // (100 * max(1, len(test))))
    references = {str(k): output for k, (_, _, output) in enumerate(outputs)}
    index = LeakIndex(references, owners=owners, n_words=n_words, n_chars=n_chars, common=common)
    hits: list[tuple[int, _Text, Hit]] = []
    spread: Counter[int] = Counter()
    for text in texts:
        of_text = index.hits(text[3], *text[4])
        hits.extend((int(hit.key), text, hit) for hit in of_text)
        spread.update({window for hit in of_text for window in hit.windows})
    leaks = [
        Leak(outputs[k][0], outputs[k][1].id, *text[:3], "text", hit.share, hit.shared)
        for k, text, hit in hits
        if hit.share >= 0.5 or any(spread[window] <= 10 for window in hit.windows)
    ]
    short = [outputs[int(key)] for key in index.short if outputs[int(key)][1].picture is None]
    leaks.extend(_short_output_leaks(short, texts, n_words, n_chars, common))
    leaks.extend(_picture_leaks(test, training))
    leaks.sort(key=lambda x: (x.test_task, x.test_id, x.training_task, x.training_id or "", x.demonstration or 0, x.kind))
    boilerplate = index.boilerplate + sum(count > 10 for count in spread.values())
    return LeakReport(tuple(leaks), tested, len(texts), boilerplate)


def _picture_leaks(test: Mapping[str, Iterable[Instance]], training: Mapping[str, Iterable[Instance]]) -> Iterator[Leak]:
    """Yield the training instances that have a test instance's picture."""
    tested = {i.picture.sha256: (task, i.id) for task, instances in test.items() for i in instances if i.picture}
    for task, instances in training.items():
        for i in instances:
            if i.picture and i.picture.sha256 in tested:
                name = i.picture.path.name if i.picture.path else ""
                yield Leak(*tested[i.picture.sha256], task, i.id, None, "picture", 1.0, name)


def _short_output_leaks(
    short: Sequence[tuple[str, Instance, str]], texts: Sequence[_Text], n_words: int, n_chars: int, common: int
) -> Iterator[Leak]:
    """Yield the leaks of outputs too short to tell: beside the same input, or one that holds half of it."""
    answers: dict[tuple[str, ...], list[int]] = {}
    for k, (_, _, output) in enumerate(short):
        answers.setdefault(tuple(comparable(output)), []).append(k)
    answers.pop((), None)
    questions = [comparable(instance.input) for _, instance, _ in short]
    # One question for all references of an instance.
    asked: dict[tuple[str, str], list[int]] = {}
    for k, (task, instance, _) in enumerate(short):
        asked.setdefault((task, instance.id), []).append(k)
    of_question = {str(same[0]): same for same in asked.values()}
    index = LeakIndex({key: short[int(key)][1].input for key in of_question}, n_words=n_words, n_chars=n_chars, common=common)
    for text in texts if short else ():
        same = {k for output in text[4] for k in answers.get(tuple(comparable(output)), ())}
        shares = {k: hit.share for hit in index.hits(text[3], *text[4]) for k in of_question[hit.key]}
        question = comparable(text[3]) if same else []
        for k in sorted(same | shares.keys()):
            share = 1.0 if k in same and questions[k] == question else shares.get(k, 0.0)
            if share >= 0.5 and (k in same or _gives_away(text, questions[k], fold(short[k][2]))):
                yield Leak(short[k][0], short[k][1].id, *text[:3], "pair", share, short[k][2])


def _gives_away(text: _Text, question: Sequence[str], answer: Sequence[str]) -> bool:
    """Return whether an answer stands in a text more often than in the question that the text holds too."""
    parts = [text[3], *text[4]]
    if len(answer) == 1 and text[4]:
        return any(fold(field) == list(answer) for part in parts for field in _FIELD_END.split(part))
    return bool(answer) and sum(_count(fold(part), answer) for part in parts) > _count(question, answer)


def _count(text: Sequence[str], part: Sequence[str]) -> int:
    return sum(text[i : i + len(part)] == part for i in range(len(text) - len(part) + 1))
