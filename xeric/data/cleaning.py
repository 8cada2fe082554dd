"""Clean a task: bring every text to one form, drop noise and duplicates, and count every drop under its reason.

1. *One form*: see :mod:`xeric.data.text_form`.
2. *Noise*, by the named rules of :class:`CleaningOptions`. A reference that breaks a rule is taken out; its instance goes when no
   reference is left. A rule of form (``FORM_RULES``) that would take more than ``max_noise_share`` of a task has met the task's
   own form (a sentence without names *is* the right answer of a tagging task), so it is set aside and a note says so.
3. *Duplicates* are dropped or merged, and what is alike gets a common cluster number: see :mod:`xeric.data.duplicates`.

What is kept depends on content alone, not on the order of the file.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from xeric.config import Config
from xeric.data import noise
from xeric.data.duplicates import MERGED, deduplicate
from xeric.data.noise import Judge, without_faulty_references
from xeric.data.tasks import Example, Instance, Task
from xeric.data.text_form import one_form

__all__ = ["FORM_RULES", "Cleaned", "CleaningOptions", "Dropped", "clean"]

FORM_RULES = ("empty_input", "markup", "output_equals_input", "length_outlier")
"""Rules that a task's own form can look like; set aside where they would take too much of a task."""


class CleaningOptions(Config):
    """What counts as noise: a switch for each rule, then how strict the rules are.

    Attributes:
        empty_input: drop instances without input; a picture is one.
        empty_output: drop instances without a non-empty reference.
        broken_encoding: replacement characters, C1 controls, UTF-8 read as Latin-1 ("cafÃ©"), in input or output.
        markup: left-over HTML tags and entities, but not ``a < b``, in input or output.
        output_equals_input: every reference repeats the input.
        wrong_script: fewer than ``min_script_share`` of a reference's letters belong to the declared output language.
        mismatched_output: a long output that stands under several inputs and comes from one of them (80% of its words) cannot be
            right under one that has under 30%; where a twentieth of a task is such, so is every output under 30%.
        length_outlier: length far from the task's median on a logarithmic scale; never short answers in a short-answer task.
        exact_duplicate: the same input and outputs, case aside.
        same_input: merge instances of one input into one with several references.
        near_duplicate: input and output each alike at ``near_duplicate_similarity``; see :mod:`xeric.data.duplicates`.
        max_noise_share: a rule of form that would take more than this share of a task is set aside; 1 applies it anyway.
        min_script_share: between 0 and 1.
        min_letters: references with fewer letters are not judged by script.
        length_spread: how many robust standard deviations from the median are still no outlier.
        near_duplicate_similarity: of windows and of word sequences, from which the second of two instances is dropped.
        cluster_similarity: Jaccard similarity from which two instances stay on one side of a split.
        max_cluster_share: a cluster that chains more than this share of a task together is taken apart at a higher similarity.
        keep_indentation: keep blanks at the start of a line (program code).
    """

    empty_input: bool = True
    empty_output: bool = True
    broken_encoding: bool = True
    markup: bool = True
    output_equals_input: bool = True
    wrong_script: bool = True
    mismatched_output: bool = True
    length_outlier: bool = True
    exact_duplicate: bool = True
    same_input: bool = True
    near_duplicate: bool = True
    max_noise_share: float = Field(default=0.1, ge=0, le=1)
    min_script_share: float = Field(default=0.5, ge=0, le=1)
    min_letters: int = Field(default=10, ge=1, le=1_000_000)
    length_spread: float = Field(default=6.0, gt=0, le=1e6)
    near_duplicate_similarity: float = Field(default=0.9, ge=0.5, le=1)
    cluster_similarity: float = Field(default=0.7, ge=0.5, le=1)
    max_cluster_share: float = Field(default=0.5, gt=0, le=1)
    keep_indentation: bool = False


@dataclass(frozen=True)
class Dropped:
    """One instance that is not used, why, and what was seen."""

    id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Cleaned:
    """A task after cleaning.

    Attributes:
        task: every text in one form, and only the instances kept, in the order of the file.
        clusters: for each kept instance, the number of its cluster.
        pinned: clusters like a demonstration, which is text that is trained on: they belong to the training side.
        seen: clusters that an earlier training has seen: they belong to the training side, too, and select only where nothing
            else is left to.
        drops: number of instances dropped, by reason.
        dropped: those instances, in the order of the file.
        merged: number of instances whose outputs live on as references of another of the same input.
        dropped_references: number of references taken out of instances that were kept, by reason.
        notes: sentences for the user: rules set aside, rules that could not be applied.
    """

    task: Task
    clusters: tuple[int, ...]
    pinned: frozenset[int]
    drops: dict[str, int]
    dropped: tuple[Dropped, ...]
    merged: int
    dropped_references: dict[str, int]
    notes: tuple[str, ...]
    seen: frozenset[int] = frozenset()

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances kept, in the order of the file."""
        return self.task.instances


def clean(task: Task, options: CleaningOptions | None = None) -> Cleaned:
    """Return a task in one form, without noise and duplicates, and the clusters of what is alike.

    Every instance of ``task`` is afterwards kept, merged into another, or in ``dropped`` under one reason.

    Args:
        task: the task as read.
        options: what counts as noise; None for the defaults.
    """
    options = options or CleaningOptions()
    # Looked for before the form is given, which takes away soft hyphens and no-break spaces: "mÃ\u00ada" is "mía".
    broken = noise.broken_texts(task.instances, options.keep_indentation) if options.broken_encoding else {}
    task = _formed(task, options.keep_indentation)
    notes = list(task.notes)
    dropped: dict[str, Dropped] = {}
    references: Counter[str] = Counter()
    distinct = deduplicate(
        _denoise(task, broken, options, dropped, references, notes),
        task.positive_examples,
        exact=options.exact_duplicate,
        merge=options.same_input,
        near=options.near_duplicate_similarity if options.near_duplicate else None,
        similarity=options.cluster_similarity,
        max_share=options.max_cluster_share,
        common_share=options.max_noise_share,
    )
    dropped.update((id_, Dropped(id_, reason, detail)) for id_, (reason, detail) in distinct.repeats.items() if reason != MERGED)
    kept = {instance.id: (instance, label) for instance, label in zip(distinct.instances, distinct.labels, strict=True)}
    order = [i.id for i in task.instances if i.id in kept]
    return Cleaned(
        task=replace(task, instances=tuple(kept[id_][0] for id_ in order)),
        clusters=tuple(kept[id_][1] for id_ in order),
        pinned=distinct.pinned,
        drops=dict(sorted(Counter(drop.reason for drop in dropped.values()).items())),
        dropped=tuple(dropped[i.id] for i in task.instances if i.id in dropped),
        merged=sum(reason == MERGED for reason, _ in distinct.repeats.values()),
        dropped_references={reason: count for reason, count in sorted(references.items()) if count},
        notes=(*notes, *distinct.notes),
    )


def _denoise(
    task: Task,
    broken: dict[str, str],
    options: CleaningOptions,
    dropped: dict[str, Dropped],
    references: Counter[str],
    notes: list[str],
) -> list[Instance]:
    kept = list(task.instances)
    for reason, judge in _rules(task, broken, options, notes):
        verdicts = judge(kept)
        faults = sum(isinstance(verdict, str) for verdict in verdicts)
        if reason in FORM_RULES and faults > options.max_noise_share * len(task.instances):
            notes.append(f"{reason} would drop {faults} of {len(task.instances)} instances: taken as the task's own form")
            continue
        if faults > options.max_noise_share * len(task.instances):
            notes.append(f"{reason} drops {faults} of {len(task.instances)} instances: look at the source")
        for before, after in zip(kept, verdicts, strict=True):
            if isinstance(after, str):
                dropped[before.id] = Dropped(before.id, reason, after)
            else:
                references[reason] += len(before.outputs) - len(after.outputs)
        kept = [verdict for verdict in verdicts if not isinstance(verdict, str)]
    return kept


def _formed(task: Task, keep_indentation: bool) -> Task:
    def form(text: str) -> str:
        return one_form(text, keep_indentation=keep_indentation)

    def formed(examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(Example(form(e.input), form(e.output), form(e.explanation)) for e in examples)

    return replace(
        task,
        definition=form(task.definition),
        positive_examples=formed(task.positive_examples),
        negative_examples=formed(task.negative_examples),
        instances=tuple(
            replace(
                i,
                input=form(i.input),
                outputs=tuple(dict.fromkeys(map(form, i.outputs))),
                group=one_form(i.group or "") or None,
            )
            for i in task.instances
        ),
    )


def _rules(task: Task, broken: dict[str, str], options: CleaningOptions, notes: list[str]) -> Iterator[tuple[str, Judge]]:
    """Yield the rules that are switched on, each with a function from instances to what becomes of them."""
    if options.empty_input:
        yield "empty_input", lambda kept: [i if i.input or i.picture else "no input" for i in kept]
    if options.empty_output:
        yield (
            "empty_output",
            lambda kept: [without_faulty_references(i, lambda text: None if text else "no output") for i in kept],
        )
    if options.broken_encoding:
        yield "broken_encoding", lambda kept: [without_faulty_references(i, broken.get, broken.get) for i in kept]
    if options.markup:
        yield "markup", lambda kept: [without_faulty_references(i, noise.markup, noise.markup) for i in kept]
    if options.output_equals_input:
        yield "output_equals_input", lambda kept: [noise.copied_input(i) or i for i in kept]
    scripts = noise.output_scripts(task.output_languages, notes) if options.wrong_script else set()
    if scripts:
        foreign = functools.partial(
            noise.foreign_script, scripts=scripts, share=options.min_script_share, letters=options.min_letters
        )
        yield "wrong_script", lambda kept: [without_faulty_references(i, foreign) for i in kept]
    if options.mismatched_output:
        yield "mismatched_output", noise.mismatched_outputs
    if options.length_outlier:
        yield "length_outlier", lambda kept: noise.length_outliers(kept, options.length_spread)
