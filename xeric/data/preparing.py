"""From tasks to what a run uses: cleaned, split, leaks taken out, demonstrations chosen, all of it counted and fingerprinted.

The order matters. Leaks are looked for in everything that might be trained on (the whole pool of every task and every
demonstration) before anything is chosen from it, so that an instance that moves up into the place of a leak is itself
clean.
"""

from __future__ import annotations

import functools
import hashlib
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xeric.config import digest
from xeric.data.cleaning import Cleaned, CleaningOptions, clean
from xeric.data.controls import control_definitions, control_pictures, swapped_outputs
from xeric.data.demonstrations import choose_demonstrations, retrievable_examples
from xeric.data.leaks import LeakReport, find_leaks
from xeric.data.prompt_options import PromptOptions
from xeric.data.shingles import fold
from xeric.data.splits import SplitOptions, SplitTask, draw_output, fingerprint, split
from xeric.data.tasks import Example, Instance, Task
from xeric.data.text_form import one_form
from xeric.errors import ConfigError, DataError
from xeric.progress import Progress, Silent
from xeric.text import words

__all__ = ["DataOptions", "Prepared", "PreparedTask", "TargetLength", "input_digest", "prepare"]

_AS_LONG = 0.8


class DataOptions(SplitOptions):
    """What is done to the tasks before anything is trained (``data.*``); the split's own options stand beside these.

    Attributes:
        group_column: key of the instances whose equal values stay on one side of the split (customer, thread, author).
        leak_check: look for test outputs in anything trained on and take those training instances out.
        cleaning: what counts as noise.
    """

    group_column: str = "group"
    leak_check: bool = True
    cleaning: CleaningOptions = CleaningOptions()


@dataclass(frozen=True)
class TargetLength:
    """How long the training targets of a task are, in words of :func:`xeric.text.words`: graphemes in scripts without spaces.

    Attributes:
        words: mean over all references of the training instances, dev included, rounded, at least 1. The mean and not the median:
            corpus scores add up what stands in all rows, so texts of the mean length are as long as the references *together*.
        ratio: median over the instances of target to input length.
    """

    words: int
    ratio: float

    @property
    def as_input(self) -> bool:
        """Whether targets are about as long as inputs, or longer: the median ratio is 0.8 or more."""
        return self.ratio >= _AS_LONG


@dataclass(frozen=True)
class PreparedTask:
    """One task, ready for a run.

    Attributes:
        task: the cleaned task, without the demonstrations that leak.
        language: its output language.
        train: what is trained on; instances shown as demonstrations are not among them.
        dev: what selects.
        test: what is scored.
        demonstrations: what every prompt of the task shows; none where each row has its own.
        retrievable: what demonstrations are chosen from where each row has its own.
        counts: read, dropped by reason, sizes, leaks: for the record.
        notes: what the user should know.
        fingerprint: SHA-256 of all texts above.
    """

    task: Task
    language: str
    train: tuple[Instance, ...]
    dev: tuple[Instance, ...]
    test: tuple[Instance, ...]
    demonstrations: tuple[Example, ...]
    counts: dict[str, Any]
    notes: tuple[str, ...]
    fingerprint: str
    retrievable: tuple[Example, ...] = ()

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    @functools.cached_property
    def target_length(self) -> TargetLength | None:
        """How long the training targets are; None where nothing is trained on."""
        lengths = [[len(words(output)) for output in i.outputs] for i in (*self.train, *self.dev)]
        inputs = [max(len(words(i.input)), 1) for i in (*self.train, *self.dev)]
        if not lengths:
            return None
        mean = statistics.fmean(length for references in lengths for length in references)
        ratios = [statistics.fmean(references) / input_length for references, input_length in zip(lengths, inputs, strict=True)]
        return TargetLength(max(round(mean), 1), statistics.median(ratios))

    def training_output(self, instance: Instance, seed: int) -> str:
        """Return the reference that is trained on, drawn by seed where there are several."""
        return draw_output(instance, seed)


@dataclass(frozen=True)
class Prepared:
    """Everything a run uses of its tasks.

    Attributes:
        tasks: in the order asked for.
        leaks: what the leak check found; see :meth:`LeakReport.summary`.
        fingerprint: SHA-256 of what is really used.
        options: how it was cleaned and split.
        prompt: how the demonstrations were chosen.
    """

    tasks: tuple[PreparedTask, ...]
    leaks: dict[str, Any]
    fingerprint: str
    options: DataOptions
    prompt: PromptOptions

    @property
    def definitions(self) -> dict[str, str]:
        """Definitions of the tasks, by name."""
        return {task.name: task.task.definition for task in self.tasks}

    @property
    def notes(self) -> list[str]:
        """What the user should know, task by task."""
        return [f"{task.name}: {note}" for task in self.tasks for note in task.notes]


def prepare(
    tasks: Sequence[Task],
    options: DataOptions | None = None,
    prompt: PromptOptions | None = None,
    *,
    protect: Mapping[str, Sequence[Instance]] | None = None,
    trained_on: Collection[str] = (),
    progress: Progress | None = None,
) -> Prepared:
    """Clean and split tasks, take out leaks between any two of them, and choose their demonstrations.

    Args:
        tasks: with different names.
        options: how to clean and split; None for the defaults.
        prompt: how many demonstrations, and their seed.
        protect: test sets of other tasks, by name, that these tasks must not give away; None protects their own.
        trained_on: hashes (:func:`input_digest`) of inputs that an earlier training has seen: instances with such an input, and
            those like them, are not tested.
        progress: is told of each task.

    Raises:
        ConfigError: a task is named twice or is among those to protect, or there are not enough instances or demonstrations.
        DataError: a task has too few instances, or no single output language.
    """
    options, prompt = options or DataOptions(), prompt or PromptOptions()
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ConfigError(f"names {next(n for n in names if names.count(n) > 1)!r} twice", where="tasks")
    if both := sorted(set(names) & set(protect or {})):
        raise ConfigError(f"names {both[0]!r}, which is scored", where="stages", hint="train a stage on other tasks")
    _check_groups(tasks, options)
    languages = {task.name: task.language for task in tasks}
    cleaned_tasks: list[Cleaned] = []
    splits: list[SplitTask] = []
    progress = progress or Silent()
    progress.start("tasks cleaned", len(tasks))
    for task in tasks:
        cleaned_tasks.append(_with_seen(clean(task, options.cleaning), trained_on))
        splits.append(split(cleaned_tasks[-1], options))
        progress.advance(1)
    report = _leaks(splits, protect) if options.leak_check else None
    definitions = _other_definitions([cleaned.task for cleaned in cleaned_tasks], options, prompt)
    cleaned_tasks = [
        replace(cleaned, task=replace(cleaned.task, definition=definitions.get(cleaned.task.name, cleaned.task.definition)))
        for cleaned in cleaned_tasks
    ]
    ready = tuple(
        _prepare_task(cleaned, parts, report, prompt, languages[cleaned.task.name])
        for cleaned, parts in zip(cleaned_tasks, splits, strict=True)
    )
    leaks = report.summary() if report else {"checked": False}
    return Prepared(ready, leaks, digest([task.fingerprint for task in ready]), options, prompt)


def _check_groups(tasks: Sequence[Task], options: DataOptions) -> None:
    """Refuse groups by a key that no instance has: what belongs together would silently stand on both sides of the split."""
    usual = DataOptions.model_fields["group_column"].default
    if options.group_column != usual and not any(instance.group for task in tasks for instance in task.instances):
        raise ConfigError(
            f"no instance has the key {options.group_column!r}",
            where="data.group_column",
            hint=f"files of `xeric tasks import` and `xeric instruct` hold groups under {usual!r}: leave the setting out",
        )


def _other_definitions(tasks: Sequence[Task], options: DataOptions, prompt: PromptOptions) -> dict[str, str]:
    """Return what stands in the place of tasks' own definitions, by task: what the user gave, or a control."""
    if isinstance(prompt.definition, str):
        return control_definitions(tasks, prompt.definition)
    names = [task.name for task in tasks]
    if unknown := next((name for name in prompt.definitions if name not in names), None):
        what = f"names {unknown!r}, which is none of the tasks"
        raise ConfigError(what, where="prompt.definitions", hint=f"they are {', '.join(map(repr, names))}")
    indented = options.cleaning.keep_indentation
    return {task: one_form(text, keep_indentation=indented) for task, text in prompt.definitions.items()}


def input_digest(text: str) -> str:
    """Return a hash of an input that tells inputs apart by their words alone: 16 hex digits."""
    return hashlib.sha256("\n".join(fold(text)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _with_seen(cleaned: Cleaned, trained_on: Collection[str]) -> Cleaned:
    """Put what an earlier training has seen, and what is like it, on the training side."""
    if not trained_on:
        return cleaned
    instances = cleaned.task.instances
    seen = [input_digest(instance.input) in trained_on for instance in instances]
    if not any(seen):
        return cleaned
    clusters = frozenset(cluster for cluster, is_seen in zip(cleaned.clusters, seen, strict=True) if is_seen)
    if all(cluster in cleaned.pinned | clusters for cluster in cleaned.clusters):
        what = f"the run that this one goes on from was trained on all {len(instances)} instances: none can be held out"
        raise DataError(what, where=cleaned.task.name, hint="add instances that it has not seen")
    note = f"{sum(seen)} instances were trained on by the run that this one goes on from, and are not tested"
    return replace(cleaned, seen=clusters, notes=(*cleaned.notes, note))


def _leaks(splits: Sequence[SplitTask], protect: Mapping[str, Sequence[Instance]] | None) -> LeakReport:
    return find_leaks(
        {parts.task.name: parts.test for parts in splits} if protect is None else protect,
        {parts.task.name: parts.pool for parts in splits},
        {parts.task.name: parts.task.positive_examples for parts in splits},
    )


def _prepare_task(
    cleaned: Cleaned, parts: SplitTask, report: LeakReport | None, prompt: PromptOptions, language: str
) -> PreparedTask:
    task, notes = cleaned.task, list(cleaned.notes)
    if report is not None:
        before = parts.n_train
        parts = parts.without(report.instances(task.name))
        if parts.removed:
            notes.append(f"{len(parts.removed)} instances give away test outputs and are not trained on")
        if parts.n_train < before:
            notes.append(f"{parts.n_train} training instances are left of {before} asked for")
        hidden = report.demonstrations(task.name)
        examples = tuple(e for position, e in enumerate(task.positive_examples) if position not in hidden)
        if hidden:
            notes.append(f"{len(hidden)} positive examples give away test outputs and are not shown")
        task = replace(task, positive_examples=examples)
    count, retrievable = prompt.demonstration_count, retrievable_examples(task, parts.train) if prompt.retrieves else ()
    # Chosen in either case: that there are enough is checked there.
    shown, used = choose_demonstrations(task, parts.train, count, prompt.demonstration_seed)
    if prompt.retrieves:
        shown, used = [], []
    if prompt.demonstration_outputs == "swapped":
        shown = swapped_outputs(shown)
    train = tuple(instance for instance in parts.train if instance.id not in used)
    dev, test = parts.dev, parts.test
    if prompt.pictures != "own":
        train, dev, test = (control_pictures(side, prompt.pictures, prompt.picture_seed) for side in (train, dev, test))
    if used:
        notes.append(f"{len(used)} training instances serve as demonstrations")
    counts = {
        "instances": len(cleaned.instances) + sum(cleaned.drops.values()) + cleaned.merged,
        "drops": cleaned.drops,
        "merged": cleaned.merged,
        "dropped_references": cleaned.dropped_references,
        "clusters": len(set(cleaned.clusters)),
        **parts.counts,
        "train": len(train),
        "demonstrations": count,
    }
    # What may be retrieved beside the positive examples is what is trained on.
    used_texts = fingerprint(task, task.positive_examples if retrievable else shown, train, dev, test)
    return PreparedTask(task, language, train, dev, test, tuple(shown), counts, tuple(notes), used_texts, retrievable)
