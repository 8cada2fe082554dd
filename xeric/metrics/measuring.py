"""Predictions counted once: every metric's statistics, by task and language.

A group's language decides how it is tokenised, so groups are scored apart: BLEU of two tokenizers is never pooled. A task's score
is the mean over its languages, weighted by their rows (nearly always there is one); the overall score is the plain mean over
tasks. Who compares many systems measures each once and compares what was measured.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xeric.config import digest
from xeric.errors import DataError, UnknownNameError, UserError
from xeric.languages import language_or_unknown
from xeric.metrics import METRICS
from xeric.metrics.base import Batch, Metric, Signature, Statistics
from xeric.records import Prediction
from xeric.statistics.arrays import FloatArray
from xeric.statistics.estimates import VarianceComponent, of_instances
from xeric.statistics.resampling import Sample
from xeric.text import NormalForm

__all__ = ["Group", "Measured", "grouped_alike", "measure"]


@dataclass(frozen=True, eq=False)
class Group:
    """What each metric counted on the rows of one task and language, in the order of their ids.

    Attributes:
        task: name of the task.
        language: ISO code.
        weight: share of the task's rows that are here.
        ids: of its rows.
        statistics: by metric.
        owners: what each row belongs to, as a number from 0 on; empty where each is by itself.
    """

    task: str
    language: str
    weight: float
    ids: tuple[str, ...]
    statistics: Mapping[str, Statistics]
    owners: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def units(self) -> int:
        """How many there are of what intervals and tests draw: rows, those of one owner together."""
        return max(self.owners) + 1 if self.owners else len(self)

    def drawn(self, rows: FloatArray) -> FloatArray:
        """Return the sums of rows that are drawn together, ``[rows, columns]`` -> ``[units, columns]``."""
        if not self.owners:
            return rows
        sums = np.zeros((self.units, rows.shape[1]))
        np.add.at(sums, np.array(self.owners), rows)
        return sums


@dataclass(frozen=True, eq=False)
class Measured:
    """One system's predictions, counted; scores, intervals and tests need nothing else.

    Attributes:
        metrics: by name.
        groups: by task and language, in this order.
        rows: what each row must share with another system's, by task and id: ISO code, and SHA-256 of the sorted references.
    """

    metrics: Mapping[str, Metric]
    groups: tuple[Group, ...]
    rows: Mapping[tuple[str, str], tuple[str, str]]

    @property
    def resampled(self) -> list[str]:
        """Names of the metrics that have intervals and tests, in the order of the scores in :meth:`samples`."""
        return [name for name, metric in self.metrics.items() if metric.resampled and any(self.weights(name))]

    @property
    def varied(self) -> bool:
        """Whether every task has rows that can be drawn in more than one way, without which there is no interval."""
        return {group.task for group in self.groups if group.units > 1} == {group.task for group in self.groups}

    def only(self, names: Sequence[str]) -> Measured:
        """Return the same with some of its metrics.

        Raises:
            UnknownNameError: one of them was not measured.
        """
        for name in names:
            if name not in self.metrics:
                raise UnknownNameError("measured metric", name, self.metrics)
        return replace(self, metrics={name: self.metrics[name] for name in names})

    def by_task(self) -> dict[str, Measured]:
        """Return each task by itself."""
        tasks = dict.fromkeys(group.task for group in self.groups)
        return {
            task: replace(
                self,
                groups=tuple(group for group in self.groups if group.task == task),
                rows={key: row for key, row in self.rows.items() if key[0] == task},
            )
            for task in tasks
        }

    @staticmethod
    def joined(parts: Sequence[Measured]) -> Measured:
        """Return several tasks, each measured by itself with the same metrics, as one.

        Raises:
            DataError: a task is in two of them.
        """
        groups = sorted((group for part in parts for group in part.groups), key=lambda group: (group.task, group.language))
        rows = {key: row for part in parts for key, row in part.rows.items()}
        if len(rows) < sum(len(part.rows) for part in parts):
            raise DataError("two sets of predictions hold the same rows")
        return replace(parts[0], groups=tuple(groups), rows=rows)

    def per_example(self, name: str) -> dict[tuple[str, str], float]:
        """Return a metric's score of each row by itself, by task and id."""
        metric = self.metrics[name]
        return {
            (group.task, row_id): float(score)
            for group in self.groups
            for row_id, score in zip(group.ids, metric.per_example(group.statistics[name]), strict=True)
        }

    def instance_components(self, drawn: FloatArray) -> dict[str, VarianceComponent | None]:
        """Return what other test instances would change in the mean over groups of each :attr:`resampled` metric.

        None where a task has too few rows to tell.

        Args:
            drawn: scores (or differences of scores) on rows drawn with replacement, ``[groups, draws, metrics]``.
        """
        counts = np.array([group.units for group in self.groups])
        tasks = [group.task for group in self.groups]
        components: dict[str, VarianceComponent | None] = {}
        for column, name in enumerate(self.resampled):
            weights = np.array(self.weights(name))
            used, weights = weights > 0, weights / weights.sum()
            variances = drawn[:, :, column].var(axis=1, ddof=1) * weights**2
            components[name] = of_instances(variances[used], counts[used], list(itertools.compress(tasks, used)))
        return components

    def weights(self, name: str) -> list[float]:
        """Return what each group weighs in a metric's mean: nothing where the metric says nothing, and each task the same."""
        defined = [group.statistics[name].defined for group in self.groups]
        within: defaultdict[str, float] = defaultdict(float)
        for group, says in zip(self.groups, defined, strict=True):
            within[group.task] += group.weight if says else 0.0
        whole = all(defined)
        return [
            (group.weight if whole else group.weight / within[group.task]) if says else 0.0
            for group, says in zip(self.groups, defined, strict=True)
        ]

    def scores(self) -> dict[str, float]:
        """Return each metric's score: rows alike within a task, tasks alike; none where a metric says nothing (:attr:`notes`)."""
        return {
            name: float(np.average([metric.score(group.statistics[name]) for group in self.groups], weights=self.weights(name)))
            for name, metric in self.metrics.items()
            if any(self.weights(name))
        }

    @property
    def notes(self) -> dict[str, dict[str, str]]:
        """What a reader of the scores must know, by metric and task: why there is none, or what it rests on."""
        notes: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for name in self.metrics:
            for group in self.groups:
                if note := group.statistics[name].note:
                    notes[name][group.task] = note
        return dict(notes)

    def signatures(self) -> dict[str, Signature]:
        """Return each metric's signature: how the groups were scored, and over how many tasks and languages."""
        return {name: self._signature(name) for name in self.metrics}

    def _signature(self, name: str) -> Signature:
        tasks = len({group.task for group in self.groups})
        used = [group for group, weight in zip(self.groups, self.weights(name), strict=True) if weight] or list(self.groups)
        scored = len({group.task for group in used})
        means = {"macro": f"{tasks} tasks" if scored == tasks else f"{scored} of {tasks} tasks"} if tasks > 1 else {}
        if len(used) > scored:
            means["languages"] = "+".join(sorted({group.language for group in used}))
        return Signature.merged([group.statistics[name].signature for group in used]).extended(means)

    def samples(self) -> list[Sample]:
        """Return one sample for each group, its scores those of all :attr:`resampled` metrics: one draw serves them all."""
        names = self.resampled
        weights = list(zip(*(self.weights(name) for name in names), strict=True))
        widths = [self.groups[0].statistics[name].rows.shape[1] for name in names]
        edges = np.cumsum(widths).tolist()

        def score(sums: FloatArray) -> FloatArray:
            parts = [sums[..., edge - width : edge] for edge, width in zip(edges, widths, strict=True)]
            return np.stack([self.metrics[name].score_draws(part) for name, part in zip(names, parts, strict=True)], axis=-1)

        return [
            Sample(
                group.drawn(np.hstack([group.statistics[name].rows for name in names])),
                score,
                weight,
                f"{group.task}\0{group.language}",
            )
            for group, weight in zip(self.groups, weights, strict=True)
        ]


def measure(
    predictions: Sequence[Prediction], metrics: Sequence[str | Metric] | None = None, *, normalize: NormalForm = "nfc"
) -> Measured:
    """Return the statistics of predictions; the only step that reads texts.

    Args:
        predictions: in any order; empty texts count.
        metrics: names, or metrics with settings of their own; None for all that are registered.
        normalize: Unicode normal form, for the metrics given by name.

    Raises:
        DataError: there are no predictions, or an id stands twice in a task.
        UnknownNameError: a metric or a language is not known.
        UserError: no metric is named, or one is named twice.
    """
    chosen = _choose(metrics, normalize)
    if not predictions:
        raise DataError("there are no predictions to score")
    (task, row_id), times = Counter((row.task, row.id) for row in predictions).most_common(1)[0]
    if times > 1:
        raise DataError(f"the id {row_id!r} stands twice in task {task!r}")
    sizes = Counter(row.task for row in predictions)
    grouped: defaultdict[tuple[str, str], list[Prediction]] = defaultdict(list)
    identities: dict[tuple[str, str], tuple[str, str]] = {}
    for row in sorted(predictions, key=lambda row: row.id):
        code = language_or_unknown(row.language).code
        grouped[row.task, code].append(row)
        identities[row.task, row.id] = code, digest(sorted(row.references))
    groups = [
        Group(
            task,
            code,
            len(rows) / sizes[task],
            tuple(row.id for row in rows),
            _count(chosen, rows, code),
            _owners(rows),
        )
        for (task, code), rows in sorted(grouped.items())
    ]
    return Measured(chosen, tuple(groups), identities)


def grouped_alike(systems: Sequence[Measured]) -> list[Measured]:
    """Return systems with the same rows so that rows have the same owners in each: those of the first system that has any.

    Predictions of other programs, and of earlier versions, name no groups.
    """
    known = {(g.task, g.language): g.owners for system in reversed(systems) for g in system.groups if g.owners}
    if not known:
        return list(systems)
    return [
        replace(system, groups=tuple(replace(g, owners=known.get((g.task, g.language), ())) for g in system.groups))
        for system in systems
    ]


def _owners(rows: Sequence[Prediction]) -> tuple[int, ...]:
    if all(row.group is None for row in rows):
        return ()
    numbers: dict[tuple[bool, str], int] = {}
    names = [(row.group is None, row.id if row.group is None else row.group) for row in rows]
    return tuple(numbers.setdefault(name, len(numbers)) for name in names)


def _choose(wanted: Sequence[str | Metric] | None, normalize: NormalForm) -> dict[str, Metric]:
    names: Sequence[str | Metric] = METRICS.names() if wanted is None else [wanted] if isinstance(wanted, str) else wanted
    chosen: dict[str, Metric] = {}
    for choice in names:
        metric = choice if isinstance(choice, Metric) else METRICS.get(choice)(normalize=normalize)
        if metric.name in chosen:
            raise UserError(f"the metric {metric.name!r} is named twice")
        chosen[metric.name] = metric
    if not chosen:
        raise UserError("no metric is named", hint="name one, or leave the choice out")
    return chosen


def _count(metrics: Mapping[str, Metric], rows: Sequence[Prediction], language: str) -> dict[str, Statistics]:
    predictions, references, inputs = ([getattr(row, part) for row in rows] for part in ("prediction", "references", "input"))
    batches = {
        form: Batch.of(predictions, references, inputs, language, form)
        for form in {metric.normalize for metric in metrics.values()}
    }
    return {name: metric.statistics_of(batches[metric.normalize]) for name, metric in metrics.items()}
