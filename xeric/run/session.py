"""Training an attached method on rows made of tasks (:mod:`xeric.run.task_session`) or of plain text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from xeric.bases.base import Base
from xeric.data.rows import EncodedTask
from xeric.data.texts import TEXT, PreparedTexts
from xeric.errors import ConfigError
from xeric.formatting import data_size
from xeric.methods.base import Adaptation
from xeric.methods.combined import GatedAdaptation
from xeric.progress import Progress
from xeric.records import Split
from xeric.training.checkpoint import CheckpointFile
from xeric.training.log import STEPS
from xeric.training.loss import dev_loss
from xeric.training.memory import MemoryEstimate, available_memory, estimate_memory
from xeric.training.options import TrainSetup
from xeric.training.processes import ALONE, Processes
from xeric.training.result import TrainResult
from xeric.training.steps import StepPlan, batching_of
from xeric.training.trainer import Observe, Trainer

__all__ = ["TextSession", "TrainingSession"]


class TrainingSession(ABC):
    """A method attached to a base, the rows it is trained on, and how.

    Args:
        base: with the method attached.
        adaptation: the method's parts.
        setup: how to train.
        progress: is told what happens.
        processes: that train together.

    Attributes:
        observe: is called with each row of the training's log; None is nobody.
    """

    def __init__(
        self, base: Base, adaptation: Adaptation, setup: TrainSetup, progress: Progress, processes: Processes = ALONE
    ) -> None:
        self.base, self.adaptation, self.setup, self.progress = base, adaptation, setup, progress
        self.processes = processes
        self.options = setup.options
        self.trains = bool(adaptation.trainable())
        self.observe: Observe | None = None

    @property
    @abstractmethod
    def training(self) -> list[EncodedTask]:
        """Rows that are trained on, one entry per task."""

    @property
    @abstractmethod
    def held_out(self) -> list[EncodedTask]:
        """Rows that the dev loss is computed on, one entry per task."""

    @property
    def has_dev(self) -> bool:
        """Whether there are dev rows to select weights on."""
        return any(rows.rows for rows in self.held_out)

    @property
    @abstractmethod
    def trained_on(self) -> dict[str, Any]:
        """Counts of what the rows were made of, for the record of a stage."""

    def note_cuts(self, splits: Sequence[Split] = ()) -> None:  # noqa: B027 - plain text is split into windows, not truncated
        """Tell the user, before anything is computed, what truncation cuts from the rows."""

    def evaluate(self) -> float:
        """Return how good the current weights are on the held-out rows; higher is better, and the same in all processes."""
        rows, shared = [rows for rows in self.held_out if rows.rows], self.options.shared_prefix
        return -dev_loss(self.base, rows, batch_size=self.options.batch_size, shared=shared, processes=self.processes)

    def check_recomputing(self, names: Iterable[str]) -> None:
        """Check that rows of these names can be trained under gradient checkpointing.

        Raises:
            ConfigError: a learned prefix of keys and values precedes them, or gates depend on tasks or tokens, which
                checkpointing drops.
        """
        if isinstance(self.adaptation, GatedAdaptation) and self.adaptation.gates:
            raise ConfigError(
                "drops what gates depend on",
                where=f"{self.setup.where}.gradient_checkpointing",
                hint="set it to false, or use gate: none",
            )
        learned = self.base.learned_prefix
        if learned and any(learned.keys_and_values(name) for name in names):
            raise ConfigError(
                "drops a learned prefix of keys and values",
                where=f"{self.setup.where}.gradient_checkpointing",
                hint="set it to false, or take a prefix of embeddings (level: input)",
            )

    @property
    def decoding_bytes(self) -> int:
        """Bytes that decoding will add to what is held."""
        return 0

    def estimate(self) -> MemoryEstimate:
        """Return the estimate of the memory that will be taken, after telling the user."""
        options = self.options
        recomputing = options.gradient_checkpointing
        batching = batching_of(self.base, options)
        steps = StepPlan(self.training, options, self.setup.seeds["order"], batching, self.processes.count)
        estimate = estimate_memory(
            self.base,
            self.adaptation,
            steps.largest() if self.trains else [],
            shared=options.shared_prefix and not recomputing,
            recomputing=recomputing,
            selecting=options.selects,
            decoding=self.decoding_bytes,
        )
        needed, free = estimate.total - estimate.held, available_memory(self.base.device)
        self.progress.note(
            f"memory: about {data_size(estimate.total)}, {data_size(estimate.held)} of it held by now; {data_size(free)} are free"
        )
        if needed > free:
            lower = f"{self.setup.where}.micro_batch_size" if estimate.training > estimate.decoding else "decode.batch_size"
            self.progress.note(f"this may not fit into memory: lower {lower}, or take a smaller base")
        return estimate

    def train(self, folder: Path, checkpoint: CheckpointFile, phase: str = "train") -> TrainResult:
        """Train, from the checkpoint where there is one; the log goes to ``folder``."""
        if not self.trains:
            return TrainResult()
        trainer = Trainer(
            self.base,
            self.adaptation,
            self.training,
            self.setup,
            evaluate=self.evaluate if self.has_dev else None,
            checkpoint=checkpoint,
            log=folder / STEPS,
            progress=self.progress,
            phase=phase,
            observe=self.observe,
            processes=self.processes,
        )
        return trainer.run()


class TextSession(TrainingSession):
    """A method attached to a base, and the plain text it is trained on.

    Args:
        base: with the method attached.
        adaptation: the method's parts.
        data: the documents.
        setup: how to train.
        progress: is told what happens.
        processes: that train together.

    Raises:
        ConfigError: a learned prefix of keys and values cannot be trained under gradient checkpointing.
    """

    def __init__(
        self,
        base: Base,
        adaptation: Adaptation,
        data: PreparedTexts,
        setup: TrainSetup,
        progress: Progress,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__(base, adaptation, setup, progress, processes)
        if self.trains and setup.options.gradient_checkpointing:
            self.check_recomputing([TEXT])
        self._data = data
        encoder, window = base.encoder(TEXT), data.options.window
        if window > encoder.context - 1:
            progress.note(f"windows of {encoder.context - 1} tokens: the base's context holds no more")
        self._train, self._dev = (
            encoder.text_rows(TEXT, [(document.id, document.text) for document in documents], window)
            for documents in (data.train, data.dev)
        )

    @property
    def training(self) -> list[EncodedTask]:
        """The windows that are trained on."""
        return [self._train]

    @property
    def held_out(self) -> list[EncodedTask]:
        """The windows that weights are selected on."""
        return [self._dev]

    @property
    def trained_on(self) -> dict[str, Any]:
        """Counts of documents, and of rows and target tokens made of them, under ``texts``."""
        sides = {"train": self._train.rows, "dev": self._dev.rows}
        rows = {side: len(rows) for side, rows in sides.items()}
        tokens = {side: sum(row.target_tokens for row in rows) for side, rows in sides.items()}
        return {"texts": {**self._data.counts, "rows": rows, "tokens": tokens}}
