"""What a base is measured by while it is pretrained: bits per character of held-out text, and whether it copies what it is given.

The passages and rows are chosen once, by content and seed, and are the same for every measurement of a training.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from xeric.training.bpe import characters_by_token
from xeric.training.corpus import Corpus
from xeric.training.exercises import EXERCISES
from xeric.training.mixture import Mixture
from xeric.training.passages import Texts
from xeric.training.token_loss import summed_token_loss

__all__ = ["COPY_LENGTHS", "HeldOut", "TeacherForced"]

COPY_LENGTHS = (4, 8, 16)

TeacherForced = Callable[[torch.Tensor], torch.Tensor]
"""``[B, T]`` token ids -> ``[B, T, H]`` states."""

_Row = tuple[list[int], list[int]]


class HeldOut:
    """Measurements on the held-out documents of a corpus.

    Args:
        corpus: whose ``held_out`` documents to use.
        mixture: lays out rows.
        window: tokens read of each document, from its beginning.
        tokens: about so many of each language.
        copies: sentences of each language and length.
    """

    def __init__(self, corpus: Corpus, mixture: Mixture, *, window: int = 512, tokens: int = 24_000, copies: int = 32) -> None:
        self.characters = characters_by_token(corpus.tokenizer)
        self.passages: dict[str, list[list[int]]] = {}
        self.copies: dict[str, list[_Row]] = {}
        for language, places in corpus.held_out.items():
            rows = [corpus.tokens[start : min(end, start + window)].tolist() for start, end in places.tolist()]
            self.passages[language] = rows[: max(1, tokens // window)]
            texts = Texts(language, corpus.texts(places), corpus.common[language])
            for words in COPY_LENGTHS:
                self.copies[f"{language}/{words}"] = list(_copy_rows(texts, mixture, words, copies))

    def measure(self, states: TeacherForced, head: torch.Tensor, dtype: torch.dtype) -> dict[str, Any]:
        """Return ``bits_per_character`` by language with its ``mean``, and ``copy_accuracy`` by language and number of words.

        A copy counts only if every token of it, EOS included, is the likeliest one: exactly what greedy decoding would write.
        """
        bits = {}
        for language, rows in self.passages.items():
            wanted = [(row, list(range(1, len(row)))) for row in rows]
            nats = sum(total for total, _ in _scored(wanted, states, head, dtype))
            bits[language] = nats / math.log(2) / int(sum(self.characters[np.array(row)].sum() for row in rows))
        copies: dict[str, float] = {}
        for name, rows_and_places in self.copies.items():
            exact = [flag for _, flags in _scored(rows_and_places, states, head, dtype) for flag in flags]
            copies[name] = sum(exact) / max(1, len(exact))
        return {"bits_per_character": {**bits, "mean": sum(bits.values()) / len(bits)}, "copy_accuracy": copies}


def _copy_rows(texts: Texts, mixture: Mixture, words: int, count: int) -> Iterator[_Row]:
    """Yield rows that ask for a copy of ``words`` held-out words, with an exercise's definition and no demonstration."""
    rng = random.Random(f"copy {texts.language} {words}")
    copy = next(exercise for exercise in EXERCISES if exercise.name == "copy")
    found = tries = 0
    while found < count and tries < 100 * count:
        tries += 1
        passage = texts.passage(rng, 40 * words)
        parts = passage.text.split() if passage else []
        if len(parts) >= words:
            text = " ".join(parts[:words])
            found += 1
            ids, targets = mixture.encode(copy.definition(rng, 0), [(text, text)])
            yield ids, list(targets)


@torch.no_grad()
def _scored(
    rows: Sequence[_Row], states: TeacherForced, head: torch.Tensor, dtype: torch.dtype, size: int = 16
) -> Iterator[tuple[float, list[bool]]]:
    """Yield, batch by batch, the nats of the target tokens, and of each row whether all of them were the likeliest."""
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        width = max(len(row) for row, _ in batch)
        ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in batch], device=head.device)
        places = torch.tensor([n * width + place for n, (_, wanted) in enumerate(batch) for place in wanted], device=head.device)
        hidden = states(ids).flatten(0, 1)[places - 1]
        total, right = summed_token_loss(hidden, head, ids.flatten()[places], dtype)
        flags, at = [], 0
        for _, wanted in batch:
            flags.append(bool(right[at : at + len(wanted)].all()))
            at += len(wanted)
        yield total, flags
