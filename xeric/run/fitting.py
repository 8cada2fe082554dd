"""Rows of prepared tasks, training on them, and decoding: what the last stage of a run and the stages before it share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xeric.bases.base import Base
from xeric.bases.stopping import ENDINGS
from xeric.data.encoding import EncodedTask
from xeric.data.preparing import Prepared, PreparedTask
from xeric.data.prompts import Prompt, PromptOptions, build_prompt
from xeric.decoding import DecodeOptions, generate_rows
from xeric.errors import ConfigError, DataError
from xeric.methods.base import Adaptation
from xeric.metrics import PRIMARY, score_predictions
from xeric.records import Part, Prediction
from xeric.run.progress import Progress, TrainingProgress
from xeric.training.checkpoint import CheckpointFile
from xeric.training.loop import TrainResult, train
from xeric.training.loss import dev_loss
from xeric.training.memory import MemoryEstimate, available_memory, estimate_memory
from xeric.training.options import TrainOptions

__all__ = ["Fitting", "TaskRows"]


@dataclass(frozen=True)
class TaskRows:
    """One task's rows and what they were made with."""

    data: PreparedTask
    prompt: Prompt
    train: EncodedTask
    dev: EncodedTask

    def instances(self, part: Part) -> Sequence[tuple[str, str, tuple[str, ...]]]:
        """Return id, input and references of what is decoded."""
        chosen = self.data.test if part == "test" else self.data.dev
        return [(i.id, i.input, i.outputs) for i in chosen]


class Fitting:
    """A method that is attached to a base, and the tasks it is trained on.

    Args:
        base: with the method attached.
        adaptation: the method's parts.
        data: the tasks.
        prompt: layout of the rows, its template settled.
        options: how to train.
        decoding: how to decode.
        lr: learning rate at its height.
        seeds: ``order``, ``dropout``, ``reference`` and ``decode``.
        progress: is told what happens.

    Raises:
        ConfigError: a learned prefix of keys and values cannot be trained under gradient checkpointing.
        DataError: a definition leaves no room in the context, or a task has nothing to train on.
    """

    def __init__(
        self,
        base: Base,
        adaptation: Adaptation,
        data: Prepared,
        *,
        prompt: PromptOptions,
        options: TrainOptions,
        decoding: DecodeOptions,
        lr: float,
        seeds: Mapping[str, int],
        progress: Progress,
    ) -> None:
        self.base, self.adaptation, self.options = base, adaptation, options
        self.lr, self.seeds, self.progress = lr, seeds, progress
        self.trains = bool(adaptation.trainable())
        if self.trains and options.gradient_checkpointing:
            self._check_recomputing(data)
        self.template = "chat" if prompt.template == "chat" else "plain"
        self.rows = [self._encode(task, prompt) for task in data.tasks]
        if self.trains:
            self._check_rows()
        self.limit = self._new_token_limit(decoding.max_new_tokens)
        self.decoding = self._settled(decoding)
        self.cuts: dict[str, dict[str, dict[str, int]]] = {rows.data.name: {"train": rows.train.cuts} for rows in self.rows}
        self.ended: dict[str, dict[str, dict[str, int]]] = {rows.data.name: {} for rows in self.rows}

    def _encode(self, task: PreparedTask, options: PromptOptions) -> TaskRows:
        base = self.base
        render = base.render_chat if base.has_chat_template else None
        prompt = build_prompt(task.task, task.demonstrations, options, render_chat=render)
        encoder, seed = base.encoder(task.name), self.seeds["reference"]
        train, dev = (
            encoder.training_rows(prompt, [(i.id, i.input, task.training_output(i, seed)) for i in part])
            for part in (task.train, task.dev)
        )
        return TaskRows(task, prompt, train, dev)

    def _check_recomputing(self, data: Prepared) -> None:
        learned = self.base.learned_prefix
        if learned and any(learned.keys_and_values(task.name) for task in data.tasks):
            raise ConfigError(
                "drops a learned prefix of keys and values",
                where="train.gradient_checkpointing",
                hint="set it to false, or take a prefix of embeddings (level: input)",
            )
        self.progress.note("gradient checkpointing: the task prefix is computed for every row, not once for a micro-batch")

    def _check_rows(self) -> None:
        for rows in self.rows:
            if not rows.train.rows:
                beside, too_long = len(rows.data.train), rows.train.cuts.get("target_too_long", 0)
                raise DataError(
                    f"no training instance of task {rows.data.name!r} is left "
                    f"({beside} beside dev and demonstrations, {too_long} too long)",
                    hint="raise --n-train, ask for fewer demonstrations, or take a base with a longer context",
                )

    def _settled(self, options: DecodeOptions) -> DecodeOptions:
        """Return the options with what they leave open filled in."""
        stop = options.stop
        if stop is None:
            # What is trained learns to end its texts. All tasks have one layout.
            stop = () if self.trains else self.rows[0].prompt.stop
        return options.model_copy(update={"max_new_tokens": self.limit, "stop": stop})

    def _new_token_limit(self, chosen: int | None) -> int:
        if chosen is not None:
            return chosen
        longest = max((row.target_tokens for rows in self.rows for row in rows.train.rows), default=1)
        return min(longest, self.base.context // 2)

    @property
    def resolved(self) -> dict[str, Any]:
        """What stands for settings that may be left open, by dotted path."""
        stop = list(self.decoding.stop or ())
        return {"prompt.template": self.template, "decode.max_new_tokens": self.limit, "decode.stop": stop}

    def estimate(self) -> MemoryEstimate:
        """Return the memory that training will take, after telling the user of it."""
        options = self.options
        size = options.micro_batch_size or options.batch_size
        rows = [rows.train for rows in self.rows]
        recomputing = options.gradient_checkpointing
        shared = options.shared_prefix and not recomputing
        estimate = estimate_memory(self.base, self.adaptation, rows, size, shared=shared, recomputing=recomputing)
        needed, free = estimate.total - estimate.weights, available_memory(self.base.device)
        if self.trains:
            self.progress.note(
                f"memory: about {_bytes(estimate.total)} for training; {_bytes(free)} are free besides the weights"
            )
            if needed > free:
                self.progress.note("training may not fit into memory: lower train.micro_batch_size, or take a smaller base")
        return estimate

    def train(self, folder: Path, checkpoint: CheckpointFile, phase: str = "train") -> TrainResult:
        """Train; the log goes to ``folder``, and a checkpoint is gone on from."""
        if not self.trains:
            return TrainResult()
        if any(rows.dev.rows for rows in self.rows):
            evaluate = self._dev_chrf if self.options.select == "chrf" else self._dev_loss
        else:
            evaluate = None
        return train(
            self.base,
            self.adaptation,
            [rows.train for rows in self.rows],
            self.options,
            lr=self.lr,
            order_seed=self.seeds["order"],
            dropout_seed=self.seeds["dropout"],
            evaluate=evaluate,
            checkpoint=checkpoint,
            log=folder / "log.jsonl",
            observer=TrainingProgress(self.progress, phase),
        )

    def _dev_loss(self) -> float:
        rows = [rows.dev for rows in self.rows if rows.dev.rows]
        return -dev_loss(self.base, rows, batch_size=self.options.batch_size, shared=self.options.shared_prefix)

    def _dev_chrf(self) -> float:
        return score_predictions(self._decode("dev"), [PRIMARY], resamples=0).scores[PRIMARY].score

    def predict(self, part: Part) -> list[Prediction]:
        """Decode a part of every task, with progress.

        What truncation cut from its rows is counted in ``cuts``, and how its texts ended in ``ended``.
        """
        self.progress.start(f"decode {part}", sum(len(rows.instances(part)) for rows in self.rows))
        return self._decode(part, self.progress)

    def _decode(self, part: Part, progress: Progress | None = None) -> list[Prediction]:
        return [prediction for rows in self.rows for prediction in self._decode_task(rows, part, progress)]

    def _decode_task(self, rows: TaskRows, part: Part, progress: Progress | None) -> list[Prediction]:
        name, language, instances = rows.data.name, rows.data.language, rows.instances(part)
        if not instances:
            return []
        inputs = [(id_, text) for id_, text, _ in instances]
        encoded = self.base.encoder(name).decoding_rows(rows.prompt, inputs, self.limit)
        found = generate_rows(
            self.base,
            encoded,
            self.decoding,
            max_new_tokens=self.limit,
            seed=self.seeds["decode"],
            shared=self.options.shared_prefix,
            progress=progress.advance if progress else None,
        )
        if progress:  # not on the way, where a training that was resumed decodes less often
            self.cuts[name][part] = encoded.cuts
            self.ended[name][part] = {how: sum(one.ended == how for one in found) for how in ENDINGS}
        return [
            Prediction(id=id_, task=name, language=language, input=text, prediction=output.text, references=references)
            for (id_, text, references), output in zip(instances, found, strict=True)
        ]


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
