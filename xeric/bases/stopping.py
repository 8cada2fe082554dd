"""How a generated text ends: by an end token of the base, by a stop text, or at the limit of new tokens.

A stop text is searched in the text, not among token ids: the same text can be tokenised in several ways, and can begin and end
inside a token. (Transformers' own ``StopStringCriteria`` works on ids and reads the whole vocabulary first, which takes 6 seconds
for 262,144 words.) A special token is the exception: it is in no text and is always one token, so it ends a row as an end
token does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from xeric.bases.base import Base

__all__ = ["ENDINGS", "Ending", "Generated", "Stops"]

Ending = Literal["eos", "stop", "length"]
ENDINGS: tuple[Ending, ...] = ("eos", "stop", "length")


@dataclass(frozen=True)
class Generated:
    """A generated text.

    Attributes:
        text: without its end token or stop text, and without the white space around it (see :class:`Stops`).
        ended: what ended it: an end token (``eos``), a stop text (``stop``) or the limit of new tokens (``length``).
    """

    text: str
    ended: Ending


_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")


class Stops:
    """The ends of the rows of one decoding.

    Args:
        base: the base that writes them.
        texts: stop texts; a row ends at the first of them.
        opening: white space that opens a target and is not of its text. What follows it on the text's first line is the text's
            own then: the indentation of code. None strips all white space around a text.
    """

    def __init__(self, base: Base, texts: Sequence[str] = (), opening: str | None = None) -> None:
        self._base, self.texts = base, tuple(texts)
        # Some tokenizers drop the first blank when decoding: then it is missing already, and the next one belongs to the text.
        decoded = base.continuation(base.tokenize(f"{opening}a")) if opening else ""
        self._opening = opening if opening is None or decoded.startswith(opening) else ""
        special = base.special_tokens if texts else {}
        self._tokens = tuple(special[text] for text in texts if text in special)
        # Every token is at least one byte of the text. Two more, because some tokenizers drop the first blank when decoding. If
        # the tail begins inside a character of several byte tokens, some decode no neighbouring bytes either, and a stop text in
        # byte tokens is recognised a token or two later; the text is cut at the same place all the same.
        self._reach = max((len(text.encode()) for text in texts), default=0) + 2

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Every token that ends a row: the base's end tokens, then stop texts that are special tokens."""
        return tuple(dict.fromkeys((*self._base.eos, *self._tokens)))

    def criteria(self, start: int) -> StoppingCriteriaList:
        """Return what tells ``generate`` which rows hold a stop text; ``start`` is the first new column."""
        return StoppingCriteriaList([_Criterion(self, start)] if self.texts else [])

    def complete(self, ids: Sequence[Sequence[int]]) -> list[bool]:
        """Return, for the new tokens of each row, whether a stop text ends among the last of them."""
        tails = [self._base.continuation(list(row[-self._reach :])) for row in ids]
        return [any(text in tail for text in self.texts) for tail in tails]

    def cut(self, ids: Sequence[int]) -> Generated:
        """Return the text of a row's new tokens; tokens after its end, such as padding, are ignored."""
        ends = self.end_tokens
        length = next((position for position, token in enumerate(ids) if token in ends), len(ids))
        text = self._base.continuation(list(ids[:length]))
        ended: Ending = "length" if length == len(ids) else "eos" if ids[length] in self._base.eos else "stop"
        if positions := [position for stop in self.texts if (position := text.find(stop)) >= 0]:
            text, ended = text[: min(positions)], "stop"
        if self._opening is None:
            return Generated(text.strip(), ended)
        return Generated(_BLANK_LINES.sub("", text.removeprefix(self._opening)).rstrip(), ended)


class _Criterion(StoppingCriteria):
    def __init__(self, stops: Stops, start: int) -> None:
        self._stops, self._start = stops, start

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.BoolTensor:
        complete = self._stops.complete(input_ids[:, self._start :].tolist())
        return torch.tensor(complete, dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]
