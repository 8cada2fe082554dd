"""Training of stages: each once, stored under its hash and reused by every run that has it before its own tasks.

A stage is trained, and kept under its hash in a folder that many runs share. What the next stage starts from (the run itself
comes last):

* the same method with the same options: its trained parameters, as far as they apply to other tasks
  (:meth:`Adaptation.carried`; a prompt prefix of one task does not);
* another method: the stage's model, its adaptation merged into the base's weights.

Optimiser state and task weights start fresh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from xeric.bases.base import Base
from xeric.bases.tying import weights_kept
from xeric.data.preparing import Prepared
from xeric.data.texts import PreparedTexts
from xeric.errors import RunError
from xeric.files import remove, writing
from xeric.json_io import read_json, write_json
from xeric.methods.base import Adaptation, MethodOptions, attach_carrying, attach_saved, detached_on_failure
from xeric.progress import Progress
from xeric.run.config import RunConfig
from xeric.run.cost import Stopwatch
from xeric.run.folder import CHECKPOINT, leftovers
from xeric.run.session import TextSession, TrainingSession
from xeric.run.stage_store import STAGE_FILE, StageStore
from xeric.run.stages import PlannedStage
from xeric.run.task_session import TaskSession
from xeric.training.checkpoint import CheckpointFile
from xeric.training.processes import Processes
from xeric.training.result import TrainResult

__all__ = ["MergedStage", "attach_after", "restored"]


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
        adaptation = attach_saved(base, self.method, self.folder, self.definitions)
        with detached_on_failure(adaptation):
            adaptation.merge()


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
        stages: of :func:`xeric.run.stages.plan_stages`.
        config: of the run.
        data: the run's own tasks.
        base: without a method; where this fails, it is without one again.
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
        folder = store.folder(stage.id)
        with detached_on_failure(adaptation):
            session = partial(_session, stage, number, config, base, adaptation, progress, processes)
            descriptions.append(_ensure(stage, number, store, session, progress, processes))
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
    if previous is not None:
        options, adaptation = previous
        with detached_on_failure(adaptation):
            if options == method:
                names = adaptation.carried()
                carried = {name: tensor for name, tensor in adaptation.state().items() if name in names}
            else:
                adaptation.merge()
        if options == method:
            adaptation.detach()
    return attach_carrying(base, method, carried, seed=seed, definitions=definitions)


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
