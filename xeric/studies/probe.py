"""How long a study will take and how much memory, by trying: a few steps and a few texts of every method on every base.

Everything here is an estimate, and on the safe side: early stopping is not foreseen, trained models often stop writing
sooner than they may, and larger batches decode faster than the few texts of a probe.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xeric.data.preparing import Prepared
from xeric.run.config import RunConfig, run_config
from xeric.run.execute import execute
from xeric.studies.config import LineKey
from xeric.studies.folder import PlannedCell
from xeric.studies.paraphrases import wordings_of
from xeric.studies.plan import Plan, line_settings, stage_settings
from xeric.studies.workshop import Workshop
from xeric.training.options import planned_steps

__all__ = ["Estimate", "LineEstimate", "estimate"]

_STEPS = 4
_TEXTS = 8
_TASKS = 3


@dataclass(frozen=True)
class LineEstimate:
    """What a run of one line takes.

    Attributes:
        key: the line.
        seconds: of a run: training at full length, decoding of test and dev, scoring.
        memory: peak bytes of the probing process.
        trainable: parameters.
        runs: how many such runs are still to be done.
    """

    key: LineKey
    seconds: float
    memory: int
    trainable: int
    runs: int


@dataclass(frozen=True)
class Estimate:
    """What the rest of a study takes, by one process.

    Attributes:
        lines: those with runs still to be done.
        tuning: seconds of the trials.
        stages: seconds of the stage-1 models.
        wordings: seconds of decoding under other wordings of the definitions.
    """

    lines: tuple[LineEstimate, ...]
    tuning: float
    stages: float
    wordings: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(line.seconds * line.runs for line in self.lines) + self.tuning + self.stages + self.wordings

    @property
    def memory(self) -> int:
        """Peak bytes of the largest run."""
        return max((line.memory for line in self.lines), default=0)


@dataclass
class _Clock:
    """Takes the time of steps and texts; a run's progress."""

    steps: list[float] = field(default_factory=list)
    texts: list[float] = field(default_factory=list)
    _phase: str = ""
    _last: float = 0.0

    def note(self, text: str) -> None: ...

    def start(self, phase: str, total: int, done: int = 0) -> None:
        self._phase, self._last = phase, time.perf_counter()

    def advance(self, units: int, loss: float | None = None) -> None:
        now = time.perf_counter()
        if self._phase.startswith("train"):
            self.steps.append(now - self._last)
        else:
            self.texts += [(now - self._last) / units] * units
        self._last = now


@dataclass(frozen=True)
class _Speed:
    """Seconds a step, a decoded text and a scored text; peak bytes; trainable parameters."""

    step: float
    text: float
    score: float
    memory: int
    trainable: int


def estimate(
    plan: Plan,
    workshop: Workshop,
    todo: Sequence[PlannedCell],
    trials: Mapping[tuple[str, str], int],
    begin: Callable[[str], None],
    *,
    wordings: float = 0.0,
) -> Estimate:
    """Return what the cells still to be done take.

    Args:
        plan: of the study.
        workshop: opens bases and prepares tasks.
        todo: the cells.
        trials: runs of tuning still to be done, by labels of base and method.
        begin: is told which line is tried.
        wordings: seconds of decoding finished runs under other wordings of the definitions.

    Raises:
        UserError: a run's settings do not fit its tasks or base.
    """
    speeds: dict[tuple[str, str, str], _Speed] = {}
    lines = []
    for line in plan.lines:
        runs = [cell for cell in todo if cell.line == line]
        if not runs:
            continue
        config, _ = run_config(line_settings(plan.study, line.key, runs[0].tasks))
        data = workshop.prepared(config)
        # A step takes as long whatever the number of examples. An ablation is a method of its own: a part less can make a step
        # a quarter faster, so what it is like says too little.
        alike = (line.key.base, line.key.method, line.key.setting)
        if alike not in speeds:
            begin(f"probe: {line.label}")
            speeds[alike] = _probe(workshop, config, data)
        speed = speeds[alike]
        again = sum(len(wordings_of(plan.study, cell)) for cell in runs)
        wordings += again * sum(len(task.test) for task in data.tasks) * speed.text
        lines.append(LineEstimate(line.key, _seconds(config, data, speed), speed.memory, speed.trainable, len(runs)))
    return Estimate(tuple(lines), _tuning(lines, trials), _stages(plan, workshop, todo), wordings)


def _probe(workshop: Workshop, config: RunConfig, data: Prepared) -> _Speed:
    """Carry out a few steps and texts of a run, in a folder that vanishes."""
    by_length = sorted(data.tasks, key=lambda task: sum(len(i.input) for i in task.train) / max(len(task.train), 1))
    places = sorted({round(share * (len(by_length) - 1) / max(_TASKS - 1, 1)) for share in range(_TASKS)})
    tasks = tuple(replace(by_length[place], test=by_length[place].test[:_TEXTS]) for place in places)
    short: dict[str, Any] = {"max_steps": _STEPS, "early_stopping": False, "dev_every": 10 * _STEPS}
    changes: dict[str, Any] = {"tasks": tuple(task.name for task in tasks), "predict": ("test",), "stages": ()}
    probed = config.model_copy(update={**changes, "train": config.train.model_copy(update=short)})
    clock = _Clock()
    with tempfile.TemporaryDirectory() as scratch:
        base = workshop.open_base(config)
        record = execute(probed, Path(scratch) / "run", base=base, data=replace(data, tasks=tasks), progress=clock).record
    # The first step makes what later steps find made; a median passes over the first text likewise.
    step = statistics.median(clock.steps[1:] or clock.steps or [0.0])
    score = float(record.cost.get("seconds", {}).get("score", 0.0)) / max(len(clock.texts), 1)
    memory = int(record.cost.get("peak_memory_bytes", 0))
    return _Speed(step, statistics.median(clock.texts or [0.0]), score, memory, record.parameters.get("trainable", 0))


def _seconds(config: RunConfig, data: Prepared, speed: _Speed) -> float:
    train, dev, test = (sum(len(getattr(task, part)) for task in data.tasks) for part in ("train", "dev", "test"))
    steps = planned_steps(config.train, train) if speed.trainable else 0
    # A look at dev once an epoch is a pass without gradients: about a third of a training pass.
    looks = 1 + dev / max(train, 1) / 3
    return steps * speed.step * looks + (test + dev) * speed.text + test * speed.score


def _tuning(lines: Sequence[LineEstimate], trials: Mapping[tuple[str, str], int]) -> float:
    """Return the seconds of the trials: each as long as a run of its method, where there is one, else as the mean run."""
    known: dict[tuple[str, str], float] = {}
    for line in lines:
        known.setdefault((line.key.base, line.key.method), line.seconds)
    return sum(runs * known.get(pair, statistics.mean(known.values())) for pair, runs in trials.items()) if known else 0.0


def _stages(plan: Plan, workshop: Workshop, todo: Sequence[PlannedCell]) -> float:
    """Return the seconds of training one stage-1 model for each base that needs one."""
    study, total = plan.study, 0.0
    first = {cell.line.key.base: cell for cell in reversed(todo) if cell.line.key.start == "stage-1"}
    for base, cell in first.items():
        if study.texts:
            total += _text_stage(workshop, run_config(line_settings(study, cell.line.key, cell.tasks))[0])
            continue
        stage = stage_settings(study, base)
        own = {key: stage.get(key, study.run.get(key, {})) for key in ("data", "prompt", "train")}
        settings = {"tasks_dirs": list(study.tasks_dirs), "base": study.base_name(base), "method": stage["method"], **own}
        config, _ = run_config({**settings, "tasks": stage["tasks"], **_place(study.run)})
        data = workshop.prepared(config)
        speed = _probe(workshop, config, data)
        total += planned_steps(config.train, sum(len(task.train) for task in data.tasks)) * speed.step
    return total


def _text_stage(workshop: Workshop, config: RunConfig) -> float:
    """Return the seconds of a run's one stage, on text: a few of its steps are taken, in a folder that vanishes."""
    (stage,) = config.stages
    data = workshop.prepared(config)
    tasks = tuple(replace(task, test=task.test[:1]) for task in data.tasks)
    short = stage.train.model_copy(update={"max_steps": _STEPS, "early_stopping": False})
    changes: dict[str, Any] = {"stages": (stage.model_copy(update={"train": short}),), "predict": ("test",)}
    probed = config.model_copy(update={**changes, "train": config.train.model_copy(update={"max_steps": 0})})
    clock = _Clock()
    with tempfile.TemporaryDirectory() as scratch:
        base = workshop.open_base(config)
        record = execute(probed, Path(scratch) / "run", base=base, data=replace(data, tasks=tasks), progress=clock).record
    rows = record.stages[0]["texts"]["rows"]["train"]
    return planned_steps(stage.train, rows) * statistics.median(clock.steps[1:] or clock.steps or [0.0])


def _place(run: dict[str, Any]) -> dict[str, Any]:
    return {key: run[key] for key in ("device", "precision", "decode", "metrics") if key in run}
