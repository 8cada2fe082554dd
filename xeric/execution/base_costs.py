"""What the runs of a study cost on one base: the base is timed once, the cost of every method is derived from its parameters."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xeric.bases.base import Base
from xeric.config import digest
from xeric.data.encoding import EncodedTask
from xeric.data.preparing import Prepared
from xeric.data.texts import TEXT, PreparedTexts
from xeric.decoding import default_limit
from xeric.execution.operations import Parts, Speed, training_operations
from xeric.execution.probe import parts_of, probe_decoding, probe_training, size_of
from xeric.execution.workload import Counts, Decoding, Training, counts_of, decoding_of, encoded_sample, training_of
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, MethodOptions
from xeric.progress import StudyProgress
from xeric.run.config import RunConfig
from xeric.training.memory import MemoryEstimate, decoding_memory, estimate_memory

__all__ = ["BaseCosts"]


@dataclass(frozen=True)
class _Attached:
    """A method on a base: what trains, how many parameters, length of its learned prefix of keys and values, memory."""

    parts: Parts
    trainable: int
    learned: int
    memory: MemoryEstimate


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
        """Return what a run's method is on this base."""
        settings = config.model_dump(mode="json", include={"method", "train", "prompt"})
        if (key := digest([settings, data.fingerprint])) not in self._attached:
            self.encoded(config, data)  # rows of the base without a method
            adaptation = _attach(self.base, config.method, data)
            try:
                self._attached[key] = self._describe(adaptation, config, data)
            finally:
                adaptation.detach()
        return self._attached[key]

    def _describe(self, adaptation: Adaptation, config: RunConfig, data: Prepared) -> _Attached:
        encoded, learned, name = self.encoded(config, data), self.base.learned_prefix, data.tasks[0].name
        micro_batch_size = config.train.micro_batch_size or config.train.batch_size
        counts = {task.name: counts_of(task, None) for task in data.tasks if task.name in encoded}
        training = training_of(encoded, counts, config.train, shared=self.shares)
        if self._joint and training:
            # A step on many tasks holds only a few rows of each.
            micro_batch_size = training.step.largest
        return _Attached(
            parts=parts_of(adaptation, self._own),
            trainable=sum(parameter.numel() for parameter in adaptation.trainable().values()),
            learned=learned.length(name) if learned and learned.keys_and_values(name) else 0,
            memory=_memory(self.base, adaptation, config, list(encoded.values()), micro_batch_size),
        )

    def training(self, config: RunConfig, data: Prepared, counts: Mapping[str, Counts]) -> Training | None:
        """Return the training of a run on the tasks that are counted; None where nothing is trained."""
        attached = self.attached(config, data)
        if not attached.trainable:
            return None
        encoded = {task: rows for task, rows in self.encoded(config, data).items() if task in counts}
        return training_of(encoded, counts, config.train, shared=self.shares, learned=attached.learned)

    def decoding(self, config: RunConfig, data: Prepared, texts: Mapping[str, int]) -> Decoding:
        """Return the decoding of ``texts`` texts of each task."""
        encoded = {task: rows for task, rows in self.encoded(config, data).items() if task in texts}
        lengths = {"context": self.base.context, "learned": self.attached(config, data).learned}
        return decoding_of(encoded, texts, config.decode, shared=self.shares and config.train.shared_prefix, **lengths)

    def probe(self, runs: Sequence[tuple[RunConfig, Prepared, Mapping[str, Counts]]]) -> None:
        """Time the base: training by the method with the median number of operations per step, and decoding."""
        trained = [(config, data, training) for config, data, counts in runs if (training := self.training(config, data, counts))]
        trained.sort(key=lambda run: training_operations(self.size, run[2].step, self.attached(run[0], run[1]).parts))
        self._progress.begin(f"{self._label}:")
        if trained:
            config, data, training = trained[len(trained) // 2]
            self._progress.note(f"probing {self._label}: training ({config.method.name})")
            parts = self.attached(config, data).parts
            adaptation = _attach(self.base, config.method, data)
            try:
                task = data.tasks[0].name
                arguments = self.base, adaptation, self.size, parts
                self.speed, self._memory_factor = probe_training(*arguments, task, training.shape, self._progress)
            finally:
                adaptation.detach()
        self._progress.note(f"probing {self._label}: decoding")
        config, data, _ = runs[0]
        lengths = [len(task.prefix_of(row).ids) for task in self.encoded(config, data).values() for row in task.rows]
        prefix = round(statistics.fmean(lengths)) if lengths else 1
        self.speed = probe_decoding(self.base, self.size, config.decode, max(prefix, 1), self.speed, self._progress)

    def memory(self, config: RunConfig, data: Prepared) -> int:
        """Return the peak bytes of a run, micro-batches corrected by the factor that the probe measured."""
        estimate = self.attached(config, data).memory
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
        training = training_of({TEXT: train}, counts, stage.train, shared=False)
        if training is None:
            return 0.0
        arguments = self.speed, self.size, attached.parts
        recomputing = stage.train.gradient_checkpointing
        return training.seconds(*arguments, attached.trainable, recomputing=recomputing) + training.looking(*arguments)

    def decoding_seconds(self, config: RunConfig, data: Prepared, texts: Mapping[str, int]) -> float:
        """Return the seconds that decoding ``texts`` texts of each task takes."""
        return self.decoding(config, data, texts).seconds(self.speed, self.size, self.attached(config, data).parts)


def _attach(base: Base, method: MethodOptions, data: Prepared) -> Adaptation:
    return METHODS.get(method.name).attach(base, method, seed=0, definitions=data.definitions)


def _memory(
    base: Base, adaptation: Adaptation, config: RunConfig, encoded: Sequence[EncodedTask], micro_batch_size: int
) -> MemoryEstimate:
    """Return the memory that a run takes.

    Args:
        base: with the method attached.
        adaptation: the method's.
        config: of the run.
        encoded: rows of its tasks.
        micro_batch_size: rows of the largest micro-batch.
    """
    recomputing = config.train.gradient_checkpointing
    targets = [row.target_tokens for rows in encoded for row in rows.rows]
    limit = config.decode.max_new_tokens or default_limit(targets, base.context)
    return estimate_memory(
        base,
        adaptation,
        encoded,
        micro_batch_size,
        shared=config.train.shared_prefix and not recomputing,
        recomputing=recomputing,
        selecting=config.train.selects,
        decoding=decoding_memory(base, encoded, config.decode.sequences, limit),
    )
