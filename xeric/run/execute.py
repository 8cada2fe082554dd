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
from xeric.data.catalog import Catalog
from xeric.data.preparing import Prepared, prepare
from xeric.errors import ConfigError, StorageError
from xeric.files import write_atomically
from xeric.json_io import write_json, write_jsonl
from xeric.methods.base import Adaptation
from xeric.metrics import METRICS, PRIMARY, score_measured
from xeric.metrics.stored import renewed
from xeric.progress import Progress, Silent
from xeric.records import PREDICTION_FILES, RECORD_FILE, Prediction, Record, Score, Split, TaskResult, versions
from xeric.run.adapted import save_adapted
from xeric.run.baselines import KnownScores, score_baselines
from xeric.run.config import RunConfig, run_id
from xeric.run.cost import Stopwatch
from xeric.run.folder import ADAPTER, CHECKPOINT, CONFIG_FILE, Guarded, finished, heading, occupied
from xeric.run.stages import MergedStage, PlannedStage, StageData, attach_after, plan_stages, restored
from xeric.run.task_session import TaskSession
from xeric.run.template import settled_prompt
from xeric.training.checkpoint import CheckpointFile
from xeric.yaml_io import dump_yaml

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
        to = _Destination(folder, identity, stages or folder.parent / "stages")
        record = _compute(config, to, base, data, planned, {} if baseline_scores is None else baseline_scores, progress)
    return Run(folder, config, record, fresh=True)


@dataclass(frozen=True)
class _Destination:
    """Where a run is put, what it is called, and where its stages are kept."""

    folder: Path
    identity: str
    stages: Path


def _compute(
    config: RunConfig,
    to: _Destination,
    base: Base | None,
    data: Prepared,
    planned: list[PlannedStage],
    known: KnownScores,
    progress: Progress,
) -> Record:
    """Do the work of a run whose folder is free, and write its record."""
    opened = base or load_base(config.base, device=config.device, precision=config.precision, progress=progress)
    with restored(opened, needed=base is not None and bool(planned)):
        with _after_work():
            adaptation, merged, stages = attach_after(planned, config, data, opened, to.stages, progress)
        try:
            watch = Stopwatch(opened.device)
            session = _session(config, opened, adaptation, data, progress)
            # Only now, when tasks, base and method have been seen to fit: a mistake in the settings leaves no folder behind.
            write_atomically(to.folder / CONFIG_FILE, f"{heading(to.identity)}\n{dump_yaml(config)}")
            with _after_work():
                record = _carry_out(config, to, session, watch, merged, stages, known)
                write_json(to.folder / RECORD_FILE, record)
        finally:
            if base is not None:
                adaptation.detach()
    shutil.rmtree(to.folder / CHECKPOINT, ignore_errors=True)
    return record


@contextlib.contextmanager
def _after_work() -> Iterator[None]:
    """Let what the file system refuses inside be a run that failed, not an input at fault."""
    try:
        yield
    except StorageError as error:
        raise error.after_work() from None


def _session(config: RunConfig, base: Base, adaptation: Adaptation, data: Prepared, progress: Progress) -> TaskSession:
    """Return the session of a run whose method is attached, its prompt template settled."""
    as_it_is = config.method.name == "none" and not config.stages
    prompt, remark = settled_prompt(config.prompt, base, data, as_it_is=as_it_is)
    if remark:
        progress.note(remark)
    return TaskSession(base, adaptation, data, config.train_setup, prompt=prompt, decoding=config.decode, progress=progress)


def _carry_out(
    config: RunConfig,
    to: _Destination,
    session: TaskSession,
    watch: Stopwatch,
    merged: Sequence[MergedStage],
    stages: Sequence[dict[str, Any]],
    known: KnownScores,
) -> Record:
    """Train, save, decode and score; return the record, which is not yet written."""
    session.say_cuts(config.predict)
    estimate = session.estimate()
    result = session.train(to.folder, CheckpointFile(to.folder / CHECKPOINT / "training.safetensors", to.identity))
    results: dict[str, Any] = {"scores": {}, "tasks": {}}
    if result.status == "ok":
        # First of all: what was trained must not be lost to whatever goes wrong in decoding or scoring.
        _save(config, to.folder, session, merged)
        results = _decode_and_score(config, to.folder, session, watch, known)
    base = session.base
    return Record(
        run_id=to.identity,
        status=result.status,
        method=config.method.name,
        base={
            "architecture": base.architecture,
            "sha256": base.sha256,
            "context": base.context,
            "parameters": base.parameters,
        },
        planned_steps=result.planned_steps,
        done_steps=result.done_steps,
        best_step=result.best_step,
        **results,
        task_weights=result.task_weights,
        resolved=session.resolved,
        seeds=config.all_seeds,
        parameters={
            "trainable": sum(p.numel() for p in session.adaptation.trainable().values()),
            "total": sum(p.numel() for p in base.model.parameters()),
        },
        fingerprint=session.data.fingerprint,
        leaks=session.data.leaks,
        stages=[{key: value for key, value in stage.items() if key != "cost"} for stage in stages],
        deterministic="bytes" if base.device.type == "cpu" else "seeds",
        versions=versions(),
        cost={**watch.cost(result, estimate), "stages": {stage["id"]: stage["cost"] for stage in stages}},
    )


def _save(config: RunConfig, folder: Path, session: TaskSession, merged: Sequence[MergedStage]) -> None:
    save_adapted(
        folder / ADAPTER,
        session.adaptation,
        base=config.base,
        method=config.method.model_dump(mode="json"),
        prompts={rows.data.name: rows.prompt for rows in session.rows},
        max_new_tokens=session.limit,
        options=session.decoding,
        seed=config.all_seeds["decode"],
        definitions=session.data.definitions,
        stages=merged,
    )


def _decode_and_score(
    config: RunConfig, folder: Path, session: TaskSession, watch: Stopwatch, known: KnownScores
) -> dict[str, Any]:
    """Decode, write the predictions and score them; return the parts of the record that come of it."""
    predictions: dict[Split, list[Prediction]] = {}
    for part in config.predict:
        with watch.measure("test" if part == "test" else "decode dev"):
            predictions[part] = session.predict(part)
        write_jsonl(folder / PREDICTION_FILES[part], predictions[part])
    names = config.metrics or tuple(METRICS.names())
    with watch.measure("score"):
        # Dev serves choices alone, and these go by the primary metric.
        counted = {
            part: renewed(folder / PREDICTION_FILES[part], names if part == "test" else [PRIMARY])
            for part, rows in predictions.items()
            if rows
        }
        if "test" not in counted:
            return {"scores": {}, "tasks": {}}
        report = score_measured(counted["test"], seed=config.seeds.bootstrap)
    with watch.measure("baselines"):
        seeds = {"seed": config.seed, "bootstrap": config.seeds.bootstrap}
        baselines = score_baselines(session.data, names, **seeds, known=known)
    tasks = {
        rows.data.name: TaskResult(
            scores=report.tasks[rows.data.name],
            data={**rows.data.counts, "cuts": session.cuts[rows.data.name], "ended": session.ended[rows.data.name]},
            fingerprint=rows.data.fingerprint,
        )
        for rows in session.rows
    }
    return {"scores": report.scores, "score_notes": report.notes, "tasks": tasks, "baselines": baselines}
