"""Self-supervised exercises: rows whose answer is in (or follows from) their input, made from plain text in any language.

A small model that has read plain text only writes fluently and ignores what it is given. These exercises make it look: copy,
pick, delete, order, fill, compress, continue. Each is a function of a random generator and a collection of texts, so rows never
run out and the same seed gives the same rows. Nothing here knows about tokens.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import regex

from xeric.text import words
from xeric.training.definitions import DEFINITIONS
from xeric.training.passages import Texts, shorten

__all__ = ["EXERCISES", "Exercise"]

Pair = tuple[str, str]

_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_PUNCTUATION = regex.compile(r"[^\p{L}\p{M}\p{N}\s\u200c\u200d'’-]+")


@dataclass(frozen=True)
class Exercise:
    """A kind of row.

    Attributes:
        name: key of its definitions.
        make: ``(rng, texts, size, n) -> (input, output)``, or None where the text drawn does not serve; ``size`` is the length
            wanted in characters, ``n`` the number that the row's definition names.
        numbers: what ``n`` is drawn from; one value for all examples of a row.
        weight: how often it is drawn.
    """

    name: str
    make: Callable[[random.Random, Texts, int, int], Pair | None]
    numbers: tuple[int, ...] = (0,)
    weight: float = 1.0

    def definition(self, rng: random.Random, n: int) -> str:
        """Return one of the definitions, its numbers filled in."""
        text = rng.choice(DEFINITIONS[self.name])
        nth = "last" if n < 0 else _ORDINALS[min(max(n, 1), 5) - 1]
        return text.replace("{nth}", nth).replace("{n}", str(n))


def _copy(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size)
    if passage is None:
        return None
    if rng.random() < 0.3:  # a list of unrelated words can only be copied by looking
        text = " ".join(texts.word(rng) for _ in range(rng.randrange(2, 12)))
        return text, text
    return passage.text, passage.text


def _nth(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size, least=max(2, n))
    if passage is None:
        return None
    return passage.text, passage.units[-1] if n < 0 else passage.units[n - 1]


def _first(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    return _nth(rng, texts, size, 1)


def _last(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    return _nth(rng, texts, size, -1)


def _first_words(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size)
    parts = passage.text.split() if passage else []
    return (passage.text, " ".join(parts[:n])) if passage and len(parts) > n else None


def _remove_intruders(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size)
    if passage is None or len(passage.text.split()) < 4:
        return None
    parts = passage.text.split(" ")
    for _ in range(rng.randrange(1, 3 + len(parts) // 8)):
        parts.insert(rng.randrange(len(parts) + 1), texts.word(rng))
    return " ".join(parts), passage.text


def _word_order(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, min(size, 160))
    parts = rng.choice(passage.units).split() if passage else []
    if not 3 <= len(parts) <= 18:
        return None
    return " ".join(_shuffled(rng, parts)), " ".join(parts)


def _sentence_order(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size, least=2)
    if passage is None or len(set(passage.units)) < len(passage.units) or len(passage.units) > 6:
        return None
    return "\n".join(_shuffled(rng, passage.units)), "\n".join(passage.units)


def _shuffled(rng: random.Random, items: Sequence[str]) -> list[str]:
    mixed = list(items)
    rng.shuffle(mixed)
    return mixed


def _fill_gap(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size)
    parts = passage.text.split(" ") if passage else []
    if passage is None or len(parts) < 5:
        return None
    places = sorted(rng.sample(range(len(parts)), rng.randrange(1, min(5, len(parts) // 3 + 1))))
    shown = ["___" if place in places else part for place, part in enumerate(parts)]
    bank = ", ".join(_shuffled(rng, [parts[place].strip() for place in places]))
    return f"{' '.join(shown)}\nWords: {bank}", passage.text


def _missing_word(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size, least=2)
    if passage is None:
        return None
    counts = Counter(word for word in words(passage.text) if word.lower() not in texts.common and len(word) > 2)
    twice = sorted(word for word, count in counts.items() if count > 1)
    if not twice:
        return None
    word = rng.choice(twice)
    found = list(regex.finditer(rf"(?<![\p{{L}}\p{{M}}\p{{N}}]){regex.escape(word)}(?![\p{{L}}\p{{M}}\p{{N}}])", passage.text))
    if len(found) < 2:
        return None
    place = rng.choice(found)
    return f"{passage.text[: place.start()]}___{passage.text[place.end() :]}", word


def _shorten(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, max(size, 150))
    if passage is None:
        return None
    sentence = max(passage.units, key=len)
    short = shorten(sentence)
    return (sentence, short) if 20 <= len(short) <= 0.85 * len(sentence) else None


def _key_sentence(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size, least=3)
    if passage is None:
        return None
    bags = [{word for word in words(unit.lower()) if word not in texts.common} for unit in passage.units]
    shared = [sum(len(bag & other) for other in bags) - len(bag) for bag in bags]
    best = max(range(len(bags)), key=lambda k: (shared[k] / (4 + len(bags[k])), -k))
    return (passage.text, passage.units[best]) if shared[best] else None


def _continue(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, int(1.5 * size), least=2)
    if passage is None:
        return None
    cut = rng.randrange(1, len(passage.units))
    return passage.joint.join(passage.units[:cut]), passage.joint.join(passage.units[cut:])


def _first_line(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size, least=2)
    return (passage.joint.join(passage.units[1:]), passage.units[0]) if passage else None


def _salient(text: str, texts: Texts, count: int) -> list[str]:
    found = [word for word in words(text) if word.lower() not in texts.common and len(word) > 3 and not word.isdigit()]
    counts = Counter(found)
    first = {word: place for place, word in reversed(list(enumerate(found)))}
    best = sorted(counts, key=lambda word: (-counts[word], -len(word), first[word]))[:count]
    return sorted(best, key=first.__getitem__)


def _keywords(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size)
    found = _salient(passage.text, texts, n) if passage else []
    return (passage.text, ", ".join(found)) if passage and len(found) == n else None


def _from_keywords(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    pair = _keywords(rng, texts, size, rng.randrange(1, 5))
    return (pair[1], pair[0]) if pair else None


def _numbered(units: Sequence[str]) -> str:
    return "\n".join(f"{number}. {unit}" for number, unit in enumerate(units, 1))


def _numbered_line(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size, least=max(2, n))
    return (_numbered(passage.units), passage.units[n - 1]) if passage else None


def _asked_line(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size, least=2)
    if passage is None:
        return None
    asked = rng.randrange(1, len(passage.units) + 1)
    return f"Line {asked}\n{_numbered(passage.units)}", passage.units[asked - 1]


def _line_with_word(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size, least=2)
    if passage is None:
        return None
    line = rng.choice(passage.units)
    elsewhere = {word for unit in passage.units if unit != line for word in words(unit)}
    only = sorted({word for word in words(line) if word not in elsewhere and len(word) > 2})
    return (f"{rng.choice(only)}\n" + "\n".join(passage.units), line) if only else None


def _replace_word(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size)
    parts = passage.text.split(" ") if passage else []
    plain = sorted({part for part in parts if len(part) > 2 and words(part) == [part]})
    if passage is None or not plain:
        return None
    old, new = rng.choice(plain), texts.word(rng)
    return f"{old} -> {new}\n{passage.text}", " ".join(new if part == old else part for part in parts)


def _remove_repeats(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size, least=2)
    if passage is None or len(set(passage.units)) < len(passage.units):
        return None
    doubled = list(passage.units)
    for _ in range(rng.randrange(1, 3)):
        place = rng.randrange(len(doubled))
        doubled.insert(rng.randrange(place + 1, len(doubled) + 1), doubled[place])
    return "\n".join(doubled), "\n".join(passage.units)


def _punctuate(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size)
    if passage is None:
        return None
    bare = " ".join(_PUNCTUATION.sub(" ", passage.text.lower()).split())
    text = " ".join(passage.units)
    return (bare, text) if bare and bare != text else None


def _untangle(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    ours, other = texts.passage(rng, size // 2, least=2), texts.passage(rng, size // 2)
    if ours is None or other is None or set(ours.units) & set(other.units):
        return None
    rest: list[str] = list(ours.units[1:])
    for unit in other.units[:3]:
        rest.insert(rng.randrange(len(rest) + 1), unit)
    return "\n".join([ours.units[0], *rest]), "\n".join(ours.units)


def _name_lines(rng: random.Random, texts: Texts, size: int, n: int) -> Pair | None:
    passage = texts.passage(rng, size, least=2)
    if passage is None or len(passage.units) > 9:
        return None
    return "\n".join(passage.units), f"{len(passage.units)}: {passage.units[-1]}"


EXERCISES: tuple[Exercise, ...] = (
    Exercise("copy", _copy, weight=2.0),
    Exercise("nth_sentence", _nth, (1, 2, 3, 4, -1)),
    Exercise("first_sentence", _first, weight=1.5),
    Exercise("last_sentence", _last),
    Exercise("first_words", _first_words, (3, 4, 5, 6, 8, 10, 12)),
    Exercise("remove_intruders", _remove_intruders),
    Exercise("word_order", _word_order),
    Exercise("sentence_order", _sentence_order),
    Exercise("fill_gap", _fill_gap),
    Exercise("missing_word", _missing_word, weight=0.7),
    Exercise("shorten", _shorten, weight=2.5),
    Exercise("key_sentence", _key_sentence, weight=1.5),
    Exercise("continue", _continue, weight=4.0),
    Exercise("first_line", _first_line),
    Exercise("keywords", _keywords, (1, 2, 3, 4, 5)),
    Exercise("from_keywords", _from_keywords, weight=1.5),
    Exercise("numbered_line", _numbered_line, (1, 2, 3, 4, 5), weight=0.7),
    Exercise("asked_line", _asked_line, weight=0.7),
    Exercise("line_with_word", _line_with_word),
    Exercise("replace_word", _replace_word),
    Exercise("remove_repeats", _remove_repeats, weight=0.7),
    Exercise("punctuate", _punctuate, weight=0.7),
    Exercise("untangle", _untangle, weight=0.7),
    Exercise("name_lines", _name_lines, weight=0.4),
)
