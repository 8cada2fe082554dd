r"""Unicode normal form, words, scripts and stemmers: what every layer means by "a word of this language".

This module knows nothing about tasks, models or metrics. Two choices here move scores and are therefore named in every metric's
signature:

* **Word tokens** are a letter or number and what follows it of ``[\p{L}\p{M}\p{N}\u200c\u200d]``, variation selectors apart: a
  mark or joiner behind an emoji is no word. Python's own ``\w`` leaves out combining vowel signs and cuts Devanagari words into
  pieces. Scripts written without spaces (Thai, Lao, Khmer, Burmese, Han, Kana) go by grapheme cluster.
* **Stemmers** are the Snowball algorithms of :mod:`snowballstemmer`. A language without one has none; nothing falls back to
  English.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Literal

import regex

from xeric.errors import UnknownNameError

__all__ = [
    "NormalForm",
    "dominant_script",
    "graphemes",
    "normalize",
    "script_shares",
    "stemmer",
    "words",
]

NormalForm = Literal["nfc", "none"]

_WORD = regex.compile(r"(?V1)[\p{L}\p{N}][[\p{L}\p{M}\p{N}\u200c\u200d]--[\ufe00-\ufe0f\U000e0100-\U000e01ef]]*")
_UNSPACED = (
    r"[\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\u30fc]"
)
_UNSPACED_CHAR = regex.compile(_UNSPACED)
# Inside a word run: a stretch of an unspaced script is cut into grapheme clusters, anything else stays whole.
_PIECE = regex.compile(rf"(?={_UNSPACED})\X|(?:(?!{_UNSPACED})\X)+")
_SCRIPTS = (
    "Latin",
    "Devanagari",
    "Arabic",
    "Cyrillic",
    "Greek",
    "Hebrew",
    "Han",
    "Hiragana",
    "Katakana",
    "Hangul",
    "Thai",
    "Lao",
    "Khmer",
    "Myanmar",
    "Bengali",
    "Gurmukhi",
    "Gujarati",
    "Oriya",
    "Tamil",
    "Telugu",
    "Kannada",
    "Malayalam",
    "Sinhala",
    "Georgian",
    "Armenian",
    "Ethiopic",
    "Tibetan",
)
# The long-vowel mark belongs to no single script in Unicode; as "Other" it would be half of コーヒー.
_SCRIPT = regex.compile(
    "|".join(rf"(?P<{s}>\p{{Script={s}}})" for s in _SCRIPTS) + r"|(?P<Katakana>[\u30fc\uff70])|(?P<Other>\p{L})"
)


def normalize(text: str, form: NormalForm = "nfc") -> str:
    """Return ``text`` in Unicode NFC, or unchanged for ``form="none"``."""
    return unicodedata.normalize("NFC", text) if form == "nfc" else text


def graphemes(text: str) -> list[str]:
    """Return the extended grapheme clusters of ``text``, white space included."""
    clusters: list[str] = regex.findall(r"\X", text)
    return clusters


def words(text: str) -> list[str]:
    """Return the word tokens of ``text`` in order, case kept; see the module's definition.

    >>> words("¿Qué año?  क्षमा कीजिए।")
    ['Qué', 'año', 'क्षमा', 'कीजिए']
    """
    runs: list[str] = _WORD.findall(text)
    if not _UNSPACED_CHAR.search(text):  # one look at the text costs a fraction of one at each word
        return runs
    tokens: list[str] = []
    for run in runs:
        if _UNSPACED_CHAR.search(run):
            tokens.extend(_PIECE.findall(run))
        else:
            tokens.append(run)
    return tokens


def script_shares(text: str) -> dict[str, float]:
    """Return the share of each Unicode script among the letters of ``text``, largest first; empty where there are no letters.

    Shares sum to 1. Scripts outside the table count as ``Other``.
    """
    counts = Counter(match.lastgroup or "Other" for match in _SCRIPT.finditer(text))
    total = sum(counts.values())
    return {script: count / total for script, count in counts.most_common()}


def dominant_script(text: str) -> str | None:
    """Return the script that most letters of ``text`` belong to, or None where there are no letters."""
    return next(iter(script_shares(text)), None)


@functools.cache
def stemmer(algorithm: str) -> Callable[[str], str]:
    """Return the stemming function of a Snowball algorithm; it expects lower-case NFC words, since Snowball does not fold case.

    Raises:
        UnknownNameError: snowballstemmer has no such algorithm.
    """
    # snowballstemmer.stemmer() hands over to PyStemmer where that is installed: another release of the algorithms, unseen.
    algorithms = [name.removesuffix("_stemmer") for name in _modules("snowballstemmer") if name.endswith("_stemmer")]
    if algorithm not in algorithms:
        raise UnknownNameError("stemmer", algorithm, algorithms)
    module = importlib.import_module(f"snowballstemmer.{algorithm}_stemmer")
    made = getattr(module, algorithm.title().replace("_", "") + "Stemmer")()
    return functools.lru_cache(maxsize=100_000)(made.stemWord)


def _modules(package: str) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)]
