"""Carries a run out, from config to record.

The order is: identity first (what would be computed), then the folder (finished, unfinished, or of another run), then
the work: attach, train, save, decode, score, and last the record. A run that was killed goes on from its checkpoint
and ends with the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from xeric.bases.base import Base
from xeric.bases.loading import base_identity, load_base
from xeric.data.catalog import Catalog
from xeric.data.preparing import Prepared, prepare
from xeric.errors import ConfigError, StorageError
from xeric.files import remove, write_atomically
from xeric.json_io import write_json, write_jsonl
from xeric.methods.base import Adaptation
from xeric.progress import Progress, Silent
from xeric.records import BEFORE_FILE, RECORD_FILE, Prediction, Record, Score
from xeric.run.baselines import KnownScores
from xeric.run.before import predict_before
from xeric.run.config import RunConfig, run_id
from xeric.run.cost import Stopwatch
from xeric.run.finishing import finish
from xeric.run.folder import CHECKPOINT, CONFIG_FILE, Guarded, finished, heading, leftovers, occupied, tidy
from xeric.run.source import Source, read_source
from xeric.run.stage_store import StageStore
from xeric.run.stage_training import restored
from xeric.run.stages import PlannedStage, StageData, plan_stages
from xeric.run.start import Before, attach, find_source
from xeric.run.task_session import TaskSession
from xeric.run.template import settled_prompt
from xeric.run.tracking import Tracking
from xeric.training.checkpoint import CheckpointFile
from xeric.training.processes import ALONE, Processes
from xeric.yaml_io import dump_yaml

__all__ = ["Run", "execute", "prepare_run"]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        config: what it was asked to do.
        record: its scores and how they were computed.
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


def prepare_run(config: RunConfig, progress: Progress | None = None) -> Prepared:
    """Find, clean and split the config's tasks.

    Args:
        config: of the run.
        progress: is told of each task.

    Raises:
        UserError: a task is unknown, its file cannot be used, or it has too few instances.
    """
    catalog = Catalog.of(config.tasks_dirs)
    tasks = [catalog.load(name, group_key=config.data.group_column) for name in config.tasks]
    trained_on = read_source(config.from_run).inputs if config.from_run else ()
    return prepare(tasks, config.data, config.prompt, trained_on=trained_on, progress=progress)


def execute(
    config: RunConfig,
    folder: Path | None = None,
    *,
    base: Base | None = None,
    data: Prepared | None = None,
    stages: StageStore | None = None,
    stage_data: MutableMapping[str, StageData] | None = None,
    baseline_scores: KnownScores | None = None,
    progress: Progress | None = None,
    locked: bool = False,
    processes: Processes = ALONE,
) -> Run:
    """Carry out a run, or return the finished run that its folder already holds.

    Args:
        config: of :func:`xeric.run.config.run_config`.
        folder: where to put it; None is ``runs/RUN_ID``.
        base: the base, where it is open already; it is unchanged afterwards.
        data: the prepared tasks, where the caller has prepared them already.
        stages: keeps stages, which other runs reuse; None is the folder ``stages`` beside the run's folder.
        stage_data: prepared data of stages, shared by several runs; entries are added.
        baseline_scores: of the trivial baselines, shared by several runs; entries are added.
        progress: is told what happens.
        locked: whether the caller holds the folder's lock; if not, this waits for it.
        processes: that carry out the run together, each with the same arguments; see :mod:`xeric.training.processes`.

    Returns:
        The run; its record's status is ``diverged`` where the loss was no longer finite.

    Raises:
        UserError: the config does not fit tasks or base, or the folder holds something else.
        StorageError: the file system refuses.
        RunError: the processes do not see the same tasks or base, or one of them has ended.
    """
    progress = (progress if processes.first else None) or Silent()
    data = data or prepare_run(config)
    if (data.options, data.prompt, [task.name for task in data.tasks]) != (config.data, config.prompt, list(config.tasks)):
        raise ConfigError("the prepared tasks were prepared under other settings", where="data")
    for note in data.notes:
        progress.note(note)
    source = find_source(config, data)
    sha256 = base.sha256 if base else base_identity(config.base, progress)
    planned = plan_stages(config, data, sha256, {} if stage_data is None else stage_data)
    identity = run_id(config, data.fingerprint, sha256, [stage.id for stage in planned], source.identity if source else None)
    processes.check_same(identity, "tasks, settings or base")
    folder = folder or Path("runs") / identity
    if (done := processes.from_first(lambda: finished(folder, identity))) is not None:
        if not locked and processes.first:
            tidy(folder)
        return Run(folder, config, done, fresh=False)
    with contextlib.ExitStack() as stack:
        if not locked and processes.first:
            progress = Guarded(progress, stack.enter_context(occupied(folder, progress)), folder)
            stack.enter_context(progress.noticing())
        # Another process may have finished the run in the meantime.
        if not locked and (done := processes.from_first(lambda: finished(folder, identity))) is not None:
            return Run(folder, config, done, fresh=False)
        to = _Destination(folder, identity, stages or StageStore(folder.parent / "stages"))
        scores = {} if baseline_scores is None else baseline_scores
        record = _compute(config, to, base, data, source or planned, scores, progress, processes)
    return Run(folder, config, record, fresh=True)


@dataclass(frozen=True)
class _Destination:
    """Where a run is put, what it is called, and where its stages are kept."""

    folder: Path
    identity: str
    stages: StageStore


def _compute(
    config: RunConfig,
    to: _Destination,
    base: Base | None,
    data: Prepared,
    start: Source | list[PlannedStage],
    baseline_scores: KnownScores,
    progress: Progress,
    processes: Processes,
) -> Record:
    """Do the work of a run whose folder is free, and write its record."""
    opened = base or load_base(config.base, device=config.device, precision=config.precision, progress=progress)
    merges = start.merges(config.method) if isinstance(start, Source) else bool(start)
    earlier = predict_before(config, opened, data, to.folder / BEFORE_FILE, progress) if processes.first else []
    with restored(opened, needed=base is not None and merges):
        with _after_work():
            adaptation, before = attach(start, config, data, opened, to.stages, progress, processes)
        try:
            watch = Stopwatch(opened.device)
            session = _session(config, opened, adaptation, data, progress, processes)
            # Written only once tasks, base and method are known to fit: a mistake in the settings leaves no folder behind.
            processes.from_first(lambda: _write_start(config, to, earlier))
            tracker = config.track if processes.first else None
            with _after_work(), Tracking(tracker, to.folder, config.model_dump(mode="json"), progress) as tracking:
                session.observe = tracking.step
                return _carry_out(config, to, session, watch, before, baseline_scores, tracking)
        finally:
            if base is not None:
                adaptation.detach()


def _write_start(config: RunConfig, to: _Destination, earlier: list[Prediction]) -> None:
    """Write what is known before the training: the settings, and what the base answers."""
    write_atomically(to.folder / CONFIG_FILE, f"{heading(to.identity)}\n{dump_yaml(config)}")
    if earlier:
        write_jsonl(to.folder / BEFORE_FILE, earlier)


@contextlib.contextmanager
def _after_work() -> Iterator[None]:
    """Make a storage error inside count as a failed run (exit code 1), not as bad input."""
    try:
        yield
    except StorageError as error:
        raise error.after_work() from None


def _session(
    config: RunConfig, base: Base, adaptation: Adaptation, data: Prepared, progress: Progress, processes: Processes
) -> TaskSession:
    """Return the session of a run whose method is attached, its prompt template settled."""
    as_it_is = config.method.name == "none" and not config.stages
    prompt, remark = settled_prompt(config.prompt, base, data, as_it_is=as_it_is)
    if remark:
        progress.note(remark)
    return TaskSession(
        base,
        adaptation,
        data,
        config.train_setup,
        prompt=prompt,
        decoding=config.decode,
        progress=progress,
        processes=processes,
    )


def _carry_out(
    config: RunConfig,
    to: _Destination,
    session: TaskSession,
    watch: Stopwatch,
    before: Before,
    baseline_scores: KnownScores,
    tracking: Tracking,
) -> Record:
    """Train, and let the first process save, decode, score and write the record; return the record."""
    session.note_cuts(config.predict)
    estimate = session.estimate()
    result = session.train(to.folder, CheckpointFile(to.folder / CHECKPOINT / "training.safetensors", to.identity))

    def finished_record() -> Record:
        record = finish(config, to.folder, to.identity, session, result, estimate, watch, before, baseline_scores)
        tracking.scores(record)
        write_json(to.folder / RECORD_FILE, record)
        for path in leftovers(to.folder):
            remove(path)
        return record

    return session.processes.from_first(finished_record)
