"""Carries a run out, from config to record.

The order is: identity first (what would be computed), then the folder (is it done, half done, somebody else's), then
the work: attach, train, decode, score, save, and last the record. A run that was killed goes on from its checkpoint
and ends with the same bytes.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from xeric.bases.base import Base
from xeric.bases.loading import base_identity, load_base
from xeric.config import dump_yaml
from xeric.data.catalog import Catalog
from xeric.data.encoding import EncodedTask
from xeric.data.preparing import Prepared, PreparedTask, prepare
from xeric.data.prompts import Prompt, build_prompt
from xeric.decoding import decode
from xeric.errors import ConfigError, DataError, UserError
from xeric.methods import METHODS
from xeric.methods.base import Adaptation
from xeric.metrics import METRICS, PRIMARY, score_predictions
from xeric.records import (
    RECORD_FILE,
    Prediction,
    Record,
    Score,
    TaskResult,
    read_record,
    versions,
    write_atomically,
    write_json,
    write_jsonl,
)
from xeric.run.adapted import save_adapted
from xeric.run.config import RunConfig, run_id
from xeric.run.cost import Stopwatch
from xeric.training.checkpoint import CheckpointFile
from xeric.training.loop import TrainResult, train
from xeric.training.loss import dev_loss
from xeric.training.memory import MemoryEstimate, available_memory, estimate_memory

__all__ = ["Progress", "Run", "execute", "prepare_run"]


class Progress(Protocol):
    """Is told how a run proceeds; it cannot influence it."""

    def note(self, text: str) -> None:
        """Something the user should read."""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """A phase (``train``, ``decode dev``, ``decode test``) of ``total`` units begins, ``done`` of which were done before."""

    def advance(self, units: int, loss: float | None = None) -> None:
        """Units of the present phase are done."""


class _Silent:
    def note(self, text: str) -> None: ...
    def start(self, phase: str, total: int, done: int = 0) -> None: ...
    def advance(self, units: int, loss: float | None = None) -> None: ...


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
    progress: Progress | None = None,
) -> Run:
    """Carry out a run, or return it as it is where its folder already holds it.

    Args:
        config: of :func:`xeric.run.config.run_config`.
        folder: where to put it; None is ``runs/RUN_ID``.
        base: the base, where it is open already (it is left as it was found).
        data: the prepared tasks, where they are at hand already.
        progress: is told what happens.

    Returns:
        The run; its record's status is ``diverged`` where the loss was no longer finite.

    Raises:
        UserError: the config does not fit tasks or base, or the folder holds something else.
    """
    progress = progress or _Silent()
    data = data or prepare_run(config)
    if (data.options, data.prompt, [task.name for task in data.tasks]) != (config.data, config.prompt, list(config.tasks)):
        raise ConfigError("the prepared tasks were prepared under other settings", where="data")
    for note in data.notes:
        progress.note(note)
    sha256 = base.sha256 if base else base_identity(config.base)
    identity = run_id(config, data.fingerprint, sha256)
    folder = folder or Path("runs") / identity
    text = f"# run {identity}\n{dump_yaml(config)}"
    done = _finished(folder, identity, text)
    if done is not None:
        return Run(folder, config, done, fresh=False)
    opened = base or load_base(config.base, device=config.device, precision=config.precision)
    method = METHODS.get(config.method.name)
    adaptation = method.attach(opened, config.method, seed=config.all_seeds["init"])
    try:
        work = _Work(config, folder, identity, opened, adaptation, data, progress)
        # Only now, when tasks, base and method have been seen to fit: a mistake in the settings leaves no folder behind.
        write_atomically(folder / "config.yaml", text)
        record = work.record()
    finally:
        if base is not None:
            adaptation.detach()
    write_json(folder / RECORD_FILE, record)
    shutil.rmtree(folder / _STATE, ignore_errors=True)
    return Run(folder, config, record, fresh=True)


_STATE = "checkpoint"
_OURS = {"config.yaml", "log.jsonl", "predictions.jsonl", "adapter", _STATE}


def _finished(folder: Path, identity: str, config: str) -> Record | None:
    """Return the record where the folder holds this run done, or None where the run may use the folder.

    Raises:
        UserError: the folder holds another run, or something that is no run.
    """
    elsewhere = "name another folder with -o"
    if folder.exists() and not folder.is_dir():
        raise UserError("is a file, not a folder", where=str(folder), hint=elsewhere)
    done = read_record(folder)
    if done is not None:
        if done.run_id == identity:
            return done
        raise UserError(f"holds another run ({done.run_id}, this one is {identity})", where=str(folder), hint=elsewhere)
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if strange := sorted(name for name in found - _OURS if not name.endswith(".part")):
        raise UserError(f"holds files that are not a run's: {', '.join(strange[:3])}", where=str(folder), hint=elsewhere)
    path = folder / "config.yaml"
    if path.is_file() and path.read_text(encoding="utf-8").splitlines()[:1] != config.splitlines()[:1]:
        raise UserError("holds another, unfinished run", where=str(folder), hint=f"{elsewhere}, or delete it")
    return None


@dataclass(frozen=True)
class _Rows:
    """One task's rows and what they were made with."""

    data: PreparedTask
    prompt: Prompt
    train: EncodedTask
    dev: EncodedTask


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
    ) -> None:
        self.config, self.folder, self.identity = config, folder, identity
        self.base, self.adaptation, self.data, self.progress = base, adaptation, data, progress
        self.watch = Stopwatch(base.device)
        self.cuts: dict[str, dict[str, dict[str, int]]] = {}
        self.rows = [self._encode(task) for task in data.tasks]
        self._check_rows()
        self.limit = self._new_token_limit()

    def _encode(self, task: PreparedTask) -> _Rows:
        config, base = self.config, self.base
        render = base.render_chat if base.has_chat_template else None
        prompt = build_prompt(task.task, task.demonstrations, config.prompt, render_chat=render)
        seed = config.all_seeds["reference"]
        train, dev = (
            base.encoder(task.name).training_rows(prompt, [(i.id, i.input, task.training_output(i, seed)) for i in part])
            for part in (task.train, task.dev)
        )
        return _Rows(task, prompt, train, dev)

    def _check_rows(self) -> None:
        if not self.adaptation.trainable():
            return
        for rows in self.rows:
            if not rows.train.rows:
                beside, too_long = len(rows.data.train), rows.train.cuts.get("target_too_long", 0)
                raise DataError(
                    f"no training instance of task {rows.data.name!r} is left "
                    f"({beside} beside dev and demonstrations, {too_long} too long)",
                    hint="raise --n-train, ask for fewer demonstrations, or take a base with a longer context",
                )

    def _new_token_limit(self) -> int:
        if self.config.decode.max_new_tokens is not None:
            return self.config.decode.max_new_tokens
        longest = max((row.target_tokens for rows in self.rows for row in rows.train.rows), default=1)
        return min(longest, self.base.context // 2)

    def record(self) -> Record:
        """Train, decode, score and save; return the record, which is not yet written."""
        estimate = self._estimate()
        result = self._train()
        parts: dict[str, Any] = {"scores": {}, "tasks": {}}
        if result.status == "ok":
            predictions = self._predict()
            parts = self._score(predictions)
            write_jsonl(self.folder / "predictions.jsonl", predictions)
            prompts = {rows.data.name: rows.prompt for rows in self.rows}
            save_adapted(
                self.folder / "adapter",
                self.adaptation,
                base=self.config.base,
                method=self.config.method.model_dump(mode="json"),
                prompts=prompts,
                max_new_tokens=self.limit,
                options=self.config.decode,
                seed=self.config.all_seeds["decode"],
            )
        trainable = sum(p.numel() for p in self.adaptation.trainable().values())
        return Record(
            run_id=self.identity,
            status=result.status,
            method=self.config.method.name,
            base={"architecture": self.base.architecture, "sha256": self.base.sha256, "context": self.base.context},
            planned_steps=result.planned_steps,
            done_steps=result.done_steps,
            best_step=result.best_step,
            **parts,
            seeds=self.config.all_seeds,
            parameters={"trainable": trainable, "total": sum(p.numel() for p in self.base.model.parameters())},
            fingerprint=self.data.fingerprint,
            leaks=self.data.leaks,
            deterministic="bytes" if self.base.device.type == "cpu" else "seeds",
            versions=versions(),
            cost=self.watch.cost(result, estimate),
        )

    def _estimate(self) -> MemoryEstimate:
        options = self.config.train
        size = options.micro_batch_size or options.batch_size
        rows = [rows.train for rows in self.rows]
        estimate = estimate_memory(self.base, self.adaptation, rows, size, shared=options.shared_prefix)
        needed, free = estimate.total - estimate.weights, available_memory(self.base.device)
        self.progress.note(f"memory: about {_bytes(estimate.total)} for training; {_bytes(free)} are free besides the weights")
        if needed > free:
            self.progress.note("training may not fit into memory: lower train.micro_batch_size, or take a smaller base")
        return estimate

    def _train(self) -> TrainResult:
        if not self.adaptation.trainable():
            return TrainResult()
        config, seeds = self.config, self.config.all_seeds
        if any(rows.dev.rows for rows in self.rows):
            evaluate = self._dev_chrf if config.train.select == "chrf" else self._dev_loss
        else:
            evaluate = None
        return train(
            self.base,
            self.adaptation,
            [rows.train for rows in self.rows],
            config.train,
            lr=config.learning_rate,
            order_seed=seeds["order"],
            dropout_seed=seeds["dropout"],
            evaluate=evaluate,
            checkpoint=CheckpointFile(self.folder / _STATE / "training.safetensors", self.identity),
            log=self.folder / "log.jsonl",
            observer=_TrainingProgress(self.progress),
        )

    def _dev_loss(self) -> float:
        options = self.config.train
        rows = [rows.dev for rows in self.rows if rows.dev.rows]
        return -dev_loss(self.base, rows, batch_size=options.batch_size, shared=options.shared_prefix)

    def _dev_chrf(self) -> float:
        predictions = [p for rows in self.rows if rows.data.dev for p in self._decode(rows, "dev")]
        return score_predictions(predictions, [PRIMARY], resamples=0).scores[PRIMARY].score

    def _predict(self) -> list[Prediction]:
        self.progress.start("decode test", sum(len(rows.data.test) for rows in self.rows))
        with self.watch.measure("test"):
            return [p for rows in self.rows for p in self._decode(rows, "test", self.progress)]

    def _decode(self, rows: _Rows, part: str, progress: Progress | None = None) -> list[Prediction]:
        instances = rows.data.test if part == "test" else rows.data.dev
        encoded = self.base.encoder(rows.data.name).decoding_rows(rows.prompt, [(i.id, i.input) for i in instances], self.limit)
        texts = decode(
            self.base,
            encoded,
            self.config.decode,
            max_new_tokens=self.limit,
            seed=self.config.all_seeds["decode"],
            progress=progress.advance if progress else None,
        )
        if part == "test":
            self.cuts[rows.data.name] = {"train": rows.train.cuts, "test": encoded.cuts}
        return [
            Prediction(
                id=i.id, task=rows.data.name, language=rows.data.language, input=i.input, prediction=text, references=i.outputs
            )
            for i, text in zip(instances, texts, strict=True)
        ]

    def _score(self, predictions: list[Prediction]) -> dict[str, Any]:
        with self.watch.measure("score"):
            names = self.config.metrics or METRICS.names()
            report = score_predictions(predictions, names, seed=self.config.seeds.bootstrap)
        tasks = {
            rows.data.name: TaskResult(
                scores=report.tasks[rows.data.name],
                data={**rows.data.counts, "cuts": self.cuts[rows.data.name]},
                fingerprint=rows.data.fingerprint,
            )
            for rows in self.rows
        }
        return {"scores": report.scores, "tasks": tasks}


class _TrainingProgress:
    """Hands the loop's steps on to a run's progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def started(self, total: int, done: int) -> None:
        self._progress.start("train", total, done)

    def step(self, loss: float) -> None:
        self._progress.advance(1, loss)


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
