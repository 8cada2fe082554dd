"""Stages before a run's own tasks, on source tasks or on plain text: computed once, stored under their hash and reused.

A stage is trained, and kept under its hash in a folder that many runs share. What the next stage starts from (the run itself
comes last):

* the same method with the same options: its trained parameters, as far as they apply to other tasks
  (:meth:`Adaptation.carried`; a prompt prefix of one task does not);
* another method: the stage's model, its adaptation merged into the base's weights.

Optimiser state and task weights start fresh. Training instances that leak a test instance of the run's tasks are removed from
every stage.

A stage of text (Gururangan et al. 2020, arXiv 2004.10964) is identified by its documents, not by the paths of their files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from xeric.bases.base import Base
from xeric.bases.tying import weights_kept
from xeric.config import digest
from xeric.data.catalog import Catalog
from xeric.data.preparing import Prepared, prepare
from xeric.data.texts import PreparedTexts, prepare_texts
from xeric.errors import RunError
from xeric.files import remove, writing
from xeric.json_io import read_json, write_json
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, MethodOptions
from xeric.progress import Progress
from xeric.records import RESULT_VERSION
from xeric.run.config import RunConfig, Stage
from xeric.run.cost import Stopwatch
from xeric.run.folder import CHECKPOINT, leftovers
from xeric.run.session import TextSession, TrainingSession
from xeric.run.stage_store import STAGE_FILE, StageStore
from xeric.run.task_session import TaskSession
from xeric.training.checkpoint import CheckpointFile
from xeric.training.options import TrainSetup
from xeric.training.processes import Processes
from xeric.training.result import TrainResult

__all__ = ["MergedStage", "PlannedStage", "StageData", "attach_after", "plan_stages", "restored", "stage_data", "stage_data_key"]

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


@dataclass(frozen=True)
class MergedStage:
    """A stage that was merged into the base's weights, and what is needed to merge it again.

    Attributes:
        method: its options.
        definitions: of its tasks.
        folder: where its adaptation lies.
    """

    method: MethodOptions
    definitions: Mapping[str, str]
    folder: Path

    def apply(self, base: Base) -> None:
        """Put the stage's model into the base's weights."""
        adaptation = METHODS.get(self.method.name).attach(base, self.method, seed=0, definitions=self.definitions)
        adaptation.load(self.folder)
        adaptation.merge()


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


def attach_after(
    stages: list[PlannedStage],
    config: RunConfig,
    data: Prepared,
    base: Base,
    store: StageStore,
    progress: Progress,
    processes: Processes,
) -> tuple[Adaptation, list[MergedStage], list[dict[str, Any]]]:
    """Bring a base through the stages, training those that the store does not hold, and attach the run's own method.

    Args:
        stages: of :func:`plan_stages`.
        config: of the run.
        data: the run's own tasks.
        base: without a method.
        store: keeps finished stages.
        progress: is told what happens.
        processes: that carry out the run together.

    Returns:
        The run's adaptation before training; the stages merged into the base's weights; and the description of each stage,
        for the record.

    Raises:
        RunError: the loss of a stage was no longer finite.
    """
    merged: list[MergedStage] = []
    descriptions: list[dict[str, Any]] = []
    previous: tuple[MethodOptions, Adaptation] | None = None
    for number, stage in enumerate(stages):
        method = stage.method
        adaptation = _follow(base, previous, method, stage.definitions, stage.seeds["init"])
        session = partial(_session, stage, number, config, base, adaptation, progress, processes)
        descriptions.append(_ensure(stage, number, store, session, progress, processes))
        folder = store.folder(stage.id)
        # Also where it was trained just now, so that trained and reused stages start from the same stored values.
        adaptation.load(folder)
        following = stages[number + 1].method if number + 1 < len(stages) else config.method
        if following != method:
            merged.append(MergedStage(method, stage.definitions, folder))
        previous = (method, adaptation)
    return _follow(base, previous, config.method, data.definitions, config.all_seeds["init"]), merged, descriptions


def _follow(
    base: Base,
    previous: tuple[MethodOptions, Adaptation] | None,
    method: MethodOptions,
    definitions: Mapping[str, str],
    seed: int,
) -> Adaptation:
    """Attach a method to the base after a stage."""
    carried: dict[str, torch.Tensor] = {}
    if previous is not None and previous[0] == method:
        names = previous[1].carried()
        carried = {name: tensor for name, tensor in previous[1].state().items() if name in names}
        previous[1].detach()
    elif previous is not None:
        previous[1].merge()
    adaptation = METHODS.get(method.name).attach(base, method, seed=seed, definitions=definitions)
    adaptation.load_state({**adaptation.state(), **carried})
    return adaptation


def _ensure(
    stage: PlannedStage,
    number: int,
    store: StageStore,
    session: Callable[[], TrainingSession],
    progress: Progress,
    processes: Processes,
) -> dict[str, Any]:
    """Train a stage unless the store holds it, and return its description; only one run at a time trains it."""

    def waiting() -> None:
        progress.note(f"another process trains stage {number + 1} ({stage.id}); waiting for it")

    folder = store.folder(stage.id)
    with ExitStack() as lock:

        def is_missing() -> bool:
            if store.has(stage.id):
                return False
            lock.enter_context(store.training(stage.id, waiting))
            # Another process may have trained it in the meantime.
            return not store.has(stage.id)

        if processes.from_first(is_missing):
            for note in stage.data.notes:
                progress.note(f"stage {number + 1}: {note}")
            _train(stage, number, folder, session())
    if processes.first:
        for path in leftovers(folder):  # nobody writes there any more
            remove(path)
    description: dict[str, Any] = read_json(folder / STAGE_FILE)
    return description


def _train(stage: PlannedStage, number: int, folder: Path, session: TrainingSession) -> None:
    watch = Stopwatch(session.base.device)
    session.note_cuts()
    estimate = session.estimate()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    checkpoint = CheckpointFile(folder / CHECKPOINT / "training.safetensors", stage.id)
    result = session.train(folder, checkpoint, f"train stage {number + 1}")
    if result.status != "ok":
        raise RunError(f"stage {number + 1} {result.status} at step {result.done_steps}", hint="lower stages.N.train.lr")
    session.processes.from_first(
        lambda: _keep(stage, folder, session, result, watch.cost(result, estimate, session.processes.count))
    )


def _keep(stage: PlannedStage, folder: Path, session: TrainingSession, result: TrainResult, cost: dict[str, Any]) -> None:
    """Write a trained stage; its description comes last and says that it is complete."""
    with writing(folder):
        session.adaptation.save(folder)
    description = {
        "id": stage.id,
        "method": stage.method.model_dump(mode="json"),
        **session.trained_on,
        "fingerprint": stage.data.fingerprint,
        "leaks": stage.data.leaks,
        "planned_steps": result.planned_steps,
        "done_steps": result.done_steps,
        "best_step": result.best_step,
        "cost": cost,
    }
    write_json(folder / STAGE_FILE, description)


def _session(
    stage: PlannedStage,
    number: int,
    config: RunConfig,
    base: Base,
    adaptation: Adaptation,
    progress: Progress,
    processes: Processes,
) -> TrainingSession:
    setup = stage.setup(number)
    if isinstance(stage.data, PreparedTexts):
        return TextSession(base, adaptation, stage.data, setup, progress, processes)
    prompt, decoding = stage.options.prompt, config.decode
    return TaskSession(
        base, adaptation, stage.data, setup, prompt=prompt, decoding=decoding, progress=progress, processes=processes
    )


@contextmanager
def restored(base: Base, needed: bool) -> Iterator[None]:
    """Restore the base's weights afterwards, where stages are merged into them.

    Args:
        base: the caller's, unchanged afterwards.
        needed: whether anything will be merged.
    """
    with weights_kept(base) if needed else nullcontext():
        yield
