"""The one form that every text is brought to: Unicode NFC, line ends, invisible characters, white space.

Single line breaks and one blank line stay: poems need them.
"""

from __future__ import annotations

import regex

from xeric.invisible import without_invisible
from xeric.text import normalize

__all__ = ["one_form"]

_LINE_END = regex.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_BLANKS = regex.compile(r"[\t\p{Zs}]+")
_INNER_BLANKS = regex.compile(r"(?<=[^\t\p{Zs}\n])[\t\p{Zs}]+")
_MANY_LINES = regex.compile(r"\n{3,}")


def one_form(text: str, *, keep_indentation: bool = False) -> str:
    r"""Return ``text`` in the one form: NFC, ``\n`` line ends, nothing invisible, single blanks, at most one blank line in a row.

    >>> one_form("Roses  are red,\r\n\r\n\r\nViolets\u00a0are blue. ")
    'Roses are red,\n\nViolets are blue.'
    """
    text = without_invisible(_LINE_END.sub("\n", text))
    lines = (_INNER_BLANKS if keep_indentation else _BLANKS).sub(" ", text).split("\n")
    text = _MANY_LINES.sub("\n\n", "\n".join(line.rstrip() if keep_indentation else line.strip() for line in lines))
    return normalize(text.strip("\n") if keep_indentation else text.strip())
