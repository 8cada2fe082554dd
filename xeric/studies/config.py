"""The study file: axes, grids, and the tables, figures and claims on them.

An *arm* is one row of a table: one base, method, setting, start and training size, over all tasks and seeds. A *run* is one
training and decoding: an arm and a seed (and, with ``joint: false``, one task). A grid is a product of axes; an arm that is in
two grids is computed once.

The file is long because it is one schema: a study file is checked as a whole, and most of the lines document its settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from xeric.bases.names import BaseName
from xeric.config import Config, FullPath, Name, Seed, build, merge
from xeric.data.prompt_options import UNTRAINED_SETTINGS, Setting
from xeric.data.splits import MAX_TRAIN
from xeric.files import full_path
from xeric.refusals import NAME_PATTERN
from xeric.studies.entries import BaseEntry, MethodEntry, PromptEntry

__all__ = [
    "OWN",
    "UNTRAINED",
    "ArmKey",
    "ClaimConfig",
    "FigureConfig",
    "Grid",
    "StudyConfig",
    "TableConfig",
    "TuningConfig",
]

UNTRAINED = "none"
"""Method label of the untrained settings."""

OWN = "own"
"""Prompt label of the arms that show what the ``run`` settings say."""

Start = Literal["base", "stage-1"]


class ArmKey(Config):
    """The axes of an arm.

    Attributes:
        base: a label under ``bases``.
        method: a label under ``methods``; ``none`` in the untrained settings.
        setting: ``zero-shot``, ``few-shot`` or ``instruction``.
        start: from the pretrained base, or from the stage-1 model.
        n_train: examples that may be used; None takes that of the ``run`` settings.
        prompt: a label under ``prompts``, or ``own``.
    """

    base: str
    method: str
    setting: Setting = "instruction"
    prompt: str = OWN
    start: Start = "base"
    n_train: int | None = Field(default=None, ge=1, le=MAX_TRAIN)

    @property
    def untrained(self) -> bool:
        """Whether the arm trains nothing on the target tasks."""
        return self.setting in UNTRAINED_SETTINGS


class Grid(Config):
    """A product of axes; an empty axis is all bases or all methods, else the default of :class:`ArmKey`."""

    bases: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ("instruction",)
    prompts: tuple[str, ...] = (OWN,)
    starts: tuple[Start, ...] = ("base",)
    n_train: tuple[Annotated[int, Field(ge=1, le=MAX_TRAIN)] | None, ...] = (None,)


class TableConfig(Config):
    """A table: the arms of some grids, one per row.

    Attributes:
        title: its heading.
        grids: names of the grids whose arms are its rows, in their order.
        metrics: its columns.
        by: what the scores are broken down by.
        published: the paper's figures, by method label (or setting, or base label) and metric; printed beside the study's own.
    """

    title: str
    grids: tuple[str, ...] = Field(min_length=1)
    metrics: tuple[str, ...] = ("bleu", "rouge_l", "meteor", "chrf")
    by: Literal["all", "language", "task"] = "all"
    published: dict[str, dict[str, Annotated[float, Field(ge=-1e6, le=1e6)]]] = {}


class FigureConfig(Config):
    """A figure.

    Attributes:
        title: its heading.
        kind: ``bars`` (groups of metrics or languages, one bar per arm), ``curve`` (score against n_train), ``pareto`` (score
            against training seconds).
        grids: whose arms it shows.
        metrics: what is drawn.
        by: what the groups of bars are.
        published: as in :class:`TableConfig`.
    """

    title: str
    kind: Literal["bars", "curve", "pareto"] = "bars"
    grids: tuple[str, ...] = Field(min_length=1)
    metrics: tuple[str, ...] = ("chrf",)
    by: Literal["metric", "language"] = "metric"
    published: dict[str, dict[str, Annotated[float, Field(ge=-1e6, le=1e6)]]] = {}


class ClaimConfig(Config):
    """A claim: a chain of arms, each better than the next.

    Attributes:
        sentence: the claim in the paper's words.
        chain: arms, best first; at least two. Keys not given take the defaults of :class:`ArmKey`.
        metrics: on whose mean it is tested (docs/concepts/statistics.md, "Claims").
        kind: ``better`` (each link is a difference above 0) or ``close`` (the first is not worse than the next by more than
            ``margin``).
        margin: in points, for ``close``.
        controls: arms like the first of the chain whose instructions are wrong or missing: where they score as well, the report
            says that the claim is about tuning and not about instructions.
        family: claims of one family are corrected together.
    """

    sentence: str
    chain: tuple[ArmKey, ...] = Field(min_length=2)
    metrics: tuple[str, ...] = ("bleu", "rouge_l", "meteor")
    kind: Literal["better", "close"] = "better"
    margin: float = Field(default=1.0, gt=0, le=100)
    controls: tuple[ArmKey, ...] = ()
    family: str = "claims"


class TuningConfig(Config):
    """The same number of trials for every method, scored on dev only.

    Attributes:
        trials: for each method; the first is the documented default.
        seed: of the trials' runs and draws; never one of the study's seeds.
        space: dotted setting -> values, or a range ``{low, high, log}``, by method label; a label that is not named takes the
            published space of its method (:attr:`xeric.methods.base.Method.search_space`).
    """

    trials: int = Field(default=4, ge=1, le=10_000)
    seed: Seed = 1000
    space: dict[str, dict[str, Any]] = {}


def _full_texts(stage: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of stage 1 with the full paths of its texts; anything but a list of paths is refused later."""
    texts = stage.get("texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        return stage
    return stage | {"texts": [full_path(text) for text in texts]}


class StudyConfig(Config):
    """A study file.

    Attributes:
        name: short, for file names.
        title: for the report.
        bases: base names by label, or a :class:`BaseEntry`.
        tasks: target tasks, scored.
        tasks_dirs: folders to look for tasks in.
        sources: tasks of stage 1; where a grid starts from ``stage-1``, either these or ``stage.texts`` are needed.
        methods: the method's options by label, ``{name: lora, rank: 8}``, or a :class:`MethodEntry`.
        prompts: entries by label, for the axis of that name: searched definitions, other demonstrations (:class:`PromptEntry`).
        joint: one run over all tasks (the paper's joint training), or one run per task.
        run: settings of every run (``data``, ``prompt``, ``train``, ``decode``, ``metrics``, ``device``, ``precision``).
            ``prompt.demonstrations: 0`` concerns the trained arms: few-shot arms then show as many as by default.
        stage: settings of stage 1 (``method``, ``train``, ``data``, ``prompt``, ``seed``); or, instead of ``sources``, plain
            ``texts`` that it is trained on, and what is made of them (``corpus``). All arms that start from it start from the
            same model, one for each base: its method is ``full`` and its seed 0 unless they are given here.
        seeds: of the runs.
        grids: by name.
        tuning: None uses the methods' entries and documented defaults for the rest; every table then has a note on it.
        keep: which adapters stay on disk: ``none``, the ``adapter`` of every run, or ``all``: those of tuning's trials, too.
        tables: by name, in their order.
        figures: by name.
        claims: by name.
        baselines: trivial baselines scored on the same test instances.
        margin: of ``recommend``, in points of the primary metric.
        paraphrases: of the definitions, by task: the same number for every task. Each arm's first run is decoded under them, too,
            to measure how much its scores depend on the words (docs/concepts/statistics.md, "Spread").
    """

    name: str = Field(pattern=NAME_PATTERN)
    title: str
    bases: dict[str, BaseName | BaseEntry] = Field(min_length=1)
    tasks: tuple[Name, ...] = Field(min_length=1)
    tasks_dirs: tuple[FullPath, ...] = ()
    sources: tuple[Name, ...] = ()
    methods: dict[str, dict[str, Any]] = Field(min_length=1)
    prompts: dict[str, PromptEntry] = {}
    joint: bool = True
    run: dict[str, Any] = {}
    stage: Annotated[dict[str, Any], AfterValidator(_full_texts)] = {}
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2), min_length=1)
    grids: dict[str, Grid] = Field(min_length=1)
    tuning: TuningConfig | None = None
    keep: Literal["none", "adapter", "all"] = "adapter"
    tables: dict[str, TableConfig] = {}
    figures: dict[str, FigureConfig] = {}
    claims: dict[str, ClaimConfig] = {}
    baselines: bool = True
    margin: float = Field(default=1.0, ge=0, le=100)
    paraphrases: dict[str, tuple[str, ...]] = {}

    @property
    def texts(self) -> tuple[str, ...]:
        """The text files and folders that stage 1 is trained on; none where it is trained on ``sources``."""
        return tuple(self.stage.get("texts", ()))

    @property
    def samples(self) -> bool:
        """Whether decoding samples, so that even an untrained arm's texts depend on the seed."""
        decode = self.run.get("decode")
        return isinstance(decode, Mapping) and decode.get("strategy") in ("sample", "mbr")

    def base_name(self, label: str) -> str:
        """Return the name of the base under a label."""
        entry = self.bases[label]
        return entry if isinstance(entry, str) else entry.name

    def base_prompt(self, label: str) -> dict[str, Any]:
        """Return the settings under ``prompt`` that belong to a base; empty where it has none."""
        entry = self.bases[label]
        return {} if isinstance(entry, str) else entry.prompt.model_dump(mode="json", exclude_none=True)

    def prompt_entry(self, label: str) -> PromptEntry:
        """Return the entry of a prompt label; an empty one for ``own``."""
        return PromptEntry() if label == OWN else self.prompts[label]

    def canonical(self, key: ArmKey) -> ArmKey:
        """Return the one key of an arm that can be named in several ways.

        An untrained arm has no method and depends on no training size; the size of the ``run`` settings is the same as None.
        """
        default_size = self.run.get("data", {}).get("n_train") if isinstance(self.run.get("data"), Mapping) else None
        if key.untrained:
            return key.model_copy(update={"method": UNTRAINED, "n_train": None})
        return key.model_copy(update={"n_train": None}) if key.n_train == default_size else key

    @property
    def largest_size(self) -> int | None:
        """The training size of the largest trained arms; None where it is that of the ``run`` settings, or nothing is trained."""
        sizes = {key.n_train for grid in self.grids.values() for key in self.arms_of(grid) if not key.untrained}
        return None if None in sizes else max((size for size in sizes if size is not None), default=None)

    def entry(self, label: str) -> MethodEntry:
        """Return the entry of a method label, ``like`` resolved: all of the method's options and settings.

        Raises:
            ConfigError: the entry has an unknown setting, or ``like`` names no entry or one with a ``like`` of its own.
        """
        entry = self.own_entry(label)
        if entry.like is None:
            return entry
        other = self.own_entry(entry.like)
        groups = {name: merge(getattr(other, name), getattr(entry, name)) for name in ("method", "train", "prompt")}
        return MethodEntry(like=entry.like, **groups)

    def prompt_settings(self, key: ArmKey) -> dict[str, Any]:
        """Return what the study sets under ``prompt`` for an arm: for all runs, its method and its label of ``prompts``."""
        of_all = self.run.get("prompt")
        of_method = self.entry(key.method).prompt if key.method in self.methods else {}
        return {**(of_all if isinstance(of_all, Mapping) else {}), **of_method, **self.prompt_entry(key.prompt).prompt}

    def own_entry(self, label: str) -> MethodEntry:
        """Return the entry of a method label as written, ``like`` unresolved.

        Raises:
            ConfigError: the entry has an unknown setting.
        """
        raw = self.methods[label]
        if "name" in raw:
            return MethodEntry(method=raw)
        return build(MethodEntry, raw, where=f"methods.{label}")

    def arms_of(self, grid: Grid) -> list[ArmKey]:
        """Return the arms of a grid in their order, each once."""
        methods = grid.methods or tuple(self.methods)
        keys = (
            ArmKey(base=base, method=method, setting=setting, prompt=prompt, start=start, n_train=n_train)
            for base in grid.bases or tuple(self.bases)
            for start in grid.starts
            for setting in grid.settings
            for prompt in grid.prompts
            for method in methods
            for n_train in grid.n_train
        )
        return list(dict.fromkeys(self.canonical(key) for key in keys))
