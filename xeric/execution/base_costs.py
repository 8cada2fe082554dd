"""What the runs of a study cost on one base: the base is timed once, the cost of every method is derived from its parameters."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from xeric.bases.base import Base
from xeric.config import digest
from xeric.data.preparing import Prepared
from xeric.data.rows import EncodedTask
from xeric.data.texts import TEXT, PreparedTexts
from xeric.decoding import default_limit
from xeric.execution.activations import Kept, counted
from xeric.execution.operations import Parts, Speed, Work, batch_work, training_operations
from xeric.execution.probe import parts_of, probe_decoding, probe_training, size_of
from xeric.execution.speeds import Measurement, keep_measurement, kept_measurement
from xeric.execution.workload import Counts, Decoding, Training, counts_of, decoding_of, encoded_sample, training_of
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, MethodOptions
from xeric.progress import StudyProgress
from xeric.run.config import RunConfig
from xeric.studies.entries import SearchConfig
from xeric.training.memory import MemoryEstimate, decoding_memory, held_memory, memory_of, recomputed_bytes
from xeric.training.options import TrainOptions
from xeric.training.steps import batching_of

__all__ = ["BaseCosts"]


_INDUCED, _WRITTEN, _NEW_TOKENS, _CONTROLS = 8, 4, 96, 3
"""Of a search: texts that the base writes at the beginning, texts written at once, new tokens of each, controls decoded."""

_UNDISTURBED = 0.7
"""Share of a core from which a measurement on a processor counts as one of the base, and not of what else the machine does."""


@dataclass(frozen=True)
class _Attached:
    """A method on a base.

    Attributes:
        parts: what trains.
        trainable: number of parameters.
        learned: length of its learned prefix of keys and values.
        held: bytes that the process holds with it.
        kept: bytes that a micro-batch keeps for its backward pass.
    """

    parts: Parts
    trainable: int
    learned: int
    held: int
    kept: Kept


class BaseCosts:
    """One open base and what was measured on it.

    Args:
        base: without a method.
        label: in the study.
        joint: whether one run trains on all tasks.
        progress: is told what is timed.
    """

    def __init__(self, base: Base, label: str, *, joint: bool, progress: StudyProgress) -> None:
        self.base, self._label, self._joint, self._progress = base, label, joint, progress
        self.size = size_of(base)
        self.shares = base.can_share_prefix()
        self.speed = Speed()
        self._memory_factor = 1.0
        self._own = {name for name, _ in base.model.named_parameters()}
        self._encoded: dict[str, dict[str, EncodedTask]] = {}
        self._attached: dict[str, _Attached] = {}

    def encoded(self, config: RunConfig, data: Prepared) -> dict[str, EncodedTask]:
        """Return the first rows of each task."""
        key = digest([config.prompt.model_dump(mode="json"), data.fingerprint])
        if key not in self._encoded:
            self._encoded[key] = encoded_sample(self.base, config, data)
        return self._encoded[key]

    def attached(self, config: RunConfig, data: Prepared) -> _Attached:
        """Return what a run's method is on this base: attached once for all runs that have it."""
        key = digest([config.method.model_dump(mode="json"), data.fingerprint])
        if key not in self._attached:
            self._progress.note(f"trying {config.method.name} on {self._label}")
            adaptation = _attach(self.base, config.method, data)
            try:
                self._attached[key] = self._describe(adaptation, data)
            finally:
                adaptation.detach()
        return self._attached[key]

    def _describe(self, adaptation: Adaptation, data: Prepared) -> _Attached:
        learned, name = self.base.learned_prefix, data.tasks[0].name
        trainable = sum(parameter.numel() for parameter in adaptation.trainable().values())
        return _Attached(
            parts=parts_of(adaptation, self._own),
            trainable=trainable,
            learned=learned.length(name) if learned and learned.keys_and_values(name) else 0,
            held=held_memory(self.base),
            kept=counted(self.base, name, self.base.batching()) if trainable else Kept(),
        )

    def _memory(self, config: RunConfig, data: Prepared) -> MemoryEstimate:
        """Return the memory that a run takes, with the activations that follow from those of short rows."""
        encoded, attached = self.encoded(config, data), self.attached(config, data)
        batching = batching_of(self.base, config.train)
        together = [encoded] if self._joint else [{task: rows} for task, rows in encoded.items()]
        activations, outputs = 0, 0
        for tasks in together:
            counts = {task.name: counts_of(task, None) for task in data.tasks if task.name in tasks}
            training = training_of(tasks, counts, config.train, batching=batching)
            if training is None:
                continue
            kept = attached.kept.of(batch_work(training.largest, batching, learned=attached.learned))
            if config.train.gradient_checkpointing:
                rows = [(row.prefix + row.tokens - row.targets, row.targets) for row in training.largest]
                kept = recomputed_bytes(self.base, rows, kept)
            activations, outputs = max(activations, kept), max(outputs, sum(row.targets for row in training.largest))
        targets = [row.target_tokens for rows in encoded.values() for row in rows.rows]
        limit = config.decode.max_new_tokens or default_limit(targets, self.base.context)
        return memory_of(
            self.base,
            attached.held,
            attached.trainable,
            activations,
            outputs,
            selecting=config.train.selects,
            decoding=decoding_memory(self.base, list(encoded.values()), config.decode.sequences, limit),
        )

    def training(self, config: RunConfig, data: Prepared, counts: Mapping[str, Counts]) -> Training | None:
        """Return the training of a run on the tasks that are counted; None where nothing is trained."""
        attached = self.attached(config, data)
        if not attached.trainable:
            return None
        encoded = {task: rows for task, rows in self.encoded(config, data).items() if task in counts}
        return training_of(encoded, counts, config.train, batching=batching_of(self.base, config.train), learned=attached.learned)

    def decoding(self, config: RunConfig, data: Prepared, texts: Mapping[str, int]) -> Decoding:
        """Return the decoding of ``texts`` texts of each task."""
        encoded = {task: rows for task, rows in self.encoded(config, data).items() if task in texts}
        lengths = {"context": self.base.context, "learned": self.attached(config, data).learned}
        return decoding_of(encoded, texts, config.decode, shared=self.shares and config.train.shared_prefix, **lengths)

    def probe(self, runs: Sequence[tuple[RunConfig, Prepared, Mapping[str, Counts]]]) -> None:
        """Time the base: training by the method with the median number of operations per step, and decoding.

        What was measured not long ago on this machine is taken from the cache folder.
        """
        trained = [(config, data, training) for config, data, counts in runs if (training := self.training(config, data, counts))]
        trained.sort(key=lambda run: training_operations(self.size, run[2].step, self.attached(run[0], run[1]).parts))
        self._progress.begin(f"{self._label}:")
        median = trained[len(trained) // 2] if trained else None
        what = self._measured(median[0] if median else None, runs[0][0])
        if (kept := kept_measurement(what)) is not None:
            measurement, written = kept
            self._progress.note(f"speed of {self._label}: as measured at {written} on this machine")
        else:
            start, computed = time.perf_counter(), time.process_time()
            measurement = self._timed(median, *runs[0][:2])
            share = (time.process_time() - computed) / max(time.perf_counter() - start, 1e-9)
            if self.base.device.type == "cpu" and share < _UNDISTURBED:
                message = f"other work left {share:.0%} of a core for this: times are as if it always did, and are not kept"
                self._progress.note(f"speed of {self._label}: {message}")
            else:
                keep_measurement(what, measurement)
        self.speed, self._memory_factor = measurement.speed, measurement.memory

    def _measured(self, trained: RunConfig | None, decoded: RunConfig) -> dict[str, Any]:
        """Return what the speed depends on, but for the machine."""
        return {
            "base": dict(self.base.sha256),
            "device": str(self.base.device),
            "precision": self.base.precision,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "shares": self.shares,
            "batching": self.base.batching(),
            "training": trained.method.model_dump(mode="json") if trained else None,
            "decoding": decoded.decode.model_dump(mode="json", include={"strategy", "batch_size", "candidates", "beams"}),
        }

    def _timed(self, trained: tuple[RunConfig, Prepared, Training] | None, decoded: RunConfig, tasks: Prepared) -> Measurement:
        """Return what is measured now."""
        speed, memory = Speed(), 1.0
        if trained is not None:
            config, data, training = trained
            self._progress.note(f"probing {self._label}: training ({config.method.name})")
            parts = self.attached(config, data).parts
            adaptation = _attach(self.base, config.method, data)
            try:
                arguments = self.base, adaptation, self.size, parts
                speed, memory = probe_training(*arguments, data.tasks[0].name, training.shape, self._progress)
            finally:
                adaptation.detach()
        self._progress.note(f"probing {self._label}: decoding")
        lengths = [len(task.prefix_of(row).ids) for task in self.encoded(decoded, tasks).values() for row in task.rows]
        prefix = max(round(statistics.fmean(lengths)) if lengths else 1, 1)
        return Measurement(probe_decoding(self.base, self.size, decoded.decode, prefix, speed, self._progress), memory)

    def memory(self, config: RunConfig, data: Prepared) -> int:
        """Return the peak bytes of a run, micro-batches corrected by the factor that the probe measured."""
        estimate = self._memory(config, data)
        micro_batch = estimate.activations + estimate.logits + estimate.passing
        return estimate.held + max(estimate.training + round((self._memory_factor - 1) * micro_batch), estimate.decoding)

    def fitting_seconds(self, config: RunConfig, data: Prepared, counts: Mapping[str, Counts]) -> float:
        """Return how long a run trains, its evaluations on dev included."""
        training, attached = self.training(config, data, counts), self.attached(config, data)
        if training is None:
            return 0.0
        arguments = self.speed, self.size, attached.parts
        recomputing = config.train.gradient_checkpointing
        seconds = training.seconds(*arguments, attached.trainable, recomputing=recomputing)
        if config.train.select == "chrf":
            dev = {task: count.dev for task, count in counts.items()}
            return seconds + training.looks * self.decoding_seconds(config, data, dev)
        return seconds + training.looking(*arguments)

    def text_stage_seconds(self, config: RunConfig, data: Prepared, texts: PreparedTexts) -> float:
        """Return how long a run's first stage takes, which is trained on plain text.

        Args:
            config: of the run.
            data: its tasks.
            texts: what the stage is trained on.
        """
        stage = config.stages[0]
        method = config.method if stage.method is None else stage.method
        attached = self.attached(config.model_copy(update={"method": method, "train": stage.train}), data)
        encoder = self.base.encoder(TEXT)
        train, dev = (
            encoder.text_rows(TEXT, [(document.id, document.text) for document in documents], texts.options.window)
            for documents in (texts.train, texts.dev)
        )
        counts = {TEXT: Counts(len(train.rows), len(dev.rows), 0)}
        training = training_of({TEXT: train}, counts, stage.train, batching=batching_of(self.base, stage.train))
        if training is None:
            return 0.0
        arguments = self.speed, self.size, attached.parts
        recomputing = stage.train.gradient_checkpointing
        return training.seconds(*arguments, attached.trainable, recomputing=recomputing) + training.looking(*arguments)

    def searching_seconds(self, config: RunConfig, data: Prepared, task: str, counts: Counts, search: SearchConfig) -> float:
        """Return how long the search for a task's definition takes.

        Candidates are scored by one forward pass over dev; the finalists, the own definition and three controls are decoded.
        About a third of the edits need a paraphrase, which the base writes like the first candidates.

        Args:
            config: the base as it is, in the setting of the search.
            data: the study's tasks.
            task: whose definition is searched for.
            counts: of its instances.
            search: its budget.
        """
        scored = counts.dev or counts.train // 2
        encoded = {name: rows for name, rows in self.encoded(config, data).items() if name == task}
        options = TrainOptions(select="loss")
        if not encoded:
            return 0.0
        training = training_of(encoded, {task: Counts(counts.train, scored, 0)}, options, batching=self.base.batching())
        parts = self.attached(config, data).parts
        look = self.speed.evaluating(self.size, training.look, parts) if training else 0.0
        decoding = self.decoding_seconds(config, data, {task: scored})
        written = Decoding(Work(), round((_INDUCED + search.candidates / 3) / _WRITTEN), _WRITTEN, _NEW_TOKENS)
        writing = written.seconds(self.speed, self.size, parts)
        return search.candidates * look + (search.finalists + 1 + _CONTROLS) * decoding + writing

    def decoding_seconds(self, config: RunConfig, data: Prepared, texts: Mapping[str, int]) -> float:
        """Return the seconds that decoding ``texts`` texts of each task takes."""
        return self.decoding(config, data, texts).seconds(self.speed, self.size, self.attached(config, data).parts)


def _attach(base: Base, method: MethodOptions, data: Prepared) -> Adaptation:
    return METHODS.get(method.name).attach(base, method, seed=0, definitions=data.definitions)
