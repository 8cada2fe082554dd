"""Rows of prepared tasks, training on them, and decoding: used by a run and by its stages."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xeric.bases.base import Base
from xeric.bases.stopping import ENDINGS
from xeric.data.preparing import Prepared, PreparedTask
from xeric.data.prompt_options import PromptOptions
from xeric.data.prompts import Prompt, build_prompt
from xeric.data.rows import EncodedTask, cut_note
from xeric.data.tasks import Instance
from xeric.decoding import DecodeOptions, default_limit, generate_rows
from xeric.errors import DataError
from xeric.methods.base import Adaptation
from xeric.metrics import PRIMARY, score_predictions
from xeric.progress import Progress
from xeric.records import Prediction, Split
from xeric.run.row_price import demonstrations_note
from xeric.run.session import TrainingSession
from xeric.training.memory import decoding_memory
from xeric.training.options import TrainSetup
from xeric.training.processes import ALONE, Processes

__all__ = ["TaskRows", "TaskSession"]


@dataclass(frozen=True)
class TaskRows:
    """One task's training rows and what they were made with."""

    data: PreparedTask
    prompt: Prompt
    train: EncodedTask

    def instances(self, split: Split) -> Sequence[Instance]:
        """Return the instances that are decoded."""
        return self.data.test if split == "test" else self.data.dev


class TaskSession(TrainingSession):
    """A method attached to a base, and the tasks it is trained on and decodes.

    Args:
        base: with the method attached.
        adaptation: the method's parts.
        data: the tasks.
        setup: how to train; its seeds hold ``reference`` and ``decode``, too.
        prompt: layout of the rows, its template settled.
        decoding: how to decode.
        progress: is told what happens.
        processes: that train together; the first alone decodes.

    Raises:
        ConfigError: a learned prefix of keys and values cannot be trained under gradient checkpointing.
        DataError: a definition leaves no room in the context, or a task has nothing to train on.
    """

    def __init__(
        self,
        base: Base,
        adaptation: Adaptation,
        data: Prepared,
        setup: TrainSetup,
        *,
        prompt: PromptOptions,
        decoding: DecodeOptions,
        progress: Progress,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__(base, adaptation, setup, progress, processes)
        if self.trains and self.options.gradient_checkpointing:
            self.check_recomputing(task.name for task in data.tasks)
            progress.note("gradient checkpointing: the task prefix is computed for every row, not once per micro-batch")
        self.data = data
        self.template = "chat" if prompt.template == "chat" else "plain"
        self.rows = [self._encode(task, prompt) for task in data.tasks]
        if self.trains:
            self._check_rows()
            if self.base.instance_vectors:
                shown = [i.picture for rows in self.rows for i in rows.data.train if i.picture]
                self.base.instance_vectors.standardise(shown)
        self.limit = self._new_token_limit(decoding.max_new_tokens)
        self.decoding = self._settled(decoding)
        self.cuts: dict[str, dict[str, dict[str, int]]] = {rows.data.name: {"train": rows.train.cuts} for rows in self.rows}
        self._for_decoding: dict[tuple[str, Split], EncodedTask] = {}
        self.ended: dict[str, dict[str, dict[str, int]]] = {rows.data.name: {} for rows in self.rows}

    def _encode(self, task: PreparedTask, options: PromptOptions) -> TaskRows:
        render = self.base.render_chat if self.base.has_chat_template else None
        indented = self.data.options.cleaning.keep_indentation
        prompt = build_prompt(
            task.task,
            task.demonstrations,
            options,
            render_chat=render,
            keep_indentation=indented,
            retrievable=task.retrievable,
        )
        return TaskRows(task, prompt, self._with_targets(task, prompt, task.train))

    def _with_targets(self, task: PreparedTask, prompt: Prompt, instances: Sequence[Instance]) -> EncodedTask:
        seed = self.setup.seeds["reference"]
        triples = [(i.id, i.input, task.training_output(i, seed)) for i in instances]
        openings = self.base.openings({i.id: i.picture for i in instances})
        return self.base.encoder(task.name).training_rows(prompt, triples, openings)

    def _check_rows(self) -> None:
        if self.base.instance_vectors and not any(i.picture for rows in self.rows for i in rows.data.train):
            raise DataError(
                "the method makes vectors of pictures, and no training instance names one",
                hint='give instances an "image" beside "input" and "output", or take another method',
            )
        for rows in self.rows:
            if not rows.train.rows:
                remaining, too_long = len(rows.data.train), rows.train.cuts.get("target_too_long", 0)
                raise DataError(
                    f"no training instance of task {rows.data.name!r} is left "
                    f"({remaining} beside dev and demonstrations, {too_long} too long)",
                    hint="raise --n-train, ask for fewer demonstrations, or take a base with a longer context",
                )

    def _settled(self, options: DecodeOptions) -> DecodeOptions:
        """Return the options with their unset values filled in."""
        stop = options.stop
        if stop is None:
            # A trained model has learnt to end its texts. All tasks have the same layout.
            stop = () if self.trains else self.rows[0].prompt.stop
        return options.model_copy(update={"max_new_tokens": self.limit, "stop": stop})

    def _new_token_limit(self, chosen: int | None) -> int:
        if chosen is not None:
            return chosen
        return default_limit([row.target_tokens for rows in self.rows for row in rows.train.rows], self.base.context)

    @property
    def resolved(self) -> dict[str, Any]:
        """Values used for settings that may be left unset, by dotted path."""
        stop = list(self.decoding.stop or ())
        return {"prompt.template": self.template, "decode.max_new_tokens": self.limit, "decode.stop": stop}

    @property
    def training(self) -> list[EncodedTask]:
        """Rows that are trained on, one entry per task."""
        return [rows.train for rows in self.rows]

    @functools.cached_property
    def held_out(self) -> list[EncodedTask]:
        """Dev rows with their targets, one entry per task; encoded only where dev loss selects the weights."""
        if not self.trains or self.options.select != "loss":
            return []
        return [self._with_targets(rows.data, rows.prompt, rows.data.dev) for rows in self.rows]

    @property
    def has_dev(self) -> bool:
        """Whether there are dev instances to select weights on."""
        return any(rows.data.dev for rows in self.rows) if self.options.select == "chrf" else super().has_dev

    @property
    def decoding_bytes(self) -> int:
        """Bytes that decoding will add to what is held."""
        return decoding_memory(self.base, [*self.training, *self._for_decoding.values()], self.decoding.sequences, self.limit)

    @property
    def trained_on(self) -> dict[str, Any]:
        """Counts of each task's instances, under ``tasks``."""
        return {"tasks": {rows.data.name: rows.data.counts for rows in self.rows}}

    def note_cuts(self, splits: Sequence[Split] = ()) -> None:
        """Tell the user what truncation cuts from the training rows, and from the inputs of the splits that are decoded.

        Where rows have demonstrations of their own, also what these cost.
        """
        decoded = [self._decoding_rows(rows, split) for rows in self.rows for split in splits]
        if any(rows.prompt.retrieved for rows in self.rows) and (note := demonstrations_note([*self.training, *decoded])):
            self.progress.note(note)
        for number, rows in enumerate(self.rows):
            encoded = [(self._decoding_rows(rows, split), len(rows.instances(split)), f"{split} inputs") for split in splits]
            if self.held_out:
                encoded.insert(0, (self.held_out[number], len(rows.data.dev), "dev inputs"))
            if self.trains:
                encoded.insert(0, (rows.train, len(rows.data.train), "training inputs"))
            # Where dev loss selects and dev is decoded, too, the same note would come twice.
            for note in dict.fromkeys(cut_note(task.cuts, count, what, self.base.context) for task, count, what in encoded):
                if note:
                    self.progress.note(f"{rows.data.name}: {note}")

    def _decoding_rows(self, rows: TaskRows, split: Split) -> EncodedTask:
        """Return the rows that a split of a task is decoded from, encoded once."""
        key = rows.data.name, split
        if key not in self._for_decoding:
            instances = rows.instances(split)
            inputs = [(i.id, i.input) for i in instances]
            openings = self.base.openings({i.id: i.picture for i in instances})
            encoder = self.base.encoder(rows.data.name)
            self._for_decoding[key] = encoder.decoding_rows(rows.prompt, inputs, self.limit, openings)
        return self._for_decoding[key]

    def evaluate(self) -> float:
        """Return how good the current weights are on dev, by loss or by chrF++ of decoded texts; higher is better."""
        return self.processes.from_first(self._dev_chrf) if self.options.select == "chrf" else super().evaluate()

    def _dev_chrf(self) -> float:
        return score_predictions(self._decode("dev"), [PRIMARY], resamples=0).scores[PRIMARY].score

    def predict(self, split: Split) -> list[Prediction]:
        """Decode a split of every task, with progress.

        Truncated rows are counted in ``cuts``, and how the texts ended in ``ended``.
        """
        self.progress.start(f"decode {split}", sum(len(rows.instances(split)) for rows in self.rows))
        return self._decode(split, self.progress)

    def _decode(self, split: Split, progress: Progress | None = None) -> list[Prediction]:
        return [prediction for rows in self.rows for prediction in self._decode_task(rows, split, progress)]

    def _decode_task(self, rows: TaskRows, split: Split, progress: Progress | None) -> list[Prediction]:
        name, language, instances = rows.data.name, rows.data.language, rows.instances(split)
        if not instances:
            return []
        encoded = self._decoding_rows(rows, split)
        outputs = generate_rows(
            self.base,
            encoded,
            self.decoding,
            max_new_tokens=self.limit,
            seed=self.setup.seeds["decode"],
            shared=self.options.shared_prefix,
            progress=progress.advance if progress else None,
        )
        if progress:  # not during training: a resumed training decodes less often
            self.cuts[name][split] = encoded.cuts
            self.ended[name][split] = {how: sum(output.ended == how for output in outputs) for how in ENDINGS}
        return [
            Prediction(
                id=i.id,
                task=name,
                language=language,
                input=i.input,
                prediction=output.text,
                references=i.outputs,
                group=i.group,
            )
            for i, output in zip(instances, outputs, strict=True)
        ]
