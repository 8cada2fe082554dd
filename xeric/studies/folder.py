"""A study's folder: the paths in it, its study file and its list of runs. No torch.

======================================  ==========================================================================================
``study.yaml``                          the study as it is run, overrides applied; its first line holds the identity
``runs.json``                          every planned run
``runs/RUN/``                         a run folder, or ``failure.json`` where the run failed
``runs/RUN/paraphrases/``             predictions of the run under paraphrases of its tasks' definitions
``tuning/BASE-METHOD/``                 ``tuning.json``, and a run folder for each trial, scored on dev only
``instructions/BASE-PROMPT/TASK/``      ``search.json``: what a search for a definition found; ``search.jsonl`` while it lasts
``stages/HASH/``                        models that several runs start from
``baselines/NAME/SEED/``                predictions of the trivial baselines on the same instances
``baselines/baselines.json``            which of them arms are compared with, and the lengths of the tasks' training targets
``precision.json``                      the precision of all runs, where the study file leaves it to the machine
``locks/``                              locks of the processes that work on the study now; empty otherwise
``results.json``                        the results of the analysis
======================================  ==========================================================================================
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from xeric.config import Config, build
from xeric.encodings import read_text
from xeric.errors import DataError, UserError
from xeric.files import is_file, reading, write_atomically
from xeric.json_io import read_json
from xeric.record_io import read_record
from xeric.records import Record
from xeric.studies.config import ArmKey, StudyConfig
from xeric.yaml_io import dump_yaml, load_yaml

__all__ = ["Failure", "PlannedArm", "PlannedRun", "RunState", "StudyFolder", "read_state", "remove_parts"]

_HEADING = "# study "


class PlannedArm(Config):
    """An arm as the plan names it.

    Attributes:
        id: readable words and a hash of the arm's settings: the same settings always have the same id.
        label: for people: the axes in which it differs from the study's other arms.
        key: its axes.
    """

    id: str
    label: str
    key: ArmKey


class PlannedRun(Config):
    """A run as the plan names it.

    Attributes:
        id: name of its folder under ``runs/``.
        arm: its arm.
        seed: of the run. Where an arm's outputs do not depend on the seed (nothing is trained, decoding is deterministic) the
            arm has one run only, of the study's first seed.
        tasks: what it is scored on.
        settings: what tuning chose and searches found (``prompt.definitions``), by dotted path; empty where defaults are used,
            or until that is done.
    """

    id: str
    arm: PlannedArm
    seed: int
    tasks: tuple[str, ...]
    settings: dict[str, Any] = {}


class Failure(Config):
    """``failure.json``: why a run has no record."""

    error: str
    hint: str | None = None


@dataclass(frozen=True)
class RunState:
    """The state of a run folder: a record, a failure, or neither (not begun, or not finished)."""

    record: Record | None
    failure: Failure | None

    @property
    def status(self) -> str:
        """``ok``, ``diverged``, ``failed`` or ``missing``."""
        if self.record is not None:
            return self.record.status
        return "missing" if self.failure is None else "failed"


class StudyFolder:
    """The paths of a study's folder, and reading and writing of its own files.

    Args:
        root: the folder; it need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.study_file = root / "study.yaml"
        self.runs_file = root / "runs.json"
        self.results_file = root / "results.json"
        self.runs_dir = root / "runs"
        self.tuning_dir = root / "tuning"
        self.instructions_dir = root / "instructions"
        self.stages_dir = root / "stages"
        self.baselines_dir = root / "baselines"
        self.baselines_file = self.baselines_dir / "baselines.json"
        self.precision_file = root / "precision.json"
        self.locks_dir = root / "locks"

    def run_folder(self, run: str) -> Path:
        """Return the run folder of a run."""
        return self.runs_dir / run

    def tuning(self, key: ArmKey) -> Path:
        """Return the folder of the trials of a method on a base, by their labels; those from stage 1 have one of their own."""
        return self.tuning_dir / (f"{key.base}-{key.method}" + ("-stage1" if key.start == "stage-1" else ""))

    def search(self, base: str, prompt: str, task: str) -> Path:
        """Return the folder of the search for a task's definition, by the labels of base and prompt."""
        return self.instructions_dir / f"{base}-{prompt}" / task

    def baseline(self, name: str, seed: int = 0) -> Path:
        """Return the folder of a trivial baseline's predictions."""
        return self.baselines_dir / name / str(seed)

    def lock_name(self, folder: Path) -> str:
        """Return the name under which a run's folder is locked."""
        return "-".join(folder.relative_to(self.root).parts)

    def read_study(self) -> StudyConfig:
        """Return the study that the folder holds.

        Raises:
            UserError: it holds none, or its study file cannot be used.
        """
        if not self.study_file.is_file():
            raise UserError("holds no study", where=str(self.root), hint="make one with `xeric study run STUDY -o FOLDER`")
        return build(StudyConfig, load_yaml(self.study_file))

    def read_identity(self) -> str | None:
        """Return the hash of what the folder's study computes, or None where the folder holds no study yet."""
        with reading(self.study_file):
            if not is_file(self.study_file):
                return None
        first = read_text(self.study_file).partition("\n")[0]
        if not first.startswith(_HEADING):
            raise DataError(
                "was not written by `xeric study run`", where=str(self.study_file), hint="name another folder with -o"
            )
        return first.removeprefix(_HEADING).strip()

    def write_study(self, study: StudyConfig, identity: str) -> None:
        """Write the study file, unless it has this content already."""
        _write_if_new(self.study_file, f"{_HEADING}{identity}\n{dump_yaml(study)}")

    def read_precision(self) -> str | None:
        """Return the precision that the runs are computed in: that written, else that of a run that has begun; None before.

        Raises:
            DataError: the file that says so is damaged.
        """
        if is_file(self.precision_file):
            written = read_json(self.precision_file)
        else:
            configs = sorted([*self.runs_dir.glob("*/config.yaml"), *self.tuning_dir.glob("*/*/config.yaml")])
            written = load_yaml(configs[0]) if configs else {}
        precision = written.get("precision") if isinstance(written, dict) else None
        return None if precision is None else str(precision)

    def write_precision(self, precision: str) -> None:
        """Write the precision that the runs are computed in, unless it stands there already."""
        _write_if_new(self.precision_file, json.dumps({"precision": precision}) + "\n")

    def read_runs(self) -> list[PlannedRun]:
        """Return the planned runs, in their order.

        Raises:
            UserError: the folder holds no list of runs, or a damaged one.
        """
        if not self.runs_file.is_file():
            raise UserError(
                "holds no planned runs", where=str(self.root), hint="make them with `xeric study run STUDY -o FOLDER`"
            )
        raw = read_json(self.runs_file)
        if not isinstance(raw, list):
            raise DataError("not a list of runs", where=str(self.runs_file))
        return [build(PlannedRun, run, where=str(number)) for number, run in enumerate(raw)]

    def write_runs(self, runs: list[PlannedRun]) -> None:
        """Write the planned runs, in their order."""
        rows = [run.model_dump(mode="json") for run in runs]
        _write_if_new(self.runs_file, json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def state(self, run: str) -> RunState:
        """Return the state of a run's folder.

        Raises:
            DataError: its record cannot be read.
        """
        return read_state(self.run_folder(run))


def read_state(folder: Path) -> RunState:
    """Return the state of a run folder of a study.

    Raises:
        DataError: its record or its failure cannot be read.
    """
    record = read_record(folder)
    path = folder / "failure.json"
    with reading(path):
        if record is not None or not is_file(path):
            return RunState(record, None)
        content = path.read_bytes()
    try:
        return RunState(None, Failure.model_validate_json(content))
    except ValidationError:
        raise DataError("not the description of a failure", where=str(path)) from None


def remove_parts(folder: Path, pattern: str = ".*.part") -> None:
    """Delete files that a killed process left partly written; no other process may be writing there now."""
    for path in folder.glob(pattern):
        path.unlink(missing_ok=True)


def _write_if_new(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text)
