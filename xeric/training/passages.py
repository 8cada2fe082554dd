"""Passages of plain text, cut into sentences or lines of verse, and what a sentence can lose."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from xeric.text import words

__all__ = ["Passage", "Texts", "shorten"]

_SENTENCE_END = regex.compile(r"(?<=[.!?।॥…][\"'”’»)\]]*)\s+")
_ASIDES = regex.compile(r"\s*[(\[][^()\[\]]*[)\]]|\s*[—–]\s[^—–]{3,80}\s[—–]")
_CLAUSE = regex.compile(
    r"[,;:—–]\s+(?:and|but|for|which|who|whose|while|as|because|although|though|when|where|if|so|since|y|pero|que|porque|"
    r"cuando|aunque|donde|mientras|si|pues|como|sino|और|लेकिन|मगर|पर|परन्तु|परंतु|किन्तु|किंतु|क्योंकि|जो|जब|जिस|जिसे|कि|तो|ताकि|यदि|अगर)\s"
    r"|;\s+|\s[—–]\s|\s(?:क्योंकि|लेकिन|किन्तु|परन्तु|ताकि)\s"
)
_INNER = regex.compile(r",\s[^,;:.!?।]{3,70},(?=\s)")
_OPENING = regex.compile(r"^(?:\P{L}*[\p{L}\p{M}'’-]+\s+){1,4}?[\p{L}\p{M}'’-]+,\s+(?=\p{L})")
_LONGEST_UNIT = 400


@dataclass(frozen=True)
class Passage:
    """Consecutive sentences of prose or lines of verse, and what stands between them."""

    units: tuple[str, ...]
    joint: str

    @property
    def text(self) -> str:
        """The passage as it stands in its document."""
        return self.joint.join(self.units)


@dataclass(frozen=True)
class Texts:
    """Documents of one language to draw from.

    Attributes:
        language: its English name.
        documents: texts.
        common: frequent words, lower case; never keywords.
    """

    language: str
    documents: Sequence[str]
    common: frozenset[str]

    def passage(self, rng: random.Random, size: int, *, least: int = 1) -> Passage | None:
        """Return ``least`` or more consecutive units of a random document, at most ``size`` characters, or None."""
        document = rng.choice(self.documents)
        if len(document) > 4 * size + 2000:
            start = rng.randrange(len(document) - 2 * size - 1000)
            units, joint = _units(document[start : start + 2 * size + 1000])
            units = units[1:-1]  # cut off somewhere inside
        else:
            units, joint = _units(document)
        if len(units) < least:
            return None
        start = rng.randrange(len(units) - least + 1)
        chosen: list[str] = []
        for unit in units[start:]:
            if len(unit) > _LONGEST_UNIT or sum(map(len, chosen)) + len(unit) > size:
                break
            chosen.append(unit)
        return Passage(tuple(chosen), joint) if len(chosen) >= least else None

    def word(self, rng: random.Random) -> str:
        """Return a random word of a random document."""
        found = words(rng.choice(self.documents)[:1500])
        return rng.choice(found) if found else "x"


def _units(document: str) -> tuple[list[str], str]:
    lines = [line.strip() for line in document.split("\n") if line.strip()]
    if len(lines) >= 3 and sum(map(len, lines)) / len(lines) < 80:
        return lines, "\n"
    return [unit for line in lines for unit in _SENTENCE_END.split(line) if unit.strip()], " "


def shorten(sentence: str) -> str:
    """Return a sentence without brackets, asides, an opening phrase and what follows its first clause, as far as it has them."""
    short = _ASIDES.sub("", sentence)
    end = sentence.rstrip()[-1:] if sentence.rstrip()[-1:] in ".!?।" else ""
    cut = _CLAUSE.search(short, pos=min(len(short), 25))
    if cut:
        short = short[: cut.start()].rstrip(" ,;:—–") + end
    if short.count(",") == 2:
        short = _INNER.sub("", short)
    opening = _OPENING.match(short)
    if opening and len(short) - opening.end() >= 30 and not _CLAUSE.match(short, pos=opening.end() - 2):
        short = short[opening.end() :]
        short = short[:1].upper() + short[1:]
    return str(short).strip()
