"""The tables that every study has, beside those of its file: baselines, parts, spread, tuning, failed runs, claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from xeric import formatting
from xeric.analysis.results import ArmResult, ClaimResult, Interval, LinkResult, StudyResults
from xeric.report import summary, wording
from xeric.report.tables import Cell, Column, Table

__all__ = [
    "baseline_table",
    "claims_table",
    "deciding_links",
    "failure_table",
    "link_table",
    "part_table",
    "spread_table",
    "trial_table",
    "tuning_table",
]


def _estimates(metrics: Sequence[str]) -> list[Column]:
    return [Column(metric, wording.metric_name(metric), "estimate") for metric in metrics]


def baseline_table(results: StudyResults) -> Table | None:
    """Return the trivial baselines' scores, or None where none were scored."""
    arms = summary.baselines(results)
    if not arms:
        return None
    words = {True: "yes", False: "no, shown only", None: None}
    rows = [(arm.label, words[arm.gates], *(arm.scores.get(metric) for metric in results.metrics)) for arm in arms]
    columns = (Column("baseline", "trivial baseline"), Column("gates", "to be beaten"), *_estimates(results.metrics))
    title = "Trivial baselines on the same test instances"
    return _without_empty(Table("trivial-baselines", title, columns, tuple(rows), results.baseline_notes))


def part_table(results: StudyResults) -> Table | None:
    """Return the primary metric of every arm by language and by task, or None where there is nothing to break down."""
    languages = list(dict.fromkeys(results.tasks.values())) if len(set(results.tasks.values())) > 1 else []
    tasks = list(results.tasks) if len(results.tasks) > 1 else []
    if not languages and not tasks:
        return None
    columns = [Column("arm", "arm")]
    columns += [Column(f"language_{language}", language, "estimate", "by language") for language in languages]
    columns += [Column(f"task_{task}", task.replace("_", " "), "estimate", "by task") for task in tasks]

    def row(arm: ArmResult) -> tuple[Cell, ...]:
        by_part = [arm.languages.get(language, {}) for language in languages] + [arm.tasks.get(task, {}) for task in tasks]
        return (arm.label, *(scores.get(results.primary) for scores in by_part))

    rows = tuple(row(arm) for arm in results.arms if arm.scores)
    return Table("by-part", f"{wording.metric_name(results.primary)} by language and task", tuple(columns), rows)


def spread_table(results: StudyResults) -> Table | None:
    """Return the spread of every arm's mean over tasks over seeds, and over paraphrases of the definitions; None where unknown.

    An arm has a row for each of the two that was computed.
    """
    arms = [arm for arm in summary.adaptations(results) if arm.scores]
    over = {name: results.stability.get(name, {}) for name in ("seeds", "definitions")}
    rows: list[tuple[Cell, ...]] = []
    for arm in arms:
        if arm.spread:
            spreads = {metric: {"sd": sd} | over["seeds"].get(arm.id, {}).get(metric, {}) for metric, sd in arm.spread.items()}
            rows.append((arm.label, "seeds", arm.seeds, *_spreads(spreads, results.metrics)))
        if spreads := over["definitions"].get(arm.id, {}):
            paraphrases = int(max(spread["paraphrases"] for spread in spreads.values()))
            rows.append((arm.label, "paraphrases", paraphrases, *_spreads(spreads, results.metrics)))
    if not rows:
        return None
    columns = [Column("arm", "arm"), Column("over", "over"), Column("number", "how many", "count")]
    columns += [Column(metric, wording.metric_name(metric), "spread") for metric in results.metrics]
    title = "Standard deviation of the mean over tasks"
    return _without_empty(Table("stability", title, tuple(columns), tuple(rows), _spread_notes(results, arms)))


def _spreads(by_metric: Mapping[str, Mapping[str, float]], metrics: Sequence[str]) -> list[Interval | None]:
    spreads = [by_metric.get(metric) for metric in metrics]
    return [Interval(value=sd["sd"], low=sd.get("low"), high=sd.get("high")) if sd else None for sd in spreads]


def _spread_notes(results: StudyResults, arms: Sequence[ArmResult]) -> tuple[str, ...]:
    notes = []
    if any(arm.spread for arm in arms):
        notes.append("Over seeds: the spread of an arm's runs with different seeds.")
    if results.study.get("paraphrases"):
        by_arm = results.stability.get("definitions", {})
        missing = [arm.label for arm in arms if arm.id not in by_arm]
        notes.append(
            "Over paraphrases: the spread of the run of the first seed, decoded under the tasks' definitions and under "
            "paraphrases of them without training again; all arms have the same paraphrases, and the definitions count as one."
        )
        notes += [f"Not known over paraphrases: {wording.listed(missing)}."] if missing else []
    return tuple(notes)


def tuning_table(results: StudyResults) -> Table | None:
    """Return what tuning chose and what it cost, or None where nothing was tuned."""
    if not results.tuning:
        return None
    columns = (
        Column("base", "base"),
        Column("method", "method"),
        Column("trials", "trials", "count"),
        Column("best", f"best {wording.metric_name(results.primary)} on dev", "number"),
        Column("seconds", "time", "duration"),
        Column("chosen", "chosen"),
    )
    rows: list[tuple[Cell, ...]] = []
    for tuning in results.tuning:
        chosen = _settings(tuning.chosen)
        scores = [score for score in tuning.best if score is not None]
        rows.append((tuning.base, tuning.method, len(tuning.trials), scores[-1] if scores else None, tuning.seconds, chosen))
    return Table("tuning", "Tuning on development data", columns, tuple(rows))


def trial_table(results: StudyResults) -> Table | None:
    """Return every trial of tuning, or None where there was none."""
    columns = (
        Column("base", "base"),
        Column("method", "method"),
        Column("trial", "trial", "count"),
        Column("score", f"{wording.metric_name(results.primary)} on dev", "number"),
        Column("status", "status"),
        Column("settings", "settings"),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            tuning.base,
            tuning.method,
            number,
            trial.get("score"),
            str(trial.get("status", "")),
            _settings(trial.get("settings", {})),
        )
        for tuning in results.tuning
        for number, trial in enumerate(tuning.trials, 1)
    ]
    return Table("trials", "Every trial", columns, tuple(rows)) if rows else None


def _settings(chosen: Mapping[str, Any]) -> str:
    return "; ".join(f"{path}={value}" for path, value in wording.flat(chosen)) or "the defaults"


def failure_table(results: StudyResults) -> Table | None:
    """Return the runs that gave no scores and why, or None where every run did."""
    runs = summary.failures(results)
    if not runs:
        return None
    labels = {arm.id: arm.label for arm in results.arms}
    default_reasons = {"diverged": "the loss was no longer finite", "missing": "not run yet", "failed": "no reason was recorded"}
    columns = (
        Column("run", "run"),
        Column("arm", "arm"),
        Column("seed", "seed"),
        Column("status", "status"),
        Column("error", "why"),
    )
    rows = [
        (run.id, labels.get(run.arm, run.arm), str(run.seed), run.status, run.error or default_reasons.get(run.status, ""))
        for run in runs
    ]
    return Table("failed-runs", "Runs without scores", columns, tuple(rows))


def deciding_links(claim: ClaimResult) -> tuple[list[LinkResult], list[LinkResult]]:
    """Return the links that a verdict is based on, which are corrected, and the others: the same on single metrics."""
    deciding = [link for link in claim.links if link.corrected is not None or link.p_corrected is not None]
    if not deciding:
        return list(claim.links), []
    return deciding, [link for link in claim.links if link not in deciding]


def link_table(claim: ClaimResult, links: Sequence[LinkResult], results: StudyResults) -> Table | None:
    """Return links of a claim as a table, or None where there are none."""
    if not links:
        return None
    labels = {arm.id: arm.label for arm in results.arms}
    columns = (
        Column("comparison", "comparison"),
        Column("metric", "metric"),
        Column("difference", "difference", "difference"),
        Column("corrected", "corrected interval"),
        Column("p", "p, corrected" if any(link.p_corrected is not None for link in links) else "p"),
        Column("instances", "instances", "count"),
        Column("seeds", "seeds", "count"),
    )
    rows: list[tuple[Cell, ...]] = []
    for link in links:
        p = link.p if link.p_corrected is None else link.p_corrected
        better, worse = (
            f"({label})" if "," in label else label
            for label in (labels.get(link.better, link.better), labels.get(link.worse, link.worse))
        )
        comparison = f"{worse} \u2212 {better}" if link.lower else f"{better} \u2212 {worse}"
        corrected = wording.interval(link.corrected) if link.corrected else ""
        tested = "" if p is None else formatting.p_value(p)
        metric = wording.metric_name(link.metric)
        rows.append((comparison, metric, link.difference, corrected, tested, link.instances, link.seeds))
    return _without_empty(Table(f"claim-{claim.name}", claim.sentence, columns, tuple(rows)))


def claims_table(results: StudyResults) -> Table | None:
    """Return every link of every claim with its verdict, or None where the study makes no claims."""
    labels = {arm.id: arm.label for arm in results.arms}
    columns = (
        Column("claim", "claim"),
        Column("verdict", "verdict"),
        Column("better", "better"),
        Column("worse", "worse"),
        Column("metric", "metric"),
        Column("difference", "difference", "difference"),
        Column("corrected", "corrected", "difference"),
        Column("p", "p", "p"),
        Column("p_corrected", "p, corrected", "p"),
        Column("instances", "instances", "count"),
        Column("seeds", "seeds", "count"),
    )
    rows: list[tuple[Cell, ...]] = []
    for claim in results.claims:
        if not claim.links:
            rows.append((claim.name, claim.verdict, *(None for _ in columns[2:])))
        for link in claim.links:
            ends = labels.get(link.better, link.better), labels.get(link.worse, link.worse), wording.metric_name(link.metric)
            numbers = link.difference, link.corrected, link.p, link.p_corrected, link.instances, link.seeds
            rows.append((claim.name, claim.verdict, *ends, *numbers))
    return Table("claims", summary.claims_title(results), columns, tuple(rows)) if rows else None


def _without_empty(table: Table) -> Table:
    """Return a table without the columns that are empty in all rows."""
    kept = [index for index in range(len(table.columns)) if any(row[index] not in (None, "") for row in table.rows)]
    rows = tuple(tuple(row[index] for index in kept) for row in table.rows)
    return replace(table, columns=tuple(table.columns[index] for index in kept), rows=rows)
