"""Pretrains a small causal base from plain text and task files, and writes an ordinary Hugging Face folder.

The learning rate warms up, stays, and decays (Hu et al. 2024, "MiniCPM"): how long it stays may be decided while it trains.
Progress is counted in characters of text, because that is what two bases with different tokenizers can have in common. The
checkpoint's key is made from the settings that shape the weights and not from those that say how long to train, so a longer or
shorter ``schedule`` goes on from the same state; the state at the end of the level stretch is kept as ``stable.safetensors`` for
that.

Order of data is a function of seed and step alone: a training that goes on takes the steps that the undisturbed one would have.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from xeric.bases.precision import resolve_device
from xeric.config import dump_yaml
from xeric.errors import RunError
from xeric.records import write_atomically
from xeric.training import block_attention
from xeric.training.base_card import card_text
from xeric.training.base_folder import new_model, samples, write_base
from xeric.training.checkpoint import CheckpointFile, under
from xeric.training.corpus import Corpus, prepare_corpus
from xeric.training.dev_tasks import measure_dev_tasks
from xeric.training.held_out import HeldOut
from xeric.training.log import StepLog
from xeric.training.mixture import Batch, Mixture
from xeric.training.optimizer import Optimizer
from xeric.training.prefetch import Prefetch
from xeric.training.pretrain_config import PretrainConfig
from xeric.training.pretrain_folder import check_folder, state_files
from xeric.training.pretrain_progress import PretrainObserver, PretrainResult, Progress
from xeric.training.reference_passages import measure_passages
from xeric.training.side_by_side import finished_trainings, side_by_side
from xeric.training.token_loss import mean_token_loss

__all__ = ["pretrain"]


def pretrain(
    config: PretrainConfig,
    folder: Path,
    *,
    text_dir: Path | None = None,
    tasks_dir: Path | None = None,
    observer: PretrainObserver | None = None,
    seconds: float | None = None,
    beside: Sequence[Path] = (),
) -> PretrainResult:
    """Train a base, or go on with it, and write it.

    Args:
        config: what to train.
        folder: where the base, its settings (``pretrain.yaml``), corpus (``corpus/``), log (``log.jsonl``) and state (``state/``)
            go. A training that was stopped there goes on.
        text_dir: folder of the text files; needed until the corpus is in ``folder``.
        tasks_dir: folder of the task files; likewise.
        observer: for a progress bar.
        seconds: stop after so long, with a checkpoint; None goes on to the end of the schedule.
        beside: folders of other trainings, whose bases are measured on the same held-out text at the end; their names go into the
            card.

    Raises:
        DataError: the corpus is neither in ``folder`` nor can it be made; or a folder of ``beside`` holds no base.
        UserError: the folder holds another training or files of something else, or there is no such device.
        RunError: the loss is no longer finite.
    """
    check_folder(folder, config.key)
    device, others = resolve_device(config.device), finished_trainings(beside)
    if config.threads:
        torch.set_num_threads(config.threads)
    corpus = prepare_corpus(config.corpus, folder / "corpus", text_dir, tasks_dir)
    write_atomically(folder / "pretrain.yaml", dump_yaml(config))
    training = _Pretraining(config, folder, corpus, device, others)
    if not config.workers:
        return training.run(training.mixture, observer, seconds)
    ahead = Prefetch(config.corpus, folder / "corpus", config.mixture, config.seed, config.workers)
    try:
        return training.run(ahead, observer, seconds)
    finally:
        ahead.close()


class _Pretraining:
    """The state of one training; :func:`pretrain` is its only user."""

    def __init__(
        self, config: PretrainConfig, folder: Path, corpus: Corpus, device: torch.device, beside: Mapping[str, Path]
    ) -> None:
        self.config, self.folder, self.corpus, self.beside = config, folder, corpus, beside
        self.mixture = Mixture(corpus, config.mixture, config.seed)
        self.device = device
        self.dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self.model = new_model(config.shape, corpus.tokenizer.get_vocab_size(), config.seed).to(self.device)
        if self.device.type == "cpu":
            self.model.set_attn_implementation(block_attention.NAME)
        self.parameters: dict[str, torch.nn.Parameter] = dict(self.model.named_parameters())
        self.optimizer = Optimizer(self.parameters, config.optimizer)
        self.body = torch.compile(self._states, dynamic=False) if config.compile else self._states
        self.held_out = HeldOut(corpus, self.mixture)
        self.now, self.stable = state_files(folder, config.key)
        self.log = StepLog(folder / "log.jsonl")
        self.step = self.characters = self.tokens = 0
        self.seconds = 0.0
        self.decay_from: int | None = None
        self.best: tuple[int, dict[str, Any], dict[str, torch.Tensor]] | None = None

    def run(self, batches: Mixture | Prefetch, observer: PretrainObserver | None, seconds: float | None) -> PretrainResult:
        self._resume()
        start = saved = time.monotonic()
        first, spent = self.tokens, self.seconds
        while not self._finished() and (seconds is None or time.monotonic() - start < seconds):
            if self.decay_from is None and self.characters >= self.config.schedule.stable_characters:
                self._save(self.stable)
                self.decay_from = self.characters
            losses = self._step(batches)
            if observer:
                observer.step(self._progress(losses, (self.tokens - first) / max(1e-9, time.monotonic() - start)))
            if self.step % self.config.evaluate_every == 0 or self._finished():
                values = self._measure()
                if observer:
                    observer.measured(self.step, values)
            self.seconds = spent + time.monotonic() - start
            if time.monotonic() - saved >= self.config.checkpoint_seconds:
                self._save(self.now)
                saved = time.monotonic()
        self._save(self.now)
        return self._write()

    def _states(self, ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            states: torch.Tensor = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
        return states

    # --- steps --------------------------------------------------------------------------------------------------------------

    def _step(self, batches: Mixture | Prefetch) -> dict[str, float]:
        text, rows = batches.step(self.step)
        losses = {"text": self._backward(text), "rows": self._backward(rows)}
        if not all(map(math.isfinite, losses.values())):
            raise RunError(f"the loss is no longer finite at step {self.step + 1}", hint="lower optimizer.lr and start anew")
        factor = self._factor()
        norm = self.optimizer.step(factor)
        self.step += 1
        self.characters += text.characters + rows.characters
        self.tokens += text.ids.size + rows.ids.size
        self.log.write({"step": self.step, "characters": self.characters, **losses, "norm": norm, "lr": factor})
        return losses

    def _backward(self, batch: Batch) -> float:
        ids, places, labels = (torch.from_numpy(part).to(self.device) for part in (batch.ids, batch.targets, batch.labels))
        if not len(places) or not batch.weight:
            return 0.0
        hidden = self.body(ids).flatten(0, 1)[places - 1]
        head = self.model.get_output_embeddings().weight
        loss = mean_token_loss(hidden, head, labels, compiled=self.config.compile, dtype=self.dtype)
        (loss * batch.weight).backward()
        return float(loss.detach())

    def _factor(self) -> float:
        """Return the factor on the learning rate of the next step."""
        schedule = self.config.schedule
        warm = min(1.0, (self.step + 1) / max(1, schedule.warmup_steps))
        if self.decay_from is None:
            return warm
        return warm * max(0.0, 1.0 - (self.characters - self.decay_from) / schedule.decay_characters)

    def _finished(self) -> bool:
        return self.decay_from is not None and self.characters >= self.decay_from + self.config.schedule.decay_characters

    def _progress(self, losses: dict[str, float], rate: float) -> Progress:
        schedule = self.config.schedule
        begun = max(schedule.stable_characters, 0) if self.decay_from is None else self.decay_from
        total = begun + schedule.decay_characters
        left = max(0, total - self.characters) * self.tokens / max(1, self.characters) / max(rate, 1e-9)
        return Progress(self.step, losses, self.characters, total, rate, left, self.decay_from is not None)

    # --- measuring ----------------------------------------------------------------------------------------------------------

    def _measure(self) -> dict[str, Any]:
        head = self.model.get_output_embeddings().weight
        values = self.held_out.measure(self._states, head, self.dtype)
        mean = values["bits_per_character"]["mean"]
        better = self.best is None or mean < self.best[1]["bits_per_character"]["mean"]
        if better:
            self.best = (
                self.step,
                values,
                {name: p.detach().to("cpu", torch.bfloat16, copy=True) for name, p in self.parameters.items()},
            )
        self.log.write({"step": self.step, **values, "best": better})
        return values

    def _write(self) -> PretrainResult:
        step, measures, weights = self.best or (None, {}, {name: p.detach() for name, p in self.parameters.items()})
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])
        self.model.set_attn_implementation("sdpa")
        if self._finished():
            measures = {**measures, **self._final_measures()}
        size = sum(p.numel() for p in self.parameters.values())
        result = PretrainResult(
            self.folder, self._finished(), size, self.step, self.characters, self.tokens, self.seconds, step, measures
        )
        card = card_text(self.config, self.corpus, result, samples(self.model, self.corpus, self.mixture))
        write_base(self.folder, self.model, weights, self.corpus, card)
        return result

    def _final_measures(self) -> dict[str, Any]:
        """Return what is measured only of the finished base, with the weights as they are written."""
        dev = measure_dev_tasks(self.model, self.corpus, self.mixture)
        passages = measure_passages(self.model, lambda text: self.corpus.tokenizer.encode(text, add_special_tokens=False).ids)
        return {"dev": dev, "passages": passages, "beside": side_by_side(self.model, self.corpus, self.beside)}

    # --- state --------------------------------------------------------------------------------------------------------------

    def _save(self, file: CheckpointFile) -> None:
        tensors: dict[str, torch.Tensor] = {f"weights/{name}": p for name, p in self.parameters.items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in self.optimizer.state().items()}
        if self.best:
            tensors |= {f"best/{name}": tensor for name, tensor in self.best[2].items()}
        meta = {
            "step": self.step,
            "characters": self.characters,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "decay_from": self.decay_from,
            "log": self.log.sync(),
            "best": self.best and list(self.best[:2]),
        }
        file.save(tensors, meta)

    def _resume(self) -> None:
        found = self.now.load()
        if found and found[1]["decay_from"] is not None and found[1]["decay_from"] < self.config.schedule.stable_characters:
            found = self.stable.load() or found  # the level stretch was made longer: go back to its end
        if found is None:
            self.log.cut(0)
            return
        tensors, meta = found
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"weights/{name}"])
        self.optimizer.load(under("optimizer/", tensors))
        if meta["best"]:
            self.best = (*meta["best"], under("best/", tensors))
        self.step, self.characters, self.tokens = meta["step"], meta["characters"], meta["tokens"]
        self.seconds, self.decay_from = meta["seconds"], meta["decay_from"]
        self.log.cut(meta["log"])
