"""Carries a run out, from config to record.

The order is: identity first (what would be computed), then the folder (is it done, half done, somebody else's), then
the work: attach, train, save, decode, score, and last the record. A run that was killed goes on from its checkpoint
and ends with the same bytes.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xeric.bases.base import Base
from xeric.bases.loading import base_identity, load_base
from xeric.config import dump_yaml
from xeric.data.catalog import Catalog
from xeric.data.preparing import Prepared, prepare
from xeric.errors import ConfigError, StorageError
from xeric.files import write_atomically
from xeric.methods.base import Adaptation
from xeric.metrics import METRICS, score_predictions
from xeric.progress import Progress, Silent
from xeric.records import (
    PREDICTION_FILES,
    RECORD_FILE,
    Part,
    Prediction,
    Record,
    Score,
    TaskResult,
    versions,
    write_json,
    write_jsonl,
)
from xeric.run.adapted import save_adapted
from xeric.run.baselines import KnownScores, score_baselines
from xeric.run.config import RunConfig, run_id
from xeric.run.cost import Stopwatch
from xeric.run.fitting import Fitting
from xeric.run.folder import ADAPTER, CHECKPOINT, CONFIG_FILE, Guarded, finished, heading, occupied
from xeric.run.stages import MergedStage, PlannedStage, StageData, attach_after, plan_stages, restored
from xeric.run.template import settled_prompt
from xeric.training.checkpoint import CheckpointFile

__all__ = ["Run", "execute", "prepare_run"]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        config: what it was asked to do.
        record: what it found.
        fresh: whether it was computed now; false where the folder already held it.
    """

    folder: Path
    config: RunConfig
    record: Record
    fresh: bool

    @property
    def scores(self) -> dict[str, Score]:
        """Macro means over tasks on the test sets, by metric."""
        return self.record.scores


def prepare_run(config: RunConfig) -> Prepared:
    """Find, clean and split the config's tasks.

    Raises:
        UserError: a task is unknown, its file cannot be used, or it has too few instances.
    """
    catalog = Catalog.of(config.tasks_dirs)
    tasks = [catalog.load(name, group_key=config.data.group_column) for name in config.tasks]
    return prepare(tasks, config.data, config.prompt)


def execute(
    config: RunConfig,
    folder: Path | None = None,
    *,
    base: Base | None = None,
    data: Prepared | None = None,
    stages: Path | None = None,
    stage_data: MutableMapping[str, StageData] | None = None,
    baseline_scores: KnownScores | None = None,
    progress: Progress | None = None,
    locked: bool = False,
) -> Run:
    """Carry out a run, or return it as it is where its folder already holds it.

    Args:
        config: of :func:`xeric.run.config.run_config`.
        folder: where to put it; None is ``runs/RUN_ID``.
        base: the base, where it is open already (it is left as it was found).
        data: the prepared tasks, where they are at hand already.
        stages: folder where stages are kept for other runs to find; None is ``stages`` beside the run's folder.
        stage_data: prepared data of stages, where several runs share it; it grows.
        baseline_scores: of the trivial baselines, where several runs share them; it grows.
        progress: is told what happens.
        locked: whether the caller keeps other processes out of the folder; if not, this waits for one that works in it.

    Returns:
        The run; its record's status is ``diverged`` where the loss was no longer finite.

    Raises:
        UserError: the config does not fit tasks or base, or the folder holds something else.
        StorageError: the file system refuses.
    """
    progress = progress or Silent()
    data = data or prepare_run(config)
    if (data.options, data.prompt, [task.name for task in data.tasks]) != (config.data, config.prompt, list(config.tasks)):
        raise ConfigError("the prepared tasks were prepared under other settings", where="data")
    for note in data.notes:
        progress.note(note)
    sha256 = base.sha256 if base else base_identity(config.base, progress)
    planned = plan_stages(config, data, sha256, {} if stage_data is None else stage_data)
    identity = run_id(config, data.fingerprint, sha256, [stage.id for stage in planned])
    folder = folder or Path("runs") / identity
    if (done := finished(folder, identity)) is not None:
        return Run(folder, config, done, fresh=False)
    with contextlib.ExitStack() as stack:
        if not locked:
            progress = Guarded(progress, stack.enter_context(occupied(folder, progress)), folder)
            # It may have been done meanwhile.
            if (done := finished(folder, identity)) is not None:
                return Run(folder, config, done, fresh=False)
        place = _Place(folder, identity, stages or folder.parent / "stages")
        record = _compute(config, place, base, data, planned, {} if baseline_scores is None else baseline_scores, progress)
    return Run(folder, config, record, fresh=True)


@dataclass(frozen=True)
class _Place:
    """Where a run is put, what it is called, and where its stages are kept."""

    folder: Path
    identity: str
    stages: Path


def _compute(
    config: RunConfig,
    place: _Place,
    base: Base | None,
    data: Prepared,
    planned: list[PlannedStage],
    known: KnownScores,
    progress: Progress,
) -> Record:
    """Do the work of a run whose folder is free, and write its record."""
    folder = place.folder
    opened = base or load_base(config.base, device=config.device, precision=config.precision, progress=progress)
    with restored(opened, needed=base is not None and bool(planned)):
        with _after_work():
            adaptation, merged, found = attach_after(planned, config, data, opened, place.stages, progress)
        try:
            work = _Work(config, folder, place.identity, opened, adaptation, data, progress, known)
            # Only now, when tasks, base and method have been seen to fit: a mistake in the settings leaves no folder behind.
            write_atomically(folder / CONFIG_FILE, f"{heading(place.identity)}\n{dump_yaml(config)}")
            with _after_work():
                record = work.record(merged, found)
                write_json(folder / RECORD_FILE, record)
        finally:
            if base is not None:
                adaptation.detach()
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    return record


@contextlib.contextmanager
def _after_work() -> Iterator[None]:
    """Let what the file system refuses inside be a run that failed, not an input at fault."""
    try:
        yield
    except StorageError as error:
        raise error.after_work() from None


class _Work:
    """The work of one run, once its method is attached."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        identity: str,
        base: Base,
        adaptation: Adaptation,
        data: Prepared,
        progress: Progress,
        baseline_scores: KnownScores,
    ) -> None:
        self.config, self.folder, self.identity = config, folder, identity
        self.base, self.adaptation, self.data = base, adaptation, data
        self.baseline_scores = baseline_scores
        self.watch = Stopwatch(base.device)
        as_it_is = config.method.name == "none" and not config.stages
        prompt, remark = settled_prompt(config.prompt, base, data, as_it_is=as_it_is)
        if remark:
            progress.note(remark)
        self.fitting = Fitting(
            base,
            adaptation,
            data,
            prompt=prompt,
            options=config.train,
            decoding=config.decode,
            lr=config.learning_rate,
            seeds=config.all_seeds,
            progress=progress,
        )

    def record(self, merged: Sequence[MergedStage], stages: Sequence[dict[str, Any]]) -> Record:
        """Train, save, decode and score; return the record, which is not yet written."""
        self.fitting.say_cuts(self.config.predict)
        estimate = self.fitting.estimate()
        result = self.fitting.train(self.folder, CheckpointFile(self.folder / CHECKPOINT / "training.safetensors", self.identity))
        parts: dict[str, Any] = {"scores": {}, "tasks": {}}
        if result.status == "ok":
            # First of all: what was trained must not be lost to whatever goes wrong in decoding or scoring.
            self._save(merged)
            parts = self._results()
        trainable = sum(p.numel() for p in self.adaptation.trainable().values())
        return Record(
            run_id=self.identity,
            status=result.status,
            method=self.config.method.name,
            base={
                "architecture": self.base.architecture,
                "sha256": self.base.sha256,
                "context": self.base.context,
                "parameters": self.base.parameters,
            },
            planned_steps=result.planned_steps,
            done_steps=result.done_steps,
            best_step=result.best_step,
            **parts,
            task_weights=result.task_weights,
            resolved=self.fitting.resolved,
            seeds=self.config.all_seeds,
            parameters={"trainable": trainable, "total": sum(p.numel() for p in self.base.model.parameters())},
            fingerprint=self.data.fingerprint,
            leaks=self.data.leaks,
            stages=[{key: value for key, value in stage.items() if key != "cost"} for stage in stages],
            deterministic="bytes" if self.base.device.type == "cpu" else "seeds",
            versions=versions(),
            cost={**self.watch.cost(result, estimate), "stages": {stage["id"]: stage["cost"] for stage in stages}},
        )

    def _results(self) -> dict[str, Any]:
        """Decode, write the predictions and score them."""
        predictions: dict[Part, list[Prediction]] = {}
        for part in self.config.predict:
            with self.watch.measure("test" if part == "test" else "decode dev"):
                predictions[part] = self.fitting.predict(part)
            write_jsonl(self.folder / PREDICTION_FILES[part], predictions[part])
        if "test" not in predictions:
            return {"scores": {}, "tasks": {}}
        with self.watch.measure("score"):
            names = self.config.metrics or METRICS.names()
            report = score_predictions(predictions["test"], names, seed=self.config.seeds.bootstrap)
        with self.watch.measure("baselines"):
            seeds = {"seed": self.config.seed, "bootstrap": self.config.seeds.bootstrap}
            baselines = score_baselines(self.data, names, **seeds, known=self.baseline_scores)
        tasks = {
            rows.data.name: TaskResult(
                scores=report.tasks[rows.data.name],
                data={
                    **rows.data.counts,
                    "cuts": self.fitting.cuts[rows.data.name],
                    "ended": self.fitting.ended[rows.data.name],
                },
                fingerprint=rows.data.fingerprint,
            )
            for rows in self.fitting.rows
        }
        return {"scores": report.scores, "score_notes": report.notes, "tasks": tasks, "baselines": baselines}

    def _save(self, merged: Sequence[MergedStage]) -> None:
        save_adapted(
            self.folder / ADAPTER,
            self.adaptation,
            base=self.config.base,
            method=self.config.method.model_dump(mode="json"),
            prompts={rows.data.name: rows.prompt for rows in self.fitting.rows},
            max_new_tokens=self.fitting.limit,
            options=self.fitting.decoding,
            seed=self.config.all_seeds["decode"],
            definitions=self.data.definitions,
            stages=merged,
        )
