"""The one training loop: AdamW over task-homogeneous micro-batches, with dev selection, checkpoints and exact resumption.

The loop knows nothing about which method it trains: it moves what :meth:`Adaptation.groups` declares, down the objective of
:mod:`xeric.training.loss`.

Everything random in a step (dropout) is drawn from a generator seeded by seed and step, and the order of instances is
a function of seed and epoch: a training that goes on from a checkpoint takes the steps that the undisturbed one would
have taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import torch

from xeric.bases.base import Base
from xeric.data.batching import epoch_steps, step_at, steps_per_epoch
from xeric.data.encoding import EncodedTask, InstanceRow
from xeric.interruption import Interrupted, PutOff
from xeric.methods.base import Adaptation, ParameterGroup
from xeric.training.checkpoint import CheckpointFile, load_optimizer, optimizer_state, under
from xeric.training.log import TIMES, StepLog, TimeLog
from xeric.training.loss import Rows, step_loss
from xeric.training.options import TrainOptions, planned_steps
from xeric.training.weighting import Weighting

__all__ = ["Observer", "TrainResult", "train"]

Evaluate = Callable[[], float]

# A training of so many seconds is saved at its end, too: what comes after it (decoding) may be interrupted.
_WORTH_SAVING = 5.0


class Observer(Protocol):
    """Watches a training; it cannot influence it."""

    def started(self, total: int, done: int) -> None:
        """Training takes ``total`` steps, ``done`` of them were taken before."""

    def step(self, loss: float) -> None:
        """A step was taken."""

    def interrupted(self) -> None:
        """The user asks to leave: the training will be saved after the step that is being taken."""


@dataclass
class TrainResult:
    """How a training went.

    Attributes:
        status: ``ok`` or ``diverged``.
        planned_steps: optimiser steps planned.
        done_steps: optimiser steps taken (fewer after early stopping or divergence).
        best_step: the step whose weights were kept, or None where the last ones were.
        task_weights: lambda of each task after the last step.
        seconds: in steps, and in dev evaluations, over all processes that took part.
        tokens: ``target`` tokens that carried loss and ``row`` tokens of instances (prefixes not counted), padding left out.
    """

    status: Literal["ok", "diverged"] = "ok"
    planned_steps: int = 0
    done_steps: int = 0
    best_step: int | None = None
    task_weights: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "dev": 0.0})
    tokens: dict[str, int] = field(default_factory=lambda: {"target": 0, "row": 0})


def train(
    base: Base,
    adaptation: Adaptation,
    tasks: Sequence[EncodedTask],
    options: TrainOptions,
    *,
    lr: float,
    order_seed: int,
    dropout_seed: int,
    evaluate: Evaluate | None = None,
    checkpoint: CheckpointFile | None = None,
    log: Path | None = None,
    observer: Observer | None = None,
) -> TrainResult:
    """Train an adaptation; see the module's text.

    Args:
        base: the base that the adaptation is attached to.
        adaptation: what trains.
        tasks: training rows, one entry a task.
        options: how to train.
        lr: learning rate at its height.
        order_seed: of the order of instances.
        dropout_seed: of dropout masks.
        evaluate: returns how good the present weights are on dev, higher is better; None is no selection.
        checkpoint: where to keep and find the state; None keeps none.
        log: JSON lines of every step and evaluation; the same bytes whenever the training is the same. When each step was taken
            stands beside it in ``times.jsonl``.
        observer: for a progress bar.

    Returns:
        What happened. On ``ok`` the adaptation holds the selected weights.
    """
    return _Training(base, adaptation, tasks, options, lr, order_seed, dropout_seed, evaluate, checkpoint, log).run(observer)


class _Training:
    """The state of one training; :func:`train` is its only user."""

    def __init__(
        self,
        base: Base,
        adaptation: Adaptation,
        tasks: Sequence[EncodedTask],
        options: TrainOptions,
        lr: float,
        order_seed: int,
        dropout_seed: int,
        evaluate: Evaluate | None,
        checkpoint: CheckpointFile | None,
        log: Path | None,
    ) -> None:
        self.base, self.adaptation, self.options = base, adaptation, options
        self.lr, self.order_seed, self.dropout_seed = lr, order_seed, dropout_seed
        self.evaluate = evaluate if options.selects else None
        self.checkpoint, self.log = checkpoint, StepLog(log)
        self.times = TimeLog(log and log.with_name(TIMES))
        self.rows = Rows.of(tasks)
        self.steps_an_epoch = steps_per_epoch(len(self.rows.items), options.batch_size)
        self.result = TrainResult(planned_steps=planned_steps(options, len(self.rows.items)))
        self.weighting = Weighting(options.weighting, {task.task: len(task.rows) for task in tasks if task.rows})
        self.trained = adaptation.trainable()
        self.parameters = {**self.trained, **self.weighting.parameters()}
        self.optimizer = self._optimizer()
        self.best: tuple[float, int, dict[str, torch.Tensor]] | None = None
        self.stale = 0
        self.evaluated = 0
        self.saved = (time.monotonic(), (0, 0))
        self._epoch: tuple[int, list[list[list[int]]]] | None = None

    def _optimizer(self) -> torch.optim.AdamW:
        groups = [
            {
                "params": list(group.parameters.values()),
                "lr": self.lr * group.lr_scale,
                "full_lr": self.lr * group.lr_scale,
                "weight_decay": self.options.weight_decay if group.weight_decay else 0.0,
                "name": group.name,
            }
            for group in [*self.adaptation.groups(), *self._learned_weights()]
        ]
        return torch.optim.AdamW(groups, lr=self.lr)

    def _learned_weights(self) -> list[ParameterGroup]:
        learned = self.weighting.parameters()
        scale = self.options.weighting.lr_scale
        return [ParameterGroup("task weights", learned, lr_scale=scale, weight_decay=False)] if learned else []

    def run(self, observer: Observer | None) -> TrainResult:
        result = self.result
        self._resume()
        if observer:
            observer.started(result.planned_steps, result.done_steps)
        devices = [self.base.device] if self.base.device.type == "cuda" else []
        recomputing = self.base.recomputing() if self.options.gradient_checkpointing else contextlib.nullcontext()
        # A step is not cut in the middle: whoever interrupts loses no step that is done, and the one that is being taken is.
        waiting = observer.interrupted if observer and self.checkpoint else None
        with recomputing, torch.random.fork_rng(devices=devices), PutOff(waiting) as interruption:
            while self._go_on(interruption):
                loss = self._step(result.done_steps)
                if observer:
                    observer.step(loss)
        result.task_weights = self.weighting.weights()
        if result.status == "ok" and self.best is not None:
            result.best_step = self.best[1]
            self.adaptation.load_state(self.best[2])
        return result

    def _go_on(self, interruption: PutOff) -> bool:
        """Do what is due between two steps, and say whether there is to be another."""
        if self._due():
            with self._saved_if_interrupted(), interruption.allowed():
                self._evaluate()
        over = self.result.done_steps >= self.result.planned_steps or self._stopped()
        every = self.options.checkpoint_seconds
        if interruption.asked or time.monotonic() - self.saved[0] >= (min(every, _WORTH_SAVING) if over else every):
            self._save()
        return not over and not interruption.asked

    @contextlib.contextmanager
    def _saved_if_interrupted(self) -> Iterator[None]:
        try:
            yield
        except (KeyboardInterrupt, Interrupted):
            self._save()
            raise

    def _batches(self, step: int) -> list[list[tuple[EncodedTask, InstanceRow]]]:
        epoch, place = step_at(self.steps_an_epoch, step)
        if self._epoch is None or self._epoch[0] != epoch:
            size = self.options.batch_size
            steps = epoch_steps(
                self.rows.groups,
                self.rows.lengths,
                batch_size=size,
                micro_batch_size=self.options.micro_batch_size or size,
                seed=self.order_seed,
                epoch=epoch,
            )
            self._epoch = (epoch, steps)
        return [[self.rows.items[i] for i in batch] for batch in self._epoch[1][place]]

    def _step(self, step: int) -> float:
        start = time.perf_counter()
        result, options = self.result, self.options
        batches = self._batches(step)
        factor = _lr_factor(options, step, result.planned_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor
        torch.manual_seed(_mix(self.dropout_seed, step))
        self.optimizer.zero_grad(set_to_none=True)
        with self.base.mode(training=True):
            weights = self.weighting.weights()
            losses = step_loss(self.base, batches, weights=weights, shared=options.shared_prefix)
        self.weighting.backward(losses)
        limit = options.clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained.values(), limit, foreach=False))
        loss = sum(weights[task] * value for task, value in losses.items())
        result.done_steps = step + 1
        if math.isfinite(loss) and math.isfinite(norm):
            self.optimizer.step()
            self.weighting.clamp()
            rates = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
            shown = {"loss": loss, "tasks": losses, "lambda": {task: weights[task] for task in losses}}
            self.log.write({"step": step + 1, **shown, "gradient_norm": norm, "lr": rates})
        else:
            result.status = "diverged"
            self.log.write({"step": step + 1, "diverged": "loss" if not math.isfinite(loss) else "gradient"})
        rows = [row for batch in batches for _, row in batch]
        result.tokens["target"] += sum(row.target_tokens for row in rows)
        result.tokens["row"] += sum(len(row.ids) for row in rows)
        result.seconds["train"] += time.perf_counter() - start
        self.times.write(step + 1, result.seconds["train"])
        return loss

    def _due(self) -> bool:
        every = self.options.dev_every or self.steps_an_epoch
        done = self.result.done_steps
        wanted = self.result.status == "ok" and self.evaluate is not None and done > self.evaluated
        return wanted and (done % every == 0 or done == self.result.planned_steps)

    def _evaluate(self) -> None:
        assert self.evaluate is not None
        start = time.perf_counter()
        value = self.evaluate()
        better = math.isfinite(value) and (self.best is None or value > self.best[0])
        if better:
            self.best = (value, self.result.done_steps, self.adaptation.state())
            self.stale = 0
        else:
            self.stale += 1
        self.evaluated = self.result.done_steps
        shown = value if math.isfinite(value) else None
        self.log.write({"step": self.result.done_steps, "dev": shown, "selected_by": self.options.select, "best": better})
        self.result.seconds["dev"] += time.perf_counter() - start

    def _stopped(self) -> bool:
        return self.result.status == "diverged" or self.stale >= (self.options.patience or math.inf)

    def _save(self) -> None:
        stand = (self.result.done_steps, self.evaluated)
        if self.checkpoint is None or self.result.status != "ok" or stand == self.saved[1]:
            return
        tensors: dict[str, torch.Tensor] = {f"now/{name}": parameter for name, parameter in self.parameters.items()}
        tensors |= {f"moments/{name}": t for name, t in optimizer_state(self.optimizer, self.parameters).items()}
        if self.best is not None:
            tensors |= {f"best/{name}": tensor for name, tensor in self.best[2].items()}
        meta = {
            "step": self.result.done_steps,
            "stale": self.stale,
            "evaluated": self.evaluated,
            "best": None if self.best is None else [self.best[0], self.best[1]],
            "log": self.log.sync(),
            "seconds": self.result.seconds,
            "tokens": self.result.tokens,
        }
        self.checkpoint.save(tensors, meta)
        self.saved = (time.monotonic(), stand)

    def _resume(self) -> None:
        found = self.checkpoint.load() if self.checkpoint else None
        if found is None:
            self.log.cut(0)
            self.times.cut(0)
            return
        tensors, meta = found
        now = under("now/", tensors)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(now[name])
        load_optimizer(self.optimizer, self.parameters, under("moments/", tensors))
        if meta["best"] is not None:
            value, step = meta["best"]
            best = {name: tensor.to(self.base.device) for name, tensor in under("best/", tensors).items()}
            self.best = (value, step, best)
        self.stale, self.evaluated = meta["stale"], meta.get("evaluated", meta["step"])
        self.result.done_steps = meta["step"]
        self.result.seconds, self.result.tokens = meta["seconds"], meta["tokens"]
        self.log.cut(meta["log"])
        self.times.cut(meta["step"])
        self.saved = (time.monotonic(), (self.result.done_steps, self.evaluated))


def _lr_factor(options: TrainOptions, step: int, planned: int) -> float:
    """Return the factor on the learning rate of optimiser step ``step`` (from 0)."""
    warm = math.ceil(options.warmup * planned)
    if step < warm:
        return (step + 1) / warm
    if options.schedule == "constant":
        return 1.0
    done = (step - warm) / max(1, planned - warm)
    return 1.0 - done if options.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def _mix(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.sha256(f"dropout {seed} {step}".encode()).digest()[:8], "big") >> 1
