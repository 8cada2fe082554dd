"""Candidates of a search, and the edits that make one of another.

The edits of a definition are those of GrIPS (Prasad et al. 2022, arXiv 2203.07281): delete a phrase, swap two, add one that was
deleted before, paraphrase. GrIPS takes its phrases from a parser of English; here a phrase ends at punctuation or after a few
words, in any language. The edits of demonstrations: swap two, or exchange one for another training example.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import regex

from xeric.config import digest
from xeric.data.tasks import Example
from xeric.data.text_form import one_form
from xeric.text import graphemes

__all__ = ["Candidate", "Origin", "added", "deleted", "exchanged", "phrases", "reordered", "replaced", "sentences", "swapped"]

Origin = Literal[
    "own",
    "delete",
    "swap",
    "add",
    "paraphrase",
    "induction",
    "proposal",
    "order",
    "exchange",
    "none",
    "other",
    "shuffled",
    "swapped",
]
"""How a candidate came about; ``none``, ``other``, ``shuffled`` and ``swapped`` (outputs of demonstrations) are controls."""

_WORDS = 6
"""Words of a phrase, at most."""

_LONG = 24
"""Graphemes from which a run without blanks is no word: a script that writes none."""

_UNIT = regex.compile(r"\S+\s*|\s+")
_PIECE = regex.compile(r"\P{P}*\p{P}*\s*+(?<=.)", regex.DOTALL)
_END = regex.compile(r"[^\P{P}'’\-(\[«„“]\s*$|\n")
_SENTENCE = regex.compile(r"[^.!?।॥。！？\n]+(?:[.!?।॥。！？]+(?=\s|$|\p{Han})|\n|$)\s*|\S+?\s*(?:$|\s)")


@dataclass(frozen=True)
class Candidate:
    """A definition with demonstrations, and where it comes from."""

    definition: str
    demonstrations: tuple[Example, ...]
    origin: Origin = "own"

    @property
    def key(self) -> str:
        """Hash of what it shows."""
        return digest([self.definition, [[e.input, e.output] for e in self.demonstrations]])[:16]


def phrases(text: str) -> list[str]:
    """Return a text in phrases, which joined are the text again.

    >>> phrases("Write a title, at most ten words, for the text.")
    ['Write a title, ', 'at most ten words, ', 'for the text.']
    """
    complete: list[str] = []
    held: list[str] = []
    for word in _UNIT.findall(text):
        if not word.isascii() and len(graphemes(word)) > _LONG:
            complete += [*filter(None, ["".join(held)]), *_parts(word)]
            held = []
            continue
        held.append(word)
        if len(held) == _WORDS or _END.search(word):
            complete.append("".join(held))
            held = []
    return [*complete, "".join(held)] if held else complete


def _parts(run: str) -> list[str]:
    """Return a run without blanks in phrases: they end at punctuation, or at half the length from which it is no word."""
    size = _LONG // 2
    pieces = [graphemes(piece) for piece in _PIECE.findall(run)]
    return ["".join(piece[i : i + size]) for piece in pieces for i in range(0, len(piece), size)]


def sentences(text: str) -> list[str]:
    """Return a text in sentences, which joined are the text again."""
    parts = [match[0] for match in _SENTENCE.finditer(text)]
    return parts if "".join(parts) == text else [text]


def deleted(parts: Sequence[str], source: random.Random) -> tuple[str, str]:
    """Return a text without one of its phrases, and the phrase."""
    number = source.randrange(len(parts))
    return _text([*parts[:number], *parts[number + 1 :]]), parts[number].strip()


def swapped(parts: Sequence[str], source: random.Random) -> str:
    """Return a text with two of its phrases exchanged; one of a single phrase as it is."""
    changed = list(parts)
    if len(parts) > 1:
        first, second = source.sample(range(len(parts)), 2)
        changed[first], changed[second] = changed[second], changed[first]
    return _text(changed)


def added(parts: Sequence[str], phrase: str, source: random.Random) -> str:
    """Return a text with a phrase put between two of its own, before or behind them."""
    number = source.randrange(len(parts) + 1)
    return _text([*parts[:number], phrase, *parts[number:]])


def replaced(parts: Sequence[str], number: int, text: str) -> str:
    """Return a text with other words in the place of one of its sentences."""
    return _text([*parts[:number], text, *parts[number + 1 :]])


def _text(parts: Sequence[str]) -> str:
    """Return parts as a text: those that have no blank between them and had one at another place get it."""
    text = ""
    for part in parts:
        apart = not text or text[-1].isspace() or part[:1].isspace() or not _spaced(text[-1] + part[:1])
        text += part if apart else f" {part}"
    return one_form(text)


def _spaced(characters: str) -> bool:
    return regex.search(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}。！？、，]", characters) is None


def reordered(candidate: Candidate, source: random.Random) -> Candidate:
    """Return a candidate with two of its demonstrations exchanged; one with fewer than two as it is."""
    shown = list(candidate.demonstrations)
    if len(shown) > 1:
        first, second = source.sample(range(len(shown)), 2)
        shown[first], shown[second] = shown[second], shown[first]
    return replace(candidate, demonstrations=tuple(shown), origin="order")


def exchanged(candidate: Candidate, pool: Sequence[Example], source: random.Random) -> Candidate:
    """Return a candidate with an example of the pool that it does not show in the place of one that it shows."""
    shown = list(candidate.demonstrations)
    others = [example for example in pool if example not in shown]
    if others and shown:
        shown[source.randrange(len(shown))] = source.choice(others)
    return replace(candidate, demonstrations=tuple(shown), origin="exchange")
