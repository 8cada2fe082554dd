"""A base with a part of its vocabulary: exactly the base, as long as a dropped token is neither read nor written.

Small multilingual models are mostly vocabulary: 168 of the 268 million parameters of Gemma 3 270M embed 262,144 tokens and, tied,
predict them. A task in one language uses some ten thousand of these. Rows of the embedding and of the output layer are selected
and nothing else is changed, so the logits of the kept tokens are those of the base (Abdaoui et al. 2020, arXiv 2010.05609, and
Ushio et al. 2023, arXiv 2305.15020, trim multilingual models by language).

Kept are the tokens of the given texts, the special, added and byte tokens, those that configs and chat template name, what the
merges need in between (:mod:`xeric.bases.trimmed_tokenizer`), and ``more`` others (:mod:`xeric.bases.token_choice`). The folder
is opened again at the end: every given text must have the same tokens, and a row of them the same logits.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.bases.token_choice import Predictions, lowest_numbered, model_logits, predictions, sample_rows
from xeric.bases.trimmed_files import named_tokens, stored_type, write_model, write_tokenizer
from xeric.bases.trimmed_tokenizer import always_kept, check_can_be_trimmed, surfaces, tokens_of, with_derivations
from xeric.data.vocabulary import VocabularyTexts
from xeric.errors import ConfigError, DataError, UserError
from xeric.progress import Progress, Silent

__all__ = ["MORE", "STEPS", "Trimmed", "write_trimmed"]

MORE = 16_000
"""Tokens that are kept beside those of the texts, unless another number is given; chosen by measurement (docs/how-to/trim.md)."""

STEPS = 4
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Trimmed:
    """A trimmed base and what was measured on the way.

    Attributes:
        base: name that the base was given by.
        base_sha256: of its weights and of its config and tokenizer.
        kept: old ids of the tokens, ascending: the new id of a token is its index.
        vocabulary: rows of the embedding before.
        text_tokens: how many different tokens the texts have.
        parameters: before and after.
        stored: type that the weights are kept in.
        positions: of some of the texts, which had no part in the choice of the tokens beside those of the texts, at which the
            base was asked; 0 where it is not causal.
        dropped_wins: at how many of them its most probable next token is a dropped one.
        dropped_probability: of all dropped tokens together, the mean over them; None where it is not causal.
        difference: largest difference between logits of the base and of the folder, on one row of the texts.
    """

    base: str
    base_sha256: dict[str, str]
    kept: tuple[int, ...]
    vocabulary: int
    text_tokens: int
    parameters: tuple[int, int]
    stored: str
    positions: int
    dropped_wins: int
    dropped_probability: float | None
    difference: float

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of the weights, before and after, in the type that they are kept in."""
        width = torch.finfo(getattr(torch, self.stored)).bits // 8
        return self.parameters[0] * width, self.parameters[1] * width


def write_trimmed(
    name: str, texts: VocabularyTexts, folder: Path, *, more: int = MORE, device: str = "auto", progress: Progress | None = None
) -> Trimmed:
    """Write a base with a part of its vocabulary as a Hugging Face folder, and check it.

    Args:
        name: of the base, as :func:`xeric.bases.loading.load_base` takes it.
        texts: whose tokens are kept.
        folder: exists and is empty.
        more: how many tokens are kept beside these.
        device: that the base computes on.
        progress: is told of :data:`STEPS` steps.

    Raises:
        UserError: the base is of a kind that cannot be trimmed, or nothing would be dropped.
        DataError: the base cannot be opened, or the trimmed one is not the same on the texts.
    """
    progress = progress or Silent()
    base = load_base(name, device=device, precision="fp32", progress=progress)
    progress.start("trim the vocabulary", STEPS)
    described = json.loads(base.tokenizer.backend_tokenizer.to_str())
    check_can_be_trimmed(described, name)
    tokens = {segment: base.tokenize(segment) for segment in texts.segments}
    rows = sample_rows(base, texts.texts)
    # A fifth of the rows measures what is lost: those by which the tokens are chosen would flatter the choice.
    predicted = predictions(base, [row for number, row in enumerate(rows) if number % 5] or rows)
    progress.advance(1)
    kept = _kept(base, described, tokens, texts.texts, more, predicted)
    expected = model_logits(base, rows[0]).cpu()[:, torch.tensor(kept)]
    write_model(base, kept, folder)
    progress.advance(1)
    write_tokenizer(base, described, kept, folder)
    result = _measured(base, kept, tokens, predictions(base, rows[::5]))
    progress.advance(1)
    del base  # the folder is opened in its place
    written = load_base(str(folder), device=device, precision="fp32")
    difference = _difference(written, kept, tokens, rows[0], expected, name)
    progress.advance(1)
    return dataclasses.replace(result, parameters=(result.parameters[0], written.parameters), difference=difference)


def _kept(
    base: Base,
    described: Mapping[str, Any],
    tokens: Mapping[str, Sequence[int]],
    texts: Sequence[str],
    more: int,
    predicted: Predictions | None,
) -> list[int]:
    """Return the ids of the tokens to keep, ascending."""
    needed = always_kept(described) | named_tokens(base) | {base.pad, *base.eos} | set(_template_tokens(base))
    needed |= {token for ids in tokens.values() for token in ids}
    kept = with_derivations(described, needed)
    candidates = {token for token in tokens_of(described) if token < base.vocabulary} - kept
    ranked = predicted.ranked(candidates) if predicted else lowest_numbered(surfaces(described), texts)
    kept = with_derivations(described, kept | set([token for token in ranked if token in candidates][:more]))
    kept = {token for token in kept if token < base.vocabulary}
    if candidates <= kept:
        raise UserError(
            f"nothing of the vocabulary of {base.name} would be dropped: all its {len(kept):,} tokens are kept",
            hint="take the base as it is, or keep fewer tokens beside those of the texts: `xeric bases trim ... --more 0`",
        )
    return sorted(kept)


def _template_tokens(base: Base) -> Iterator[int]:
    """Yield the tokens of the base's chat template, and those that its tokenizer puts around a text."""
    yield from base.tokenizer("a")["input_ids"]
    if not base.has_chat_template:
        return
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}]
    for messages, generation in ((turns[:1], True), (turns, False), ([*turns, *turns[:1]], True)):
        try:
            yield from base.tokenize(base.render_chat(messages, generation), special=True)
        except ConfigError:  # the template refuses the messages; a run says so where it is used
            continue


def _measured(base: Base, kept: Sequence[int], tokens: Mapping[str, Sequence[int]], predicted: Predictions | None) -> Trimmed:
    return Trimmed(
        base=base.name,
        base_sha256=base.sha256,
        kept=tuple(kept),
        vocabulary=base.vocabulary,
        text_tokens=len({token for ids in tokens.values() for token in ids}),
        parameters=(base.parameters, 0),
        stored=str(stored_type(base.source)).removeprefix("torch."),
        positions=len(predicted.best) if predicted else 0,
        dropped_wins=predicted.dropped_wins(kept) if predicted else 0,
        dropped_probability=predicted.dropped_probability(kept) if predicted else None,
        difference=0.0,
    )


def _difference(
    written: Base,
    kept: Sequence[int],
    tokens: Mapping[str, Sequence[int]],
    row: Sequence[int],
    expected: torch.Tensor,
    name: str,
) -> float:
    """Return the largest difference between logits of the base and of its trimmed folder on a row.

    Raises:
        DataError: it is large, or a text has other tokens.
    """
    for text, ids in tokens.items():
        if [kept[token] for token in written.tokenize(text)] != list(ids):
            raise DataError(
                f"cannot be trimmed: with fewer tokens its tokenizer cuts {text[:40]!r} in another way",
                where=name,
                hint="take the base as it is",
            )
    new = {token: index for index, token in enumerate(kept)}
    difference = float((model_logits(written, [new[token] for token in row]).cpu() - expected).abs().max())
    if not difference <= _TOLERANCE * max(1.0, float(expected.abs().max())):
        raise DataError(
            f"cannot be trimmed: the logits of the kept tokens differ by {difference:.3g}, so its model uses the numbers of "
            "tokens for more than their embeddings",
            where=name,
            hint="take the base as it is",
        )
    return difference
