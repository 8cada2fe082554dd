r"""What each training step reads: windows of plain text and rows in the prompt's own layout, as a pure function of seed and step.

A step is two micro-batches of the same number of tokens. The first holds windows of the documents' token stream, every token a
target. The second holds rows: a definition, as many examples of one kind as fit, laid out and tokenised as
:mod:`xeric.data.prompts` and :mod:`xeric.data.encoding` do. Every example's output is a target, its end included: a row of three
examples trains answering, and stopping, after none, one and two demonstrations. Where another example follows, what is to be
predicted at the end is EOS all the same, though the row goes on with a blank line. Rows are not packed together: each begins with
BOS at position 0, as in use. For ``Double the word.`` and two examples::

    BOS Double the word.\n\nInput: a\nOutput: a a   \n\nInput: b\nOutput: b b EOS
                                            a a EOS                      b b EOS   targets
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from xeric.config import Config
from xeric.training.bpe import BOS, EOS, PAD, characters_by_token
from xeric.training.corpus import Corpus
from xeric.training.exercises import EXERCISES
from xeric.training.passages import Texts
from xeric.training.source_tasks import SourceTask

__all__ = ["Batch", "Length", "Mixture", "MixtureOptions"]

Ids = npt.NDArray[np.int64]
Row = tuple[list[int], dict[int, int]]
"""A row's tokens, and what is to be predicted at which of its places."""

Draw = Callable[[], tuple[str, str] | None]

# Rows that fill less of their length than this are drawn again: padding costs as much as text.
_FILLED = 0.8
_TRIES = 100


class Length(Config):
    """A length of sequences in tokens, and how often it is drawn."""

    tokens: int = Field(ge=8)
    share: float = Field(gt=0)


class MixtureOptions(Config):
    """What a step is made of (``mixture.*``).

    Attributes:
        tokens: tokens of each of the two micro-batches, padding included; every window must divide it.
        windows: lengths of plain-text windows and their shares.
        rows: lengths that rows may fill and their shares.
        row_loss: weight of the rows' mean loss; plain text has the rest.
        source_share: share of rows that come from source tasks, where there are any.
        examples: at most so many examples in a row.
    """

    tokens: int = Field(default=3072, ge=16)
    windows: tuple[Length, ...] = (Length(tokens=512, share=0.8), Length(tokens=1024, share=0.2))
    rows: tuple[Length, ...] = (
        Length(tokens=96, share=0.1),
        Length(tokens=128, share=0.15),
        Length(tokens=192, share=0.2),
        Length(tokens=256, share=0.2),
        Length(tokens=384, share=0.15),
        Length(tokens=512, share=0.1),
        Length(tokens=768, share=0.05),
        Length(tokens=1024, share=0.05),
    )
    row_loss: float = Field(default=0.5, ge=0, le=1)
    source_share: float = Field(default=0.2, ge=0, le=1)
    examples: int = Field(default=5, ge=1)

    @model_validator(mode="after")
    def _divides(self) -> MixtureOptions:
        odd = sorted({length.tokens for length in (*self.windows, *self.rows) if self.tokens % length.tokens})
        if odd or not self.windows or not self.rows:
            raise ValueError(f"every window and row length must divide mixture.tokens={self.tokens}; {odd} do not")
        return self

    @property
    def longest(self) -> int:
        """The longest sequence that is trained on."""
        return max(length.tokens for length in (*self.windows, *self.rows))


@dataclass(frozen=True)
class Batch:
    """One micro-batch.

    Attributes:
        ids: ``[B, T]`` token ids, padded on the right.
        targets: places in the flattened ``ids`` that are predicted, each from the place before it.
        labels: the token to predict at each of them.
        weight: of its mean loss in the step.
        characters: how many characters of text it holds.
    """

    ids: Ids
    targets: Ids
    labels: Ids
    weight: float
    characters: int


class Mixture:
    """The batches of a training.

    Args:
        corpus: what to draw from.
        options: how.
        seed: of everything drawn.
    """

    def __init__(self, corpus: Corpus, options: MixtureOptions, seed: int) -> None:
        self.corpus, self.options, self.seed = corpus, options, seed
        self._order: tuple[int, int, Ids, int] | None = None
        self._characters = characters_by_token(corpus.tokenizer)

    def step(self, number: int) -> list[Batch]:
        """Return the micro-batches of step ``number``."""
        rng = random.Random(f"{self.seed} {number}")
        return [self._plain(number, rng), self._rows(rng)]

    # --- plain text ---------------------------------------------------------------------------------------------------------

    @cached_property
    def _stream(self) -> tuple[int, int]:
        """First and last place of the training documents in the token array: they stand first, without gaps."""
        return 0, max(int(places[-1, 1]) for places in self.corpus.documents.values())

    def _plain(self, number: int, rng: random.Random) -> Batch:
        length = _drawn(rng, self.options.windows)
        count = self.options.tokens // length
        ids = np.stack([self._window(number * self.options.tokens + n * length, length) for n in range(count)])
        places = np.flatnonzero(np.tile(np.arange(length) > 0, count))
        return Batch(ids, places, ids.flatten()[places], 1.0 - self.options.row_loss, self._count(ids))

    def _window(self, place: int, length: int) -> Ids:
        """Return the window of ``length`` that training reaches after ``place`` tokens of plain text.

        The stream is cut into windows of the greatest length; an epoch reads all of them once, shuffled and shifted anew; a
        shorter window is a part of a great one.
        """
        largest = max(window.tokens for window in self.options.windows)
        first, last = self._stream
        windows = max(1, (last - first) // largest - 1)
        epoch, rest = divmod(place, windows * largest)
        if self._order is None or self._order[0] != epoch:
            generator = np.random.default_rng([self.seed, epoch])
            order = generator.permutation(windows)
            self._order = (epoch, windows, order, int(generator.integers(largest)))
        start = first + self._order[3] + int(self._order[2][rest // largest]) * largest + rest % largest
        found = self.corpus.tokens[start : min(start + length, last)].astype(np.int64)
        return np.pad(found, (0, length - len(found)), constant_values=EOS)

    # --- rows ---------------------------------------------------------------------------------------------------------------

    @cached_property
    def _texts(self) -> tuple[Texts, ...]:
        return tuple(
            Texts(language, self.corpus.texts(places), self.corpus.common[language])
            for language, places in self.corpus.documents.items()
        )

    def _rows(self, rng: random.Random) -> Batch:
        length = _drawn(rng, self.options.rows)
        count = self.options.tokens // length
        ids = np.full((count, length), PAD, dtype=np.int64)
        targets: dict[int, int] = {}
        characters = 0
        for number in range(count):
            row, wanted = self.row(rng, length)
            ids[number, : len(row)] = row
            targets |= {number * length + place: token for place, token in wanted.items()}
            characters += int(self._characters[row].sum())
        places, labels = (np.fromiter(part, dtype=np.int64) for part in (targets.keys(), targets.values()))
        return Batch(ids, places, labels, self.options.row_loss, characters)

    def row(self, rng: random.Random, length: int) -> Row:
        """Return one row of at most ``length`` tokens."""
        best: Row = ([BOS, EOS], {1: EOS})  # where no text of the corpus is short enough
        for _ in range(_TRIES):
            if self.corpus.sources and rng.random() < self.options.source_share:
                definition, draw = self._source(rng)
            else:
                definition, draw = self._exercise(rng, length)
            examples = _some(draw, rng.randint(1, self.options.examples))
            while examples:
                row = self.encode(definition, examples)
                if len(row[0]) <= length:
                    break
                examples.pop()
            if examples and len(row[0]) > len(best[0]):
                best = row
            if len(best[0]) >= _FILLED * length:
                break
        return best

    def _source(self, rng: random.Random) -> tuple[str, Draw]:
        task: SourceTask = rng.choice(self.corpus.sources)
        shown = list(task.examples) if rng.random() < 0.5 else []
        rng.shuffle(shown)

        def draw() -> tuple[str, str]:
            return shown.pop() if shown else rng.choice(task.pairs)

        return task.definition, draw

    def _exercise(self, rng: random.Random, length: int) -> tuple[str, Draw]:
        texts = rng.choice(self._texts)
        exercise = rng.choices(EXERCISES, [e.weight for e in EXERCISES])[0]
        n = rng.choice(exercise.numbers)
        definition = exercise.definition(rng, n)
        if rng.random() < 0.15:
            definition += f" The text is in {texts.language}."
        # Characters of an example: most rows hold two or three examples, some one long one.
        largest = max(60, 3 * length // rng.choice((2, 3, 4, 6)))
        return definition, lambda: exercise.make(rng, texts, rng.randint(40, largest), n)

    def encode(self, definition: str, examples: list[tuple[str, str]]) -> Row:
        """Return a row in the plain layout."""
        ids = [BOS, *self._ids(f"{definition}\n\n")]
        targets: dict[int, int] = {}
        for source, target in examples[:-1]:
            opening = f"Input: {source}\nOutput:"
            encoding = self.corpus.tokenizer.encode(f"{opening} {target}\n\n", add_special_tokens=False)
            ends = len(opening) + 1 + len(target)
            within = [n for n, (start, _) in enumerate(encoding.offsets) if len(opening) <= start < ends]
            targets |= {len(ids) + n: encoding.ids[n] for n in within}
            targets[len(ids) + within[-1] + 1] = EOS
            ids += encoding.ids
        source, target = examples[-1]
        ids += [*self._ids("Input:"), *self._ids(f" {source}"), *self._ids("\nOutput:")]
        answer = [*self._ids(f" {target}"), EOS]
        targets |= dict(enumerate(answer, len(ids)))
        return ids + answer, targets

    def _ids(self, text: str) -> list[int]:
        return list(self.corpus.tokenizer.encode(text, add_special_tokens=False).ids)

    def _count(self, ids: Ids) -> int:
        return int(self._characters[ids].sum())


def _drawn(rng: random.Random, lengths: Sequence[Length]) -> int:
    return rng.choices(lengths, [length.share for length in lengths])[0].tokens


def _some(draw: Draw, wanted: int) -> list[tuple[str, str]]:
    """Return up to ``wanted`` examples that differ."""
    found: list[tuple[str, str]] = []
    for _ in range(3 * wanted):
        pair = draw()
        if pair and pair not in found and pair[0].strip() and pair[1].strip():
            found.append(pair)
        if len(found) == wanted:
            break
    return found
