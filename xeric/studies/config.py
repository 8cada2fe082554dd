"""The study file: axes, grids, and what is to be shown and claimed of them.

A *line* is what stands in one row of a table: one base, method, setting, start and training size, over all tasks and seeds. A
*cell* is one run: a line and a seed (and, with ``joint: false``, one task). A grid is a product of axes; the same line in two
grids is one line, so its cells are computed once.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from xeric.config import Config
from xeric.data.prompts import Setting

__all__ = ["ClaimConfig", "FigureConfig", "Grid", "LineKey", "StudyConfig", "TableConfig", "TuningConfig"]

Start = Literal["base", "stage-1"]


class LineKey(Config):
    """The axes of a line.

    Attributes:
        base: a label under ``bases``.
        method: a label under ``methods``; ``none`` in the untrained settings.
        setting: ``zero-shot``, ``few-shot`` or ``instruction``.
        start: from the pretrained base, or from the stage-1 model.
        n_train: examples that may be used; None is the ``run`` settings' own.
    """

    base: str
    method: str
    setting: Setting = "instruction"
    start: Start = "base"
    n_train: int | None = Field(default=None, ge=1)


class Grid(Config):
    """A product of axes; an empty axis is everything there is (bases, methods) or the default of :class:`LineKey`."""

    bases: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ("instruction",)
    starts: tuple[Start, ...] = ("base",)
    n_train: tuple[int | None, ...] = (None,)


class TableConfig(Config):
    """A table: the lines of some grids, one a row.

    Attributes:
        title: its heading.
        grids: names of the grids whose lines are its rows, in their order.
        metrics: its columns.
        by: what the scores are broken down by.
        published: the paper's figures, by method label (or setting, or base label) and metric; printed beside ours, never mixed.
    """

    title: str
    grids: tuple[str, ...] = Field(min_length=1)
    metrics: tuple[str, ...] = ("bleu", "rouge_l", "meteor", "chrf")
    by: Literal["all", "language", "task"] = "all"
    published: dict[str, dict[str, float]] = {}


class FigureConfig(Config):
    """A figure.

    Attributes:
        title: its heading.
        kind: ``bars`` (groups of metrics or languages, one bar a line), ``curve`` (score against n_train), ``pareto`` (score
            against training seconds).
        grids: whose lines it shows.
        metrics: what is drawn.
        by: what the groups of bars are.
        published: as in :class:`TableConfig`.
    """

    title: str
    kind: Literal["bars", "curve", "pareto"] = "bars"
    grids: tuple[str, ...] = Field(min_length=1)
    metrics: tuple[str, ...] = ("chrf",)
    by: Literal["metric", "language"] = "metric"
    published: dict[str, dict[str, float]] = {}


class ClaimConfig(Config):
    """A claim: a chain of lines, each better than the next.

    Attributes:
        sentence: the claim in the paper's words.
        chain: lines, best first; at least two. Keys not given take the defaults of :class:`LineKey`.
        metrics: on whose mean it is tested (docs/studies.md).
        kind: ``better`` (each link is a difference above 0) or ``close`` (the first is not worse than the next by more than
            ``margin``).
        margin: in points, for ``close``.
        family: claims of one family are corrected together.
    """

    sentence: str
    chain: tuple[LineKey, ...] = Field(min_length=2)
    metrics: tuple[str, ...] = ("bleu", "rouge_l", "meteor")
    kind: Literal["better", "close"] = "better"
    margin: float = Field(default=1.0, gt=0)
    family: str = "claims"


class TuningConfig(Config):
    """The same number of trials for every method, on dev alone.

    Attributes:
        trials: for each method; the first is the documented default.
        seed: of the trials' runs and draws; never one of the study's seeds.
        space: dotted setting -> values, or a range ``{low, high, log}``, by method label; what is not named takes the published
            space of the method.
    """

    trials: int = Field(default=4, ge=1)
    seed: int = Field(default=1000, ge=0)
    space: dict[str, dict[str, Any]] = {}


class StudyConfig(Config):
    """A study file.

    Attributes:
        name: short, for file names.
        title: for the report.
        bases: base names by label.
        tasks: target tasks, scored.
        tasks_dirs: folders to look for tasks in.
        sources: tasks of stage 1; needed where a grid starts from ``stage-1``.
        methods: settings of the method by label: ``{name: lora, rank: 8}``.
        joint: one run over all tasks (the paper's joint training), or one run a task.
        run: settings of every run (``data``, ``prompt``, ``train``, ``decode``, ``device``, ``precision``).
        stage: settings of stage 1 (``method``, ``train``, ``data``).
        seeds: of the runs.
        grids: by name.
        tuning: None takes documented defaults and says so in every table.
        keep: which adapters stay on disk: none, of the best line, or all.
        tables: by name, in their order.
        figures: by name.
        claims: by name.
        baselines: trivial baselines scored on the same test instances.
        margin: of ``recommend``, in points of the primary metric.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    bases: dict[str, str] = Field(min_length=1)
    tasks: tuple[str, ...] = Field(min_length=1)
    tasks_dirs: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    methods: dict[str, dict[str, Any]] = Field(min_length=1)
    joint: bool = True
    run: dict[str, Any] = {}
    stage: dict[str, Any] = {}
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    grids: dict[str, Grid] = Field(min_length=1)
    tuning: TuningConfig | None = None
    keep: Literal["none", "adapter", "all"] = "adapter"
    tables: dict[str, TableConfig] = {}
    figures: dict[str, FigureConfig] = {}
    claims: dict[str, ClaimConfig] = {}
    baselines: bool = True
    margin: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _names_exist(self) -> StudyConfig:
        for name, grid in self.grids.items():
            for kind, used, known in (("base", grid.bases, self.bases), ("method", grid.methods, self.methods)):
                for label in used:
                    if label not in known and label != "none":
                        raise ValueError(f"grid {name!r} names the {kind} {label!r}, which the study does not define")
            if "stage-1" in grid.starts and not self.sources:
                raise ValueError(f"grid {name!r} starts from stage-1, and the study names no sources")
        for kind, shown in (("table", self.tables), ("figure", self.figures)):
            for name, one in shown.items():
                for grid_name in one.grids:
                    if grid_name not in self.grids:
                        raise ValueError(f"{kind} {name!r} names the grid {grid_name!r}, which the study does not define")
        return self
