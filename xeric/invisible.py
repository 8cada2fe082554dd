r"""Characters that nobody sees: one table, each kept or removed for a reason, for cleaning and scoring alike.

Two texts that look the same should be the same text: to train on, to search for duplicates and leaks, and to score. So what shows
nothing is removed, and what changes how its neighbours look (the joiners of Persian and Hindi, the selectors of an emoji) is kept
where it does so. The table covers every character that Unicode calls default ignorable or a format control, and all controls; the
tests hold it to that. Direction marks and embeddings are removed too: the letters have directions of their own.

A zero-width space shows nothing, but parts words for a reader of Khmer's or Thai's bytes, such as a tokenizer; cleaning keeps it
there. To a score, which goes by grapheme in these scripts, it is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import regex

__all__ = ["TABLE", "Invisible", "without_invisible"]


class Invisible(NamedTuple):
    """An entry of the table.

    Attributes:
        characters: as in a regular expression's character class.
        kept_after: what must stand before them for them to be kept, as a regular expression; None where they never are, and an
            empty text where they always are.
        reason: why.
    """

    characters: str
    kept_after: str | None
    reason: str


# Letters that a joiner says nothing to: at most it keeps a ligature apart.
_UNJOINED = "".join(
    rf"\p{{Script={script}}}"
    for script in (
        *("Latin", "Greek", "Cyrillic", "Armenian", "Georgian", "Hebrew", "Ethiopic", "Han", "Hiragana", "Katakana", "Bopomofo"),
        *("Hangul", "Thai", "Lao", "Cherokee", "Canadian_Aboriginal"),
    )
)
_SHAPED = rf"[\p{{L}}--[{_UNJOINED}]]\p{{M}}*"
_EMOJI = r"(?:[\p{Extended_Pictographic}\p{Emoji_Modifier}]|\p{Extended_Pictographic}\ufe0f)"
_VARYING = (
    r"[\p{S}\p{P}\p{N}\p{Extended_Pictographic}[\p{L}&&\p{Script=Common}]"
    r"\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Myanmar}\p{Script=Phags_Pa}\p{Script=Manichaean}]"
)
_UNSPACED = r"[\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]"

TABLE: tuple[Invisible, ...] = (
    Invisible(r"\x00-\x08\x0e-\x1f\x7f", None, "controls: of terminals and files, not of texts"),
    Invisible(r"\t-\r", "", "tabs and line ends: white space, which has rules of its own"),
    Invisible(r"\x80-\x9f", "", "C1 controls: signs of broken encoding, which a rule of cleaning looks for"),
    Invisible(r"\u00ad", None, "soft hyphen: says where a line may break"),
    Invisible(r"\u034f", None, "combining grapheme joiner: says how to sort"),
    Invisible(
        r"\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd",
        "",
        "number and verse signs: format controls that show",
    ),
    Invisible(r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069", None, "marks, embeddings, overrides and isolates of direction"),
    Invisible(r"\u115f\u1160\u3164\uffa0", "", "Hangul fillers: stand for a letter, and take its room"),
    Invisible(r"\u17b4\u17b5", None, "inherent vowels of Khmer: deprecated, a consonant has its vowel anyway"),
    Invisible(
        r"\u180b-\u180f", r"[\p{L}&&\p{Script=Mongolian}]", "Mongolian selectors and vowel separator: choose a letter's shape"
    ),
    Invisible(r"\u200b", _UNSPACED, "zero-width space: parts words in scripts without spaces"),
    Invisible(r"\u200c", _SHAPED, "zero-width non-joiner: Persian's, and that of Indic scripts, shows"),
    Invisible(r"\u200d", rf"(?:{_SHAPED}|{_EMOJI})", "zero-width joiner: half forms of Indic scripts, emoji of several"),
    Invisible(r"\u2060-\u2065\u206a-\u206f", None, "word joiner, operators without a sign, deprecated controls"),
    Invisible(r"\ufe00-\ufe0f\U000e0100-\U000e01ef", _VARYING, "variation selectors: emoji, symbols, Han"),
    Invisible(r"\ufeff", None, "byte-order mark"),
    Invisible(r"\ufff0-\ufffb", None, "anchors of annotations, and what is reserved beside them"),
    Invisible(r"\U00013430-\U0001343f", "", "hieroglyphs' joiners: say how signs are stacked"),
    Invisible(r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a", None, "controls of shorthand and of musical notes"),
    Invisible(
        r"\U000e0020-\U000e007f", r"\U0001f3f4[\U000e0020-\U000e007e]*", "tags: flags of regions, and nothing to see elsewhere"
    ),
    Invisible(r"\U000e0000-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U000e0fff", None, "reserved as ignorable"),
)
"""Every invisible character, and whether it stays."""

_ANY = re.compile("[" + "".join(entry.characters for entry in TABLE if entry.kept_after != "") + "]")
_NEVER = re.compile("[" + "".join(entry.characters for entry in TABLE if entry.kept_after is None) + "]")


def _misplaced() -> Iterator[str]:
    for entry in TABLE:
        if entry.kept_after:
            yield rf"[{entry.characters}](?<!{entry.kept_after}[{entry.characters}])"


_MISPLACED = regex.compile("|".join(_misplaced()), regex.VERSION1)


def without_invisible(text: str, *, boundaries: bool = True) -> str:
    """Return a text without what shows nothing.

    Args:
        text: any text.
        boundaries: whether a zero-width space stays between words of a script without spaces.

    >>> without_invisible("zero\u200bwidth \u200fשלום\u202c, می\u200cروم, ❤\ufe0f, ខ្មែរ\u200bភាសា", boundaries=False)
    'zerowidth שלום, می\u200cروم, ❤️, ខ្មែរភាសា'
    """
    if not _ANY.search(text):
        return text
    text = _NEVER.sub("", text if boundaries else text.replace("\u200b", ""))
    return str(_MISPLACED.sub("", text))
