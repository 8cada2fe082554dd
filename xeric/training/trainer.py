"""The one training loop: AdamW over micro-batches of several tasks, with dev selection, checkpoints and exact resumption.

The loop knows nothing about which method it trains: it minimises the objective of :mod:`xeric.training.loss` over the parameters
that :meth:`Adaptation.groups` declares.

Everything random in a step (dropout) is drawn from a generator seeded by seed and step, and the order of instances is
a function of seed and epoch: a training resumed from a checkpoint takes the same steps as one that was not
interrupted.

The file is long because it is one loop: what a step, an evaluation and a checkpoint need is one state.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from xeric.bases.base import Base
from xeric.data.rows import EncodedTask
from xeric.errors import RunError
from xeric.formatting import duration
from xeric.interruption import Interrupted, PutOff
from xeric.methods.base import Adaptation
from xeric.progress import Progress, Silent
from xeric.training.budget import TimeBudget, fitted
from xeric.training.checkpoint import CheckpointFile, under
from xeric.training.log import TIMES, StepLog, TimeLog
from xeric.training.loss import step_loss
from xeric.training.optimizer import adamw, load_optimizer, optimizer_state
from xeric.training.options import TrainSetup, planned_steps
from xeric.training.processes import ALONE, Processes, ProcessLostError
from xeric.training.result import TrainResult
from xeric.training.schedule import lr_factor, step_seed
from xeric.training.steps import MicroBatch, StepPlan, batching_of
from xeric.training.weighting import weighting_of

__all__ = ["Observe", "Trainer"]

Evaluate = Callable[[], float]
Observe = Callable[[Mapping[str, Any]], None]

# A training of at least this many seconds is also saved at its end: decoding, which follows, may be interrupted.
_WORTH_SAVING = 5.0

_GOES_ON = "what was finished is kept; the same command goes on from there"


class Trainer:
    """One training of an adaptation; :meth:`run` carries it out.

    Args:
        base: the base that the adaptation is attached to.
        adaptation: what trains.
        tasks: training rows, one entry per task.
        setup: how to train.
        evaluate: returns how good the current weights are on dev, higher is better, in all processes the same; None is no
            selection.
        checkpoint: where to keep and find the state; None keeps none.
        log: JSON lines of every step and evaluation; the same bytes whenever the training is the same. The times of steps
            are beside it in ``times.jsonl``.
        progress: is told of every step under the name ``phase``.
        phase: see ``progress``.
        observe: is called with each row that is written to the log.
        processes: that carry out the training together; the first of them alone writes checkpoints and logs.
    """

    def __init__(
        self,
        base: Base,
        adaptation: Adaptation,
        tasks: Sequence[EncodedTask],
        setup: TrainSetup,
        *,
        evaluate: Evaluate | None = None,
        checkpoint: CheckpointFile | None = None,
        log: Path | None = None,
        progress: Progress | None = None,
        phase: str = "train",
        observe: Observe | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.base, self.adaptation, self.setup, self.options = base, adaptation, setup, setup.options
        self.evaluate = evaluate if self.options.selects else None
        log = log if processes.first else None
        self.checkpoint, self.log = checkpoint, StepLog(log)
        self.times = TimeLog(log and log.with_name(TIMES))
        self.progress, self.phase = progress or Silent(), phase
        self._observe = observe
        self.processes = processes
        self.steps = StepPlan(tasks, self.options, setup.seeds["order"], batching_of(base, self.options), processes.count)
        self.result = TrainResult(planned_steps=planned_steps(self.options, len(self.steps.rows.items)))
        self.weighting = weighting_of(self.options.weighting, {task.task: len(task.rows) for task in tasks if task.rows})
        self.trained = adaptation.trainable()
        self.parameters = {**self.trained, **self.weighting.parameters()}
        groups = [*adaptation.groups(), *self.weighting.groups()]
        self.optimizer = adamw(groups, setup.lr, weight_decay=self.options.weight_decay)
        self.best: tuple[float, int, dict[str, torch.Tensor]] | None = None
        self.stale = 0
        self.evaluated = 0
        self.saved = (time.monotonic(), (0, 0))
        self.asked_to_leave = False

    def run(self) -> TrainResult:
        """Train, from the checkpoint where there is one; on ``ok`` the adaptation then holds the selected weights."""
        with contextlib.closing(self.log), contextlib.closing(self.times):
            return self._train()

    def _train(self) -> TrainResult:
        recomputing = self.base.recomputing() if self.options.gradient_checkpointing else contextlib.nullcontext()
        # The measuring of steps included: they are then computed in the same way, in the same memory.
        with recomputing:
            return self._train_steps()

    def _train_steps(self) -> TrainResult:
        result = self.result
        if self.options.seconds is not None and result.planned_steps:
            result.time = self._time_plan(self.options.seconds)
            result.planned_steps = result.time.steps
        self._resume()
        self._agree()
        self.progress.start(self.phase, result.planned_steps, result.done_steps)
        devices = [self.base.device] if self.base.device.type == "cuda" else []
        # An interruption takes effect between steps: neither finished steps nor the current one are lost.
        on_interruption = self._announce_saving if self.checkpoint else None
        # So does the loss of another process: it is noticed in an exchange, before the optimiser moves anything.
        saved = self._saved_on(ProcessLostError)
        with torch.random.fork_rng(devices=devices), PutOff(on_interruption) as interruption, saved:
            while self._go_on(interruption):
                self.progress.advance(1, self._step(result.done_steps))
        if self.asked_to_leave and self.processes.count > 1:
            # Not this process, or the end of the block would have raised it.
            raise RunError("another process of this run was asked to leave", hint=_GOES_ON)
        result.task_weights = self.weighting.weights()
        if result.status == "ok" and self.best is not None:
            result.best_step = self.best[1]
            self.adaptation.load_state(self.best[2])
        return result

    def _time_plan(self, seconds: float) -> TimeBudget:
        devices = [self.base.device] if self.base.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            plan = fitted(
                seconds,
                self.result.planned_steps,
                per_epoch=self.steps.per_epoch,
                take=self._try_step,
                evaluate=self.evaluate,
                dev_every=self.options.dev_every or self.steps.per_epoch,
                checkpoint=self.checkpoint.path if self.checkpoint else None,
                key=self.checkpoint.key if self.checkpoint else "",
                processes=self.processes,
            )
        share = "all" if plan.steps == plan.planned else f"{plan.steps:,} of"
        each = duration(plan.seconds_per_step)
        self.progress.note(f"{share} {plan.planned:,} planned steps fit into {duration(seconds)}, at {each} per step")
        return plan

    def _try_step(self, step: int) -> None:
        """Compute a step and undo it."""
        self._compute(self.steps.batches(step), self.weighting.weights())
        if all(p.grad is None or bool(p.grad.isfinite().all()) for p in self.trained.values()):
            for group in self.optimizer.param_groups:
                group["lr"] = 0.0  # nothing moves
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()

    def _announce_saving(self) -> None:
        self.progress.note("interrupted: saving after this step; a second time stops at once")

    def _go_on(self, interruption: PutOff) -> bool:
        """Evaluate and save where due, between two steps; return whether to take another step."""
        if self._due():
            with self._saved_on(KeyboardInterrupt, Interrupted), interruption.allowed():
                self._evaluate()
        over = self.result.done_steps >= self.result.planned_steps or self._stopped()
        every = self.options.checkpoint_seconds
        self.asked_to_leave = self.processes.any(interruption.asked)
        if self.asked_to_leave or time.monotonic() - self.saved[0] >= (min(every, _WORTH_SAVING) if over else every):
            self._save()
        return not over and not self.asked_to_leave

    @contextlib.contextmanager
    def _saved_on(self, *errors: type[BaseException]) -> Iterator[None]:
        try:
            yield
        except errors:
            self._save()
            raise

    def _step(self, step: int) -> float:
        start = time.perf_counter()
        result, options = self.result, self.options
        batches = self.steps.batches(step)
        factor = lr_factor(options, step, result.planned_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor
        torch.manual_seed(seed := step_seed(self.setup.seeds["dropout"], step))
        self.optimizer.zero_grad(set_to_none=True)
        weights = self.weighting.weights()
        losses = self._compute(batches, weights, seed)
        self.weighting.backward(losses)
        limit = options.clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained.values(), limit, foreach=False))
        loss = sum(weights[task] * value for task, value in losses.items())
        result.done_steps = step + 1
        if math.isfinite(loss) and math.isfinite(norm):
            self.optimizer.step()
            self.weighting.clamp()
            rates = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
            losses_row = {"loss": loss, "tasks": losses, "lambda": {task: weights[task] for task in losses}}
            self._log({"step": step + 1, **losses_row, "gradient_norm": norm, "lr": rates})
        else:
            result.status = "diverged"
            self._log({"step": step + 1, "diverged": "loss" if not math.isfinite(loss) else "gradient"})
        rows = [row for batch in batches for _, row in batch]
        result.tokens["target"] += sum(row.target_tokens for row in rows)
        result.tokens["row"] += sum(len(row.ids) for row in rows)
        result.seconds["train"] += time.perf_counter() - start
        self.times.write(step + 1, result.seconds["train"])
        return loss

    def _compute(self, batches: Sequence[MicroBatch], weights: Mapping[str, float], seed: int | None = None) -> dict[str, float]:
        """Return the losses of a step and put its gradients on the parameters, shared out over the processes."""
        # Alone, random numbers go on from one micro-batch to the next, as results so far have it.
        own = seed if self.processes.count > 1 else None
        shared = self.options.shared_prefix
        with self.base.mode(training=True):
            losses = step_loss(self.base, batches, weights=weights, shared=shared, processes=self.processes, seed=own)
        self.processes.sum_gradients(list(self.trained.values()))
        return losses

    def _log(self, row: Mapping[str, Any]) -> None:
        self.log.write(row)
        if self._observe:
            self._observe(row)

    def _due(self) -> bool:
        every = self.options.dev_every or self.steps.per_epoch
        done = self.result.done_steps
        selecting = self.result.status == "ok" and self.evaluate is not None and done > self.evaluated
        return selecting and (done % every == 0 or done == self.result.planned_steps)

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
        dev_value = value if math.isfinite(value) else None
        self._log({"step": self.result.done_steps, "dev": dev_value, "selected_by": self.options.select, "best": better})
        self.result.seconds["dev"] += time.perf_counter() - start

    def _stopped(self) -> bool:
        return self.result.status == "diverged" or self.stale >= (self.options.patience or math.inf)

    def _save(self) -> None:
        position = (self.result.done_steps, self.evaluated)
        if not self.processes.first or self.checkpoint is None or self.result.status != "ok" or position == self.saved[1]:
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
        self.saved = (time.monotonic(), position)

    def _resume(self) -> None:
        state = self.checkpoint.load() if self.checkpoint else None
        if state is None:
            self.log.cut(0)
            self.times.cut(0)
            return
        tensors, meta = state
        current = under("now/", tensors)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(current[name])
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

    def _agree(self) -> None:
        """Give all processes the parameters of the first.

        Raises:
            RunError: this process has found another checkpoint than the first.
        """
        self.processes.check_same(f"{self.result.done_steps} {self.evaluated}", "checkpoints")
        self.processes.copy_from_first(list(self.parameters.values()))
