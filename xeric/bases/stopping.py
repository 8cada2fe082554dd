"""How a generated text ends: by an end token of the base, by a stop text, or at the limit of new tokens.

A stop text is looked for in the text, not among token ids: the same text can be tokenised in several ways, and can begin and end
inside a token. (Transformers' own ``StopStringCriteria`` works on ids and reads the whole vocabulary first, which takes 6 seconds
for 262,144 words.) A special token is the exception: it never shows in a text and is always one token, so it ends a row as an end
token does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import StoppingCriteria

from xeric.bases.base import Base

__all__ = ["ENDINGS", "Ending", "Generated", "Stops"]

Ending = Literal["eos", "stop", "length"]
ENDINGS: tuple[Ending, ...] = ("eos", "stop", "length")


@dataclass(frozen=True)
class Generated:
    """A generated text.

    Attributes:
        text: up to and without what ended it, without the white space around it (see :class:`Stops`).
        ended: by what: an end token (``eos``), a stop text (``stop``) or the limit of new tokens (``length``).
    """

    text: str
    ended: Ending


_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")


class Stops:
    """Where the rows of one decoding end.

    Args:
        base: the base that writes them.
        texts: stop texts; a row ends at the first of them.
        opening: white space that opens a target and is not of its text. What follows it on the text's first line is the text's
            own then: the indentation of code. None strips all white space around a text.
    """

    def __init__(self, base: Base, texts: Sequence[str] = (), opening: str | None = None) -> None:
        self._base, self.texts = base, tuple(texts)
        # Some tokenizers drop the first blank of what they decode: then it is gone already, and the next one is the text's.
        shown = base.continuation(base.tokenize(f"{opening}a")) if opening else ""
        self._opening = opening if opening is None or shown.startswith(opening) else ""
        special = base.special_tokens if texts else {}
        self._tokens = tuple(special[text] for text in texts if text in special)
        # A token of a text is a byte of it at least. Two more, because some tokenizers drop the first blank of what they decode.
        # Where the tail begins inside a character that is written in bytes, some give up on all bytes beside it, and a stop text
        # written in bytes as well shows a token or two later; it is cut where it stands all the same.
        self._reach = max((len(text.encode()) for text in texts), default=0) + 2

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Every token that ends a row: the base's end tokens, then stop texts that are special tokens."""
        return tuple(dict.fromkeys((*self._base.eos, *self._tokens)))

    def criterion(self, start: int) -> StoppingCriteria:
        """Return what tells ``generate`` which rows hold a stop text; ``start`` is the column of their first new token."""
        return _Criterion(self, start)

    def complete(self, ids: Sequence[Sequence[int]]) -> list[bool]:
        """Say of the new tokens of each row whether a stop text ends among the last of them."""
        tails = [self._base.continuation(list(row[-self._reach :])) for row in ids]
        return [any(text in tail for text in self.texts) for tail in tails]

    def cut(self, ids: Sequence[int]) -> Generated:
        """Return the text of a row's new tokens; what follows its end, such as padding, does not matter."""
        ends = self.end_tokens
        length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
        text = self._base.continuation(list(ids[:length]))
        ended: Ending = "length" if length == len(ids) else "eos" if ids[length] in self._base.eos else "stop"
        if found := [place for stop in self.texts if (place := text.find(stop)) >= 0]:
            text, ended = text[: min(found)], "stop"
        if self._opening is None:
            return Generated(text.strip(), ended)
        return Generated(_BLANK_LINES.sub("", text.removeprefix(self._opening)).rstrip(), ended)


class _Criterion(StoppingCriteria):
    def __init__(self, stops: Stops, start: int) -> None:
        self._stops, self._start = stops, start

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.BoolTensor:
        found = self._stops.complete(input_ids[:, self._start :].tolist())
        return torch.tensor(found, dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]
