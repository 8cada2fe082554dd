"""Stages before a run's own tasks, on source tasks or on plain text: their data, and the hash that each is stored under.

Training instances that leak a test instance of the run's tasks are removed from every stage. A stage of text (Gururangan et al.
2020, arXiv 2004.10964) is identified by its documents, not by the paths of their files. :mod:`xeric.run.stage_training` trains
stages.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from xeric.config import digest
from xeric.data.catalog import Catalog
from xeric.data.preparing import Prepared, prepare
from xeric.data.texts import PreparedTexts, prepare_texts
from xeric.methods import METHODS
from xeric.methods.base import MethodOptions
from xeric.records import RESULT_VERSION
from xeric.run.config import RunConfig, Stage
from xeric.training.options import TrainSetup

__all__ = ["PlannedStage", "StageData", "plan_stages", "stage_data", "stage_data_key"]

StageData = Prepared | PreparedTexts
"""What a stage is trained on, prepared."""


@dataclass(frozen=True)
class PlannedStage:
    """A stage with its prepared data.

    Attributes:
        options: what the config says.
        data: its tasks or documents, without what leaks test instances of the run.
        id: the hash that it is kept under.
        seeds: by name.
    """

    options: Stage
    data: StageData
    id: str
    seeds: dict[str, int]

    @property
    def definitions(self) -> dict[str, str]:
        """Definitions of its tasks, by name; none for text."""
        return self.data.definitions

    @property
    def method(self) -> MethodOptions:
        """Options of its method."""
        assert self.options.method is not None, "run_config() fills it in"
        return self.options.method

    def setup(self, number: int) -> TrainSetup:
        """Return how it is trained, the method's defaults filled in; ``number`` is its position in the run, from 0."""
        train, default = self.options.train, METHODS.get(self.method.name).default_lr
        return TrainSetup(train, default if train.lr is None else train.lr, self.seeds, f"stages.{number}.train")


def plan_stages(
    config: RunConfig, data: Prepared, base_sha256: Mapping[str, str], cache: MutableMapping[str, StageData]
) -> list[PlannedStage]:
    """Prepare the data of a run's stages and name them.

    Args:
        config: of the run.
        data: the run's own tasks, whose test sets must not leak into the stages.
        base_sha256: of the base.
        cache: data of stages prepared so far, by a hash of what it was prepared from; entries are added.

    Raises:
        UserError: a task is unknown, cannot be used, or is one that the run scores; or a text cannot be used.
    """
    planned: list[PlannedStage] = []
    for stage in config.stages:
        key = stage_data_key(stage, config, data)
        if key not in cache:
            cache[key] = stage_data(stage, config, data)
        prepared = cache[key]
        seeds = config.seeds.resolve(config.seed if stage.seed is None else stage.seed)
        identity = {
            "stage": stage.settings,
            "data": prepared.fingerprint,
            "base": dict(base_sha256),
            "before": planned[-1].id if planned else None,
            "seeds": {name: seeds[name] for name in ("init", "order", "dropout", "reference", "decode")},
            "where": [config.device, config.precision],
            "result_version": RESULT_VERSION,
        }
        if stage.train.select == "chrf":
            identity["decode"] = config.decode.model_dump(mode="json")  # it is then chosen by texts that the run's options decode
        planned.append(PlannedStage(stage, prepared, digest(identity)[:16], seeds))
    return planned


def stage_data_key(stage: Stage, config: RunConfig, data: Prepared) -> str:
    """Return a hash of what the data of a stage is prepared from; the arguments are those of :func:`stage_data`."""
    options = stage.model_dump(mode="json", include={"tasks", "texts", "data", "prompt", "corpus"})
    return digest(["stage", options, config.tasks_dirs, data.fingerprint])


def stage_data(stage: Stage, config: RunConfig, data: Prepared) -> StageData:
    """Prepare what a stage is trained on, without what leaks a test instance of the run's own tasks.

    Args:
        stage: one of the run's.
        config: of the run.
        data: the run's own tasks.

    Raises:
        UserError: a task is unknown, cannot be used, or is one that the run scores; or a text cannot be used.
    """
    protect = {task.name: task.test for task in data.tasks}
    if stage.texts:
        return prepare_texts(stage.texts, stage.corpus, protect=protect, languages=[task.language for task in data.tasks])
    catalog = Catalog.of(config.tasks_dirs)
    tasks = [catalog.load(name, group_key=stage.data.group_column) for name in stage.tasks]
    return prepare(tasks, stage.data, stage.prompt, protect=protect)
