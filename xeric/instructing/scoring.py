"""What candidates are scored on, and how: by the likelihood of held-out references, and by chrF++ of decoded texts.

The test set is taken away before anything is scored (:func:`search_data`), so nothing here can read it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from xeric.bases.base import Base
from xeric.data.preparing import Prepared, PreparedTask
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import Prompt, build_prompt
from xeric.data.tasks import Example, Instance, Task
from xeric.decoding import DecodeOptions, decode, default_limit
from xeric.errors import DataError
from xeric.instructing.candidates import Candidate
from xeric.instructing.journal import Journal
from xeric.metrics import PRIMARY, score_predictions
from xeric.progress import Progress
from xeric.records import Prediction
from xeric.training.loss import dev_loss

__all__ = ["Scorer", "SearchData", "chrf", "search_data", "without_test"]


@dataclass(frozen=True)
class SearchData:
    """What a search may look at.

    Attributes:
        task: the cleaned task, without instances.
        language: its output language.
        demonstrations: what its prompts show.
        examples: that may be shown: its positive examples, then training instances.
        scored: what candidates are scored on.
        split: where these come from: ``dev``, or ``train`` where the task is too small for a dev set.
        keep_indentation: the form of the texts.
    """

    task: Task
    language: str
    demonstrations: tuple[Example, ...]
    examples: tuple[Example, ...]
    scored: tuple[Instance, ...]
    split: str
    keep_indentation: bool


def without_test(prepared: Prepared) -> Prepared:
    """Return prepared tasks without their test sets, the instances of the task that they came from included."""
    tasks = (replace(task, test=(), task=replace(task.task, instances=())) for task in prepared.tasks)
    return replace(prepared, tasks=tuple(tasks))


def search_data(prepared: Prepared) -> SearchData:
    """Return what a search for one prepared task may look at: training and dev instances, and no test instance.

    Without a dev set, every second training instance is scored and the others may be shown.

    Raises:
        DataError: nothing is left to score candidates on.
    """
    task: PreparedTask = without_test(prepared).tasks[0]
    scored, shown, split = task.dev, task.train, "dev"
    if not scored:
        scored, shown, split = task.train[::2], task.train[1::2], "train"
    if not scored:
        hint = "raise data.n_train, or add instances"
        raise DataError(f"no instance of task {task.name!r} is left to score candidates on", hint=hint)
    own = [(example.input, example.output) for example in task.task.positive_examples]
    further = [Example(i.input, i.outputs[0]) for i in shown if (i.input, i.outputs[0]) not in own]
    return SearchData(
        task=task.task,
        language=task.language,
        demonstrations=task.demonstrations,
        examples=(*dict.fromkeys([*task.task.positive_examples, *task.demonstrations, *further]),),
        scored=scored,
        split=split,
        keep_indentation=prepared.options.cleaning.keep_indentation,
    )


class Scorer:
    """Scores candidates on held-out instances.

    Args:
        base: open; it is used as it is.
        data: of the task.
        prompt: layout, its template settled.
        decoding: how texts are decoded.
        batch_size: rows computed at once.
        journal: keeps what was computed.

    Raises:
        DataError: the task's own definition leaves no room in the base's context.
    """

    def __init__(
        self, base: Base, data: SearchData, prompt: PromptOptions, decoding: DecodeOptions, batch_size: int, journal: Journal
    ) -> None:
        self._base, self._data, self._prompt, self._batch_size = base, data, prompt, batch_size
        self._journal = journal
        self._pairs = [
            (f"{instance.id}/{number}", instance.input, output)
            for instance in data.scored
            for number, output in enumerate(instance.outputs)
        ]
        own = self.layout(Candidate(data.task.definition, data.demonstrations))
        rows = self._base.encoder(data.task.name).training_rows(own, self._pairs).rows
        # Every candidate is scored on the same references: those that fit beside the task's own definition.
        fitting = {row.id for row in rows}
        self._pairs = [pair for pair in self._pairs if pair[0] in fitting]
        if not self._pairs:
            raise DataError(f"no reference of task {data.task.name!r} fits the base's context", hint="take another base")
        lengths = [row.target_tokens for row in rows]
        self.limit = decoding.max_new_tokens or default_limit(lengths, base.context)
        stop = own.stop if decoding.stop is None else decoding.stop
        self._decoding = decoding.model_copy(update={"stop": stop, "max_new_tokens": self.limit})

    def layout(self, candidate: Candidate) -> Prompt:
        """Return the layout of a candidate's rows."""
        base, task = self._base, replace(self._data.task, definition=candidate.definition)
        render = base.render_chat if base.has_chat_template else None
        indented = self._data.keep_indentation
        return build_prompt(task, candidate.demonstrations, self._prompt, render_chat=render, keep_indentation=indented)

    def loss(self, candidate: Candidate) -> float:
        """Return - log P of the references in nats per token; infinity where the candidate leaves them no room."""
        return self._journal.get(["loss", candidate.key], lambda: self._loss(candidate))

    def _loss(self, candidate: Candidate) -> float:
        try:
            encoded = self._base.encoder(self._data.task.name).training_rows(self.layout(candidate), self._pairs)
        except DataError:
            return math.inf
        if len(encoded.rows) < len(self._pairs):
            return math.inf
        loss = dev_loss(self._base, [encoded], batch_size=self._batch_size)
        return loss if math.isfinite(loss) else math.inf

    def predictions(self, candidate: Candidate, progress: Progress, phase: str) -> list[Prediction]:
        """Return the text decoded for each held-out instance; empty texts where the candidate leaves no room.

        Args:
            candidate: to decode with.
            progress: is told how it proceeds.
            phase: what it is told.
        """
        progress.start(phase, len(self._data.scored))
        texts = self._journal.get(["texts", candidate.key], lambda: self._texts(candidate, progress))
        name, language = self._data.task.name, self._data.language
        return [
            Prediction(
                id=i.id,
                task=name,
                language=language,
                input=i.input,
                prediction=text,
                references=i.outputs,
                group=i.group,
            )
            for i, text in zip(self._data.scored, texts, strict=True)
        ]

    def _texts(self, candidate: Candidate, progress: Progress) -> list[str]:
        inputs = [(instance.id, instance.input) for instance in self._data.scored]
        try:
            encoded = self._base.encoder(self._data.task.name).decoding_rows(self.layout(candidate), inputs, self.limit)
        except DataError:
            return [""] * len(inputs)
        return decode(self._base, encoded, self._decoding, max_new_tokens=self.limit, progress=progress.advance)


def chrf(predictions: list[Prediction]) -> float:
    """Return the chrF++ of predictions."""
    return score_predictions(predictions, [PRIMARY], resamples=0).scores[PRIMARY].score
