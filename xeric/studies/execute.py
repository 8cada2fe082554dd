"""Carries a study out: tuning, cells, trivial baselines, and at the end the results.

Every run has a folder and an identity of its own, and its record says that it is done. So a study that was killed goes on where
it was, several processes can work on one folder (:mod:`xeric.run.locks`), and what is done is never done again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xeric.bases.loading import base_identity
from xeric.config import build, digest
from xeric.data.catalog import Catalog
from xeric.data.preparing import Prepared
from xeric.data.texts import TextOptions, texts_digest
from xeric.errors import ConfigError, DataError, RunError, UserError, XericError
from xeric.files import expanded, is_of_other_programs, writing
from xeric.metrics import PRIMARY
from xeric.progress import Progress, Silent
from xeric.records import MANY_AT_LIMIT, Record, length_share, write_json
from xeric.run.config import RunConfig, run_config
from xeric.run.locks import sweep
from xeric.studies.analysis import analyse
from xeric.studies.baselines import write_baselines
from xeric.studies.config import LineKey, StudyConfig
from xeric.studies.folder import CellState, Failure, PlannedCell, StudyFolder, remove_parts
from xeric.studies.pace import Left, Pace
from xeric.studies.paraphrases import never_reworded, wordings_of
from xeric.studies.plan import Plan, line_settings, load_study, plan_study, study_identity, user_path
from xeric.studies.results import StudyResults
from xeric.studies.trials import Trials, trial_settings, tuned_pairs
from xeric.studies.workshop import StudyProgress, Workshop

__all__ = ["Shard", "StudyRun", "check_settings", "identify", "open_folder", "own_data", "run_study"]

Shard = tuple[int, int]
"""Number (from 1 on) and count: of every ``count`` cells a process takes one."""


class _Silent(Silent):
    def begin(self, what: str) -> None: ...
    def overall(self, done: int, total: int, seconds_left: float | None) -> None: ...


@dataclass(frozen=True)
class StudyRun:
    """What became of a study.

    Attributes:
        folder: where it lies.
        plan: what was asked for.
        states: what each cell's folder holds, by cell; all cells, also those of other shards.
        results: what they show; None while cells are missing, or where all failed.
    """

    folder: StudyFolder
    plan: Plan
    states: dict[str, CellState]
    results: StudyResults | None

    def cells(self, *statuses: str) -> list[str]:
        """Return the cells that have one of these statuses."""
        return [name for name, state in self.states.items() if state.status in statuses]


def run_study(
    study: StudyConfig | str | Path,
    output: str | Path,
    *,
    overrides: Iterable[str] = (),
    shard: Shard | None = None,
    progress: StudyProgress | None = None,
    workers: int = 1,
    poll: float = 1.0,
) -> StudyRun:
    """Carry a study out, or go on with it where it was.

    Args:
        study: the study, or what :func:`xeric.studies.plan.load_study` takes.
        output: its folder; made where it is missing.
        overrides: of a study that is given by name or file.
        shard: take a part of the cells only; the others are for other processes, and are not waited for.
        progress: is told what happens.
        workers: processes that count predictions for the results; see :func:`xeric.studies.outputs.measure_runs`.
        poll: seconds between looks while other processes have the last runs.

    Raises:
        UserError: settings, tasks or bases are at fault, or the folder holds another study. Nothing was written then.
    """
    progress = progress or _Silent()
    if not isinstance(study, StudyConfig):
        study, remarks = load_study(study, overrides)
        for remark in remarks:
            progress.note(remark)
    plan = plan_study(study)
    check_settings(plan)
    folder, identity = open_folder(study, expanded(output), progress)
    workshop = Workshop(folder, progress, poll=poll)
    progress.note(f"preparing {len(study.tasks)} tasks")
    data = own_data(plan, workshop)
    if study.tuning and not any(task.dev for task in data.tasks):
        raise ConfigError(
            "there is no dev set to choose on", where="tuning", hint="it takes data.n_train of 50; or set tuning=null"
        )
    work = _Work(plan, folder, workshop, progress)
    with workshop.alone("study"):
        remove_parts(folder.root)
        remove_parts(folder.baselines_dir, "*/*/.*.part")
        remove_parts(folder.baselines_dir)
        folder.write_study(study, identity)
        if study.baselines:
            write_baselines(folder, data, study.seeds)
        work.write_cells()
    work.cells([cell for number, cell in enumerate(plan.cells) if shard is None or number % shard[1] == shard[0] - 1])
    if remark := never_reworded(study, folder, plan.cells):
        progress.note(remark)
    with workshop.alone("study"):
        work.write_cells()
        states = {cell.id: folder.state(cell.id) for cell in plan.cells}
        results = None
        if all(state.status != "missing" for state in states.values()):
            results = _results(folder, progress, workers)
    for place in (folder.locks_dir, folder.stages_dir / "locks"):
        sweep(place)
    return StudyRun(folder, plan, states, results)


def _results(folder: StudyFolder, progress: StudyProgress, workers: int) -> StudyResults | None:
    """Make and write a study's results; where every cell failed there are none."""
    try:
        results = analyse(folder.root, workers=workers)
    except XericError as error:
        progress.note(f"there are no results: {error}")
        return None
    write_json(folder.results_file, results)
    return results


def check_settings(plan: Plan) -> None:
    """Do nothing if every run of a study has settings that a run can have, and no two lines are one under two names.

    Raises:
        UserError: one has not, or two are; ``where`` is the dotted path in the study file.
    """
    study = plan.study
    untrained: dict[str, str] = {}
    for line in plan.lines:
        try:
            config, _ = run_config(line_settings(study, line.key, study.tasks))
        except ConfigError as error:
            raise user_path(study, line.key, error) from None
        if config.method.name == "none":
            other = untrained.setdefault(_rows_mark(config), line.label)
            if other != line.label:
                both = f"the lines {other!r} and {line.label!r} cannot differ: nothing is trained, and they show the same rows"
                raise ConfigError(both, where="grids", hint="leave one of them out")
    for key in tuned_pairs(plan):
        if study.tuning:
            trial_settings(study, key, study.tuning)
    for label in study.tuning.space if study.tuning else ():
        if label not in study.methods:
            raise ConfigError(
                f"names the unknown method {label!r}", where="tuning.space", hint="known: " + ", ".join(study.methods)
            )


def _rows_mark(config: RunConfig) -> str:
    """Return a mark of everything in a run's settings that decides its rows and what answers them, where nothing is trained."""
    prompt, count = config.prompt, config.prompt.demonstration_count
    layout = [prompt.template, prompt.definition, count, prompt.demonstration_seed if count else None]
    return digest([layout, config.model_dump(mode="json", include={"base", "stages", "data"})])


def identify(study: StudyConfig, progress: Progress | None = None) -> str:
    """Return the hash of what a study computes, contents of bases, tasks and texts included.

    Args:
        study: the study.
        progress: is told where a base is fetched first.

    Raises:
        UserError: a base, a task or a text is missing.
    """
    catalog = Catalog.of(study.tasks_dirs)
    contents: dict[str, Any] = {
        "bases": {label: base_identity(study.base_name(label), progress) for label in study.bases},
        "tasks": {name: _sha256(catalog.find(name)) for name in (*study.tasks, *study.sources)},
    }
    if study.texts:
        options = build(TextOptions, study.stage.get("corpus", {}), where="stage.corpus")
        contents["texts"] = texts_digest(study.texts, options)
    return study_identity(study, contents)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from None


def open_folder(study: StudyConfig, output: Path, progress: Progress | None = None) -> tuple[StudyFolder, str]:
    """Return a study's folder and identity; nothing is written into it.

    Args:
        study: the study.
        output: where the folder is.
        progress: is told where a base is fetched first.

    Raises:
        UserError: the folder holds another study, or something that is no study.
    """
    folder, identity = StudyFolder(output), identify(study, progress)
    elsewhere = "name another folder with -o"
    with writing(output):
        if output.exists() and not output.is_dir():
            raise UserError("is a file, not a folder", where=str(output), hint=elsewhere)
    there = folder.read_identity()
    if there is not None and there != identity:
        what = f"holds another study ({there}, this one is {identity}): its tasks, bases, methods or run settings differ"
        raise UserError(what, where=str(output), hint=elsewhere)
    if there is None and output.is_dir() and any(_counts(path.name) for path in output.iterdir()):
        raise UserError("is not empty and holds no study", where=str(output), hint=elsewhere)
    return folder, identity


def _counts(name: str) -> bool:
    """Say whether a file makes a folder one that is not empty."""
    return not name.endswith(".part") and not is_of_other_programs(name)


def own_data(plan: Plan, workshop: Workshop) -> Prepared:
    """Return the study's tasks as its trained lines have them."""
    study = plan.study
    key = LineKey(base=next(iter(study.bases)), method=next(iter(study.methods)))
    config, _ = run_config(line_settings(study, key, study.tasks))
    return workshop.prepared(config)


def _in_short(record: Record) -> str:
    """Return what a run's note adds to its status: its score, and how many of its texts were cut off, where that is many."""
    score, share = record.scores.get(PRIMARY), length_share(record.tasks.values())
    said = f", {PRIMARY} {score.score:.1f}" if score else ""
    return said + (f"; {share:.0%} of its texts end at the limit of new tokens" if share and share > MANY_AT_LIMIT else "")


class _Work:
    """The runs of one process."""

    def __init__(self, plan: Plan, folder: StudyFolder, workshop: Workshop, progress: StudyProgress) -> None:
        self._plan, self._folder, self._workshop, self._progress = plan, folder, workshop, progress
        self._trials = Trials(plan, workshop, self._finished_trial)
        self._pace = Pace()
        self._done = 0
        self._left: list[Left] = []

    def write_cells(self) -> None:
        """Write the list of cells with what tuning has chosen so far."""
        cells = [cell.model_copy(update={"settings": self._trials.known(cell.line.key)}) for cell in self._plan.cells]
        self._folder.write_cells(cells)

    def cells(self, cells: Sequence[PlannedCell]) -> None:
        """Carry out cells, and the trials that they need; what another process has is waited for."""
        needed = {self._tuned(cell.line.key) for cell in cells} - {None}
        pairs = [key for key in tuned_pairs(self._plan) if (key.base, key.method) in needed]
        self._left = [Left(key) for key in pairs for _ in range(self._trials.runs(key))]
        self._left += [self._of_cell(cell) for cell in cells]
        todo = list(cells)
        self._tell()
        while todo:
            busy = [cell for cell in todo if not self._cell(cell)]
            if len(busy) == len(todo):
                self._workshop.wait()
            todo = busy

    def _of_cell(self, cell: PlannedCell) -> Left:
        return Left(cell.line.key, len(wordings_of(self._plan.study, cell)))

    def _tuned(self, key: LineKey) -> tuple[str, str] | None:
        if self._plan.study.tuning is None or key.untrained:
            return None
        return key.base, self._plan.study.own_entry(key.method).like or key.method

    def _cell(self, cell: PlannedCell) -> bool:
        """Carry out a cell; say whether it is done with, by this process or another."""
        done = self._workshop.state(self._folder.cell(cell.id))
        state = self._run(cell)
        if state is None:
            return False
        if done is None and state.record is not None:
            self._progress.note(f"{cell.id}: {state.status}{_in_short(state.record)}")
        self._finished(self._of_cell(cell), state)
        return True

    def _run(self, cell: PlannedCell) -> CellState | None:
        place = self._folder.cell(cell.id)
        try:
            # What is done needs no settings any more, whatever has become of the trials.
            chosen = self._trials.chosen(cell.line.key) if self._workshop.state(place) is None else {}
        except RunError as error:
            return self._workshop.refuse(place, Failure(error=str(error), hint=error.hint))
        settings = self._plan.settings(cell.model_copy(update={"settings": chosen}))
        study = self._plan.study
        return self._workshop.run(place, settings, keep_adapter=study.keep != "none", wordings=wordings_of(study, cell))

    def _finished_trial(self, key: LineKey, state: CellState) -> None:
        if Left(key) in self._left:
            self._finished(Left(key), state)

    def _finished(self, run: Left, state: CellState) -> None:
        self._pace.add(run.key, state)
        self._left.remove(run)
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        self._progress.overall(self._done, self._done + len(self._left), self._pace.seconds(self._left))
