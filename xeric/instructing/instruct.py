"""Searches the definition and demonstrations of a task for a base, and writes the task file with what was found.

Candidates are scored on the dev set alone. The test set is drawn first, so that nothing of it is shown or scored, and taken away:
the number that decides is chrF++ on dev, and what the found prompt is worth has to be measured by a run on the written task.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xeric.bases.base import Base
from xeric.config import digest
from xeric.data.catalog import Catalog
from xeric.data.controls import control_definitions, swapped_outputs
from xeric.data.importing import write_task
from xeric.data.preparing import Prepared, prepare
from xeric.data.tasks import Task, check_task_name
from xeric.encodings import existing
from xeric.errors import ConfigError, UserError
from xeric.instructing.candidates import Candidate
from xeric.instructing.journal import Journal
from xeric.instructing.options import InstructOptions
from xeric.instructing.outcome import Difference, InstructOutcome, ScoredPrompt, searched_task, shown_pairs
from xeric.instructing.proposer import Proposer
from xeric.instructing.scoring import Scorer, SearchData, chrf, search_data, without_test
from xeric.instructing.searching import Scored, Search
from xeric.instructing.writing import BaseWriter
from xeric.json_io import write_json
from xeric.metrics import PRIMARY, compare_predictions
from xeric.progress import Progress, Silent
from xeric.records import Prediction
from xeric.run.template import settled_prompt

__all__ = ["Searched", "check_output", "instruct", "journal_identity", "search_prepared"]


@dataclass(frozen=True)
class Searched:
    """What a search found, and the task's own prompt beside the chosen one."""

    outcome: InstructOutcome
    own: Candidate
    chosen: Candidate


def instruct(
    task: Task,
    base: Base,
    output: Path | None = None,
    options: InstructOptions | None = None,
    *,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> InstructOutcome:
    """Search the definition, the demonstrations, or both.

    Args:
        task: as read.
        base: open; it is used as it is, and unchanged afterwards.
        output: the task file to write; its scores go beside it (``NAME.search.json``), and while the search lasts what it has
            computed (``NAME.search.jsonl``), so that the same call goes on after an interruption. None writes nothing.
        options: what is searched, and the budget.
        progress: is told what happens.
        clock: seconds, for the time limit.

    Raises:
        UserError: ``output`` is there already or is no name of a task file, or the task has too few instances.
        RunError: the proposer cannot be reached, or does not answer as one.
    """
    options, progress = options or InstructOptions(), progress or Silent()
    if output is not None:
        check_output(output)
    prepared = prepare([task], options.data, options.prompt)
    journal_file = None if output is None else output.with_suffix(".search.jsonl")
    journal = Journal(journal_file, journal_identity(prepared, base, options))
    keeps = _Keeps(task, prepared, options)
    searched = search_prepared(prepared, base, options, journal, keeps=keeps, progress=progress, clock=clock)
    if output is not None:
        write_json(output.with_suffix(".search.json"), searched.outcome)
        write_task(replace(searched_task(task, searched.own, searched.chosen), name=output.stem), output)
        journal.remove()
    return searched.outcome


def journal_identity(prepared: Prepared, base: Base, options: InstructOptions) -> str:
    """Return the hash of what decides the results of a search: 16 hex digits; a larger budget goes on with the same results."""
    decided = options.model_dump(mode="json", exclude={"candidates", "seconds", "finalists", "batch_size"})
    return digest([decided, prepared.fingerprint, base.sha256, base.precision])[:16]


def search_prepared(
    prepared: Prepared,
    base: Base,
    options: InstructOptions,
    journal: Journal,
    *,
    keeps: Callable[[Candidate], bool] = lambda candidate: True,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> Searched:
    """Search the prompt of a task that is prepared; see :func:`instruct`. Nothing is written but the journal.

    Args:
        prepared: one task; its test set is taken away first.
        base: open; it is used as it is, and unchanged afterwards.
        options: what is searched, and the budget.
        journal: keeps what was computed.
        keeps: says whether the task is split as before with a candidate's demonstrations.
        progress: is told what happens.
        clock: seconds, for the time limit.
    """
    data = search_data(prepared)
    proposer = Proposer(options.proposer, options.proposer_model) if options.proposer else None
    prompt, remark = settled_prompt(options.prompt, base, without_test(prepared), as_it_is=True)
    notes = [*prepared.notes, remark]
    if data.split == "train":
        notes.append(f"{data.task.name}: there is no dev set; candidates are scored on {len(data.scored)} training instances")
    if journal.resumed:
        notes.append(f"the search goes on: {journal.resumed} results are there")
    for note in filter(None, notes):
        progress.note(note)
    try:
        scorer = Scorer(base, data, prompt, options.decode, options.batch_size, journal)
        writer = BaseWriter(base, "chat" if prompt.template == "chat" else "plain", options.seed, journal)
        search = Search(scorer, data, writer, proposer, options, journal, progress, clock)
        scored = search.run()
        decoding = _Decoding(scorer, _finalists(scored, search.own, options.finalists, keeps, progress), progress)
        controls = _controls(search.own, data, options)
        outcome = decoding.outcome(controls, search.own, len(scored), options, data, base.name, prompt.template)
        return Searched(outcome, search.own, decoding.best.candidate)
    finally:
        journal.save()


def check_output(output: Path) -> None:
    """Check that a task file can be written.

    Raises:
        UserError: something is there already, or the name is none of a task file.
    """
    if output.suffix != ".json":
        raise UserError("is not the name of a task file", where=str(output), hint="let it end in .json")
    check_task_name(output.stem)
    if existing(output).exists():
        raise UserError("is there already", where=str(output), hint="choose another name or folder")


class _Keeps:
    """Says whether a task with a candidate's demonstrations is split as before.

    A training instance that becomes a demonstration leaves the instances, and the test set is a share of these. It may lose
    instances; one more, which the search has seen, would be a leak.
    """

    def __init__(self, task: Task, prepared: Prepared, options: InstructOptions) -> None:
        self._task, self._options = task, options
        only = prepared.tasks[0]
        self._own = Candidate(only.task.definition, only.demonstrations)
        self._tested = frozenset(instance.key for instance in only.test)
        self._examples = set(only.task.positive_examples)

    def __call__(self, candidate: Candidate) -> bool:
        if self._examples.issuperset(candidate.demonstrations):
            return True
        changed = searched_task(self._task, self._own, candidate)
        try:
            test = prepare([changed], self._options.data, self._options.prompt).tasks[0].test
        except ConfigError:  # the instance that it shows is one of those that data.n_train asks for
            return False
        return all(instance.key in self._tested for instance in test)


def _finalists(
    scored: Sequence[Scored], own: Candidate, count: int, keeps: Callable[[Candidate], bool], progress: Progress
) -> list[Scored]:
    """Return the task's own prompt and the candidates of the lowest loss that leave the split as it is."""
    finalists = [entry for entry in scored if entry.candidate.key == own.key]
    for entry in scored:
        if len(finalists) > count:
            break
        if entry.candidate.key == own.key or math.isinf(entry.loss):
            continue
        if keeps(entry.candidate):
            finalists.append(entry)
        else:
            progress.note("a candidate is left out: with its demonstrations the task would be split otherwise")
    return finalists


class _Decoding:
    """Finalists, decoded."""

    def __init__(self, scorer: Scorer, finalists: Sequence[Scored], progress: Progress) -> None:
        self._scorer, self._progress = scorer, progress
        self.predictions: dict[str, list[Prediction]] = {}
        self._chrf: dict[str, float] = {}
        for number, entry in enumerate(finalists, 1):
            self._decode(entry.candidate, f"decode finalist {number} of {len(finalists)}")
        self.ranked = sorted(finalists, key=lambda e: (-self._chrf[e.candidate.key], e.loss, e.number))
        self.best = self.ranked[0]

    def _decode(self, candidate: Candidate, phase: str) -> ScoredPrompt:
        if candidate.key not in self.predictions:
            predictions = self._scorer.predictions(candidate, self._progress, phase)
            self.predictions[candidate.key], self._chrf[candidate.key] = predictions, chrf(predictions)
        loss = self._scorer.loss(candidate)
        return ScoredPrompt(
            origin=candidate.origin,
            definition=candidate.definition,
            demonstrations=shown_pairs(candidate.demonstrations),
            loss=None if math.isinf(loss) else loss,
            chrf=self._chrf[candidate.key],
        )

    def outcome(
        self,
        controls: Sequence[Candidate],
        own: Candidate,
        scored: int,
        options: InstructOptions,
        data: SearchData,
        base: str,
        template: str,
    ) -> InstructOutcome:
        """Return the result, controls decoded."""
        decoded = [self._decode(control, f"decode control {control.origin}") for control in controls]
        finalists = tuple(self._decode(entry.candidate, "") for entry in self.ranked)
        return InstructOutcome(
            task=data.task.name,
            base=base,
            template="chat" if template == "chat" else "plain",
            search=options.search,
            seed=options.seed,
            scored=scored,
            limit=options.candidates,
            proposer=options.proposer,
            instances=len(data.scored),
            split=data.split,
            chosen=finalists[0],
            own=self._decode(own, ""),
            finalists=finalists,
            controls=tuple(decoded),
            difference=self._difference(own),
        )

    def _difference(self, own: Candidate) -> Difference:
        if self.best.candidate.key == own.key:
            return Difference(value=0.0)
        pair = self.predictions[self.best.candidate.key], self.predictions[own.key]
        compared = compare_predictions(*pair, [PRIMARY]).metrics[PRIMARY]
        return Difference(value=compared.difference, low=compared.low, high=compared.high)


def _controls(own: Candidate, data: SearchData, options: InstructOptions) -> list[Candidate]:
    """Return the own prompt with no definition, another task's, and its words shuffled; and with outputs exchanged."""
    controls = [replace(own, definition="", origin="none")]
    if (other := _other_task(data.task, data.language)) is not None:
        definition = control_definitions([data.task, other], "other")[data.task.name]
        controls.append(replace(own, definition=definition, origin="other"))
    controls.append(replace(own, definition=control_definitions([data.task], "shuffled")[data.task.name], origin="shuffled"))
    if options.search != "definition" and len(own.demonstrations) > 1:
        controls.append(replace(own, demonstrations=tuple(swapped_outputs(own.demonstrations)), origin="swapped"))
    return controls


def _other_task(task: Task, language: str) -> Task | None:
    """Return a bundled task in a language; one in another language where there is none, and none where nothing is bundled."""
    catalog = Catalog.of(environment={})
    others = [catalog.load(name) for name in catalog.names() if name != task.name]
    others = [other for other in others if other.definition != task.definition]
    return next((other for other in others if other.language == language), others[0] if others else None)
