"""The search: candidates are made, scored by the likelihood of references, and the best ones edited again.

It begins with the task's own definition, those that the base guesses from examples, and those that a proposer writes. Then, round
by round, edits of the best candidates so far are scored (a beam search over edits, as GrIPS does), until the budget is used or no
new candidate turns up. Everything that is drawn depends on the seed alone.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from xeric.config import digest
from xeric.data.tasks import Example
from xeric.instructing import candidates as edits
from xeric.instructing.candidates import Candidate, Origin
from xeric.instructing.journal import Journal
from xeric.instructing.options import InstructOptions
from xeric.instructing.proposer import Proposer
from xeric.instructing.scoring import Scorer, SearchData
from xeric.instructing.writing import BaseWriter
from xeric.progress import Progress

__all__ = ["Scored", "Search"]

_BEAM = 4
"""Candidates whose edits are tried next."""

_ROUND = 8
"""Edits between two looks at which candidates are the best."""

_FRUITLESS = 64
"""Edits in a row that give nothing new, after which the search ends."""

_PARAPHRASES = 4
"""Paraphrases of a sentence that the base writes at once."""

_INDUCTIONS, _PROPOSALS = 8, 8
"""Instructions guessed by the base, and asked of a proposer at once."""

_GROUP = 5
"""Examples shown for an induction or a proposal."""

_SHARE = 0.5
"""Of the budget that the candidates of the beginning may take."""


@dataclass(frozen=True)
class Scored:
    """A candidate with its loss in nats per token, and its number in the order of scoring."""

    candidate: Candidate
    loss: float
    number: int


class Search:
    """A search for one task and base.

    Args:
        scorer: of candidates.
        data: what may be shown.
        writer: writes paraphrases and inductions.
        proposer: writes proposals; None for none.
        options: what is searched, and the budget.
        journal: keeps what proposers answered.
        progress: is told what happens.
        clock: seconds, for the time limit.
    """

    def __init__(
        self,
        scorer: Scorer,
        data: SearchData,
        writer: BaseWriter,
        proposer: Proposer | None,
        options: InstructOptions,
        journal: Journal,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scorer, self._data, self._writer, self._proposer = scorer, data, writer, proposer
        self._options, self._journal, self._progress = options, journal, progress
        self._source = random.Random(digest(["instruction search", options.seed]))
        self._scored: dict[str, Scored] = {}
        self._deleted: list[str] = []
        self._paraphrases: dict[str, tuple[list[str], int]] = {}
        self._clock = clock
        self._end = math.inf if options.seconds is None else clock() + options.seconds
        self.own = Candidate(data.task.definition, data.demonstrations)

    def run(self) -> list[Scored]:
        """Return every scored candidate, the best first."""
        self._progress.start("score candidates", self._options.candidates)
        self._score(self.own)
        if self._options.search != "demonstrations":
            limit = max(round(_SHARE * self._options.candidates), 2)
            for candidate in self._first():
                if self._spent or len(self._scored) >= limit:
                    break
                self._score(candidate)
        fruitless = number = 0
        while not self._spent and fruitless < _FRUITLESS:
            if number % _ROUND == 0:
                parents = self.best(_BEAM)
                self._journal.save()
            number += 1
            edited = self._edited(self._source.choice(parents).candidate)
            fruitless = 0 if self._score(edited) else fruitless + 1
        self._journal.save()
        return self.best(len(self._scored))

    def best(self, count: int) -> list[Scored]:
        """Return the candidates of the lowest loss so far, the earlier of two alike first."""
        return sorted(self._scored.values(), key=lambda scored: (scored.loss, scored.number))[:count]

    @property
    def _spent(self) -> bool:
        return len(self._scored) >= self._options.candidates or self._clock() >= self._end

    def _score(self, candidate: Candidate) -> bool:
        """Score a candidate and return true; false for an empty one, and one that was scored before."""
        if not candidate.definition or candidate.key in self._scored:
            return False
        self._scored[candidate.key] = Scored(candidate, self._scorer.loss(candidate), len(self._scored))
        self._progress.advance(1, self.best(1)[0].loss)
        return True

    def _first(self) -> Iterator[Candidate]:
        """Yield the candidates that the search begins with beside the task's own."""
        groups = [self._examples() for _ in range(_INDUCTIONS)]
        if self._proposer is not None:
            tried = [(self.own.definition, self._scored[self.own.key].loss)]
            yield from self._proposed(groups[0], tried)
        for text in self._writer.instructions(groups):
            yield self._with(text, "induction")
        if self._proposer is not None:
            tried = [(scored.candidate.definition, scored.loss) for scored in self.best(_BEAM)]
            yield from self._proposed(groups[1], tried)

    def _proposed(self, examples: list[Example], tried: list[tuple[str, float]]) -> Iterator[Candidate]:
        proposer, seed = self._proposer, self._options.seed
        assert proposer is not None
        asked = ["proposal", [[e.input, e.output] for e in examples], [text for text, _ in tried], seed]
        texts = self._journal.get(asked, lambda: proposer.proposals(examples, tried, _PROPOSALS, seed))
        if not texts:
            self._progress.note("the proposer's answer holds no definition")
        for text in texts:
            yield self._with(text, "proposal")

    def _with(self, text: str, origin: Origin) -> Candidate:
        return replace(self.own, definition=text, origin=origin)

    def _examples(self) -> list[Example]:
        pool = list(self._data.examples)
        return self._source.sample(pool, min(_GROUP, len(pool)))

    def _edited(self, candidate: Candidate) -> Candidate:
        """Return a candidate with one edit or two, which may change nothing."""
        kinds: list[Origin] = [] if self._options.search == "demonstrations" else ["delete", "swap", "add", "paraphrase"]
        kinds += [] if self._options.search == "definition" else ["order", "exchange"]
        for _ in range(self._source.choice((1, 1, 2))):
            candidate = self._edit(candidate, self._source.choice(kinds))
        return candidate

    def _edit(self, candidate: Candidate, kind: Origin) -> Candidate:
        if kind == "order":
            return edits.reordered(candidate, self._source)
        if kind == "exchange":
            return edits.exchanged(candidate, self._data.examples, self._source)
        parts, text = edits.phrases(candidate.definition), candidate.definition
        if kind == "delete" and len(parts) > 1:
            text, phrase = edits.deleted(parts, self._source)
            if phrase not in self._deleted:
                self._deleted.append(phrase)
        elif kind == "swap":
            text = edits.swapped(parts, self._source)
        elif kind == "add" and self._deleted:
            text = edits.added(parts, self._source.choice(self._deleted), self._source)
        elif kind == "paraphrase":
            text = self._paraphrased(candidate.definition)
        return replace(candidate, definition=text, origin=kind)

    def _paraphrased(self, text: str) -> str:
        """Return a text with one of its sentences, or (as often as a sentence) all of it, in other words."""
        parts = edits.sentences(text)
        number = self._source.randrange(len(parts) + (len(parts) > 1))
        if number == len(parts):
            parts, number = [text], 0
        sentence = parts[number].strip()
        written, turn = self._paraphrases.get(sentence, ([], 0))
        if not written:
            written, turn = self._writer.paraphrases(sentence, _PARAPHRASES, turn), turn + 1
        self._paraphrases[sentence] = written[1:], turn
        return edits.replaced(parts, number, written[0]) if written else text
