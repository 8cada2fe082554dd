"""A study's results as plain values, which the report shows. No torch.

``results.json`` in a study folder holds one :class:`StudyResults`, computed from records and predictions alone.
"""

from __future__ import annotations

from typing import Any, Literal

from xeric.config import Config
from xeric.studies.config import ArmKey
from xeric.studies.searching import SearchResult
from xeric.studies.tuning import TuningResult

__all__ = [
    "ArmResult",
    "BreakEven",
    "ClaimResult",
    "FigureResult",
    "Interval",
    "LinkResult",
    "Recommendation",
    "RunResult",
    "StudyResults",
    "TableResult",
    "TableRow",
    "Verdict",
]

Verdict = Literal["holds", "contradicted", "undecided", "uninformative"]


class Interval(Config):
    """A number with its 95% interval; None where none is defined."""

    value: float
    low: float | None = None
    high: float | None = None


class RunResult(Config):
    """One run of the study.

    Attributes:
        id: its folder under ``runs/``.
        arm: id of its arm.
        seed: of the run.
        status: ``ok``, ``failed``, ``diverged`` or ``missing``.
        error: one sentence, where it failed.
        scores: macro mean over tasks, by metric.
        tasks: scores by task and metric.
        cost: as in its record.
        parameters: ``trainable`` and ``total``.
        settings: what tuning chose and searches found, by dotted path; empty where defaults were used.
    """

    id: str
    arm: str
    seed: int
    status: Literal["ok", "failed", "diverged", "missing"]
    error: str | None = None
    scores: dict[str, float] = {}
    tasks: dict[str, dict[str, float]] = {}
    cost: dict[str, Any] = {}
    parameters: dict[str, int] = {}
    settings: dict[str, Any] = {}


class ArmResult(Config):
    """One arm over tasks and seeds.

    Attributes:
        id: of the arm in the plan, or name of the baseline.
        label: for people: the axes in which it differs from the other arms.
        key: its axes; None for a trivial baseline.
        baseline: name of the trivial baseline (``copy_input`` ...), or None.
        scores: mean over tasks and seeds, by metric; interval over seeds, tasks' instances.
        languages: the same by language (English name) and metric.
        tasks: the same by task and metric.
        spread: standard deviation of the macro mean over seeds, by metric: "stability".
        seeds: number of finished seeds.
        trainable: parameters.
        seconds: of training, median over seeds: other work beside one of them makes it longer, never shorter.
        memory: peak bytes, mean over seeds.
        template: of its prompts: ``plain``, or ``chat``, the base's own.
        at_limit: share of its test texts, over seeds, that end at the limit of new tokens.
        cut_tasks: the same by task, where it is more than a tenth.
        beats_baselines: whether it is shown to beat every trivial baseline that gates, on the primary metric (corrected).
        gates: of a trivial baseline, whether arms are compared with it (else it is only shown); None for other arms.
        learned_gates: of a gated combined method, by part: its gates, layer after layer. The value is the mean over runs (and
            tokens, where gates depend on them), the ends are the lowest and highest over runs (of what 90% of the tokens have).
    """

    id: str
    label: str
    key: ArmKey | None = None
    baseline: str | None = None
    scores: dict[str, Interval] = {}
    languages: dict[str, dict[str, Interval]] = {}
    tasks: dict[str, dict[str, Interval]] = {}
    spread: dict[str, float] = {}
    seeds: int = 0
    trainable: int | None = None
    seconds: float | None = None
    memory: float | None = None
    template: str | None = None
    at_limit: float | None = None
    cut_tasks: dict[str, float] = {}
    beats_baselines: bool | None = None
    gates: bool | None = None
    learned_gates: dict[str, tuple[Interval, ...]] = {}


class TableRow(Config):
    """One row: an arm (``all``), or an arm on one language or task."""

    arm: str
    label: str
    group: str = ""
    cells: dict[str, Interval] = {}
    published: dict[str, float] = {}


class TableResult(Config):
    """A table, ready to be printed; ``notes`` are printed below it."""

    name: str
    title: str
    metrics: tuple[str, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()


class FigurePoint(Config):
    """A bar or a point: ``x`` is a group's name (bars), a training size (curve), seconds (pareto) or a layer (layers)."""

    x: str | float
    y: Interval
    published: float | None = None
    label: str = ""


class FigureSeries(Config):
    """Bars of one colour, or one curve."""

    arm: str
    label: str
    points: tuple[FigurePoint, ...]


class BreakEven(Config):
    """From how many training examples on a method beats the best untrained arm of its base (:mod:`xeric.analysis.break_even`).

    Attributes:
        arms: the method's arms, by size.
        sizes: their training examples.
        prompting: the untrained arm that it is compared with.
        metric: that they are compared on.
        value: examples; 0 where training is better at the smallest size already, None where it is not better at the largest.
        low: lower end of the 95% interval; 0 is at or below the smallest size.
        high: upper end; None is beyond the largest size.
    """

    arms: tuple[str, ...]
    sizes: tuple[int, ...]
    prompting: str
    metric: str
    value: float | None
    low: float | None
    high: float | None


class FigureResult(Config):
    """A figure, ready to be drawn."""

    name: str
    title: str
    kind: Literal["bars", "curve", "pareto", "layers"]
    x_label: str
    y_label: str
    series: tuple[FigureSeries, ...]
    notes: tuple[str, ...] = ()
    break_evens: tuple[BreakEven, ...] = ()
    """Of a curve over training sizes: where each of its methods comes to beat prompting."""
    better: Literal["higher", "lower"] | None = "higher"
    """Which direction of ``y`` is better; a Pareto front has none where neither is."""


class LinkResult(Config):
    """One link of a claim's chain: ``better`` minus ``worse``, paired, on one metric or the mean of several.

    Where ``lower`` says that the metric is better low, it is ``worse`` minus ``better``: positive values support the claim.
    """

    better: str
    worse: str
    metric: str
    lower: bool = False
    difference: Interval
    p: float | None = None
    p_corrected: float | None = None
    corrected: Interval | None = None
    instances: int = 0
    seeds: int = 0


class ClaimResult(Config):
    """A claim and its verdict; ``scope`` says on which bases and tasks, ``reason`` why, each in one sentence.

    ``controls`` are the first arm of the chain minus each control (an arm with a wrong definition, say), corrected together, and
    ``controls_note`` says in one sentence what they mean for the claim.
    """

    name: str
    sentence: str
    verdict: Verdict
    scope: str
    reason: str
    links: tuple[LinkResult, ...] = ()
    controls: tuple[LinkResult, ...] = ()
    controls_note: str = ""


class Recommendation(Config):
    """The cheapest adaptation that is not worse than the best by more than ``margin``; chosen on dev, reported on test.

    Attributes:
        arm: id of the choice among the arms.
        label: its label.
        recommended: whether it is recommended; false where no arm of the study is shown to beat every trivial baseline on test.
        best: id of the best arm on dev.
        margin: in points of the metric.
        metric: by which it was chosen.
        dev: scores on dev, by arm.
        test: score of the choice on test.
        reason: why it was chosen.
        caution: names the arms that are shown to beat every trivial baseline on test, where the choice is not shown to do so; and
            the seeds of runs that failed or diverged.
        command: the command that uses it, one a line where each task has a run of its own; empty where nothing is recommended.
        baseline: label of the best trivial baseline on test; empty where there is none to compare with.
        baseline_score: its score there.
    """

    arm: str
    label: str
    recommended: bool = True
    best: str
    margin: float
    metric: str
    dev: dict[str, Interval] = {}
    test: Interval | None = None
    reason: str
    caution: str = ""
    command: str = ""
    baseline: str = ""
    baseline_score: Interval | None = None


class StudyResults(Config):
    """Everything the report shows, except texts, which it reads from the runs' predictions."""

    name: str
    title: str
    study: dict[str, Any]
    metrics: tuple[str, ...]
    primary: str
    tasks: dict[str, str]
    """Language (English name) by task."""
    arms: tuple[ArmResult, ...] = ()
    baseline_notes: tuple[str, ...] = ()
    """The trivial baselines that arms are compared with, and the lengths to which they are cut."""
    runs: tuple[RunResult, ...] = ()
    tables: tuple[TableResult, ...] = ()
    figures: tuple[FigureResult, ...] = ()
    claims: tuple[ClaimResult, ...] = ()
    recommendation: Recommendation | None = None
    tuning: tuple[TuningResult, ...] = ()
    searches: tuple[SearchResult, ...] = ()
    stability: dict[str, Any] = {}
    detectable: Interval | None = None
    """The smallest difference in the primary metric that the study can detect (80% power, 5% level)."""
    provenance: dict[str, Any] = {}
    made_from: str = ""
    """Digest of the version of Xeric and the names of the files behind these results: where it differs, they are made again."""
