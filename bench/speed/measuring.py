"""The measurements of each part: which engines, which jobs, and what of their results is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.speed.design import DECODING, TRAINING, Cell, Extent, cells
from bench.speed.jobs import Job, Jobs, Result, interleaved, reason
from bench.speed.operations import Machine, decoding_need, training_need
from bench.speed.ratios import GENERATE, OURS, PEFT, TRL, Entry, best_of, disagreeing, measured
from xeric.execution.operations import Size

TRAIN_ENGINES = (OURS, "ours, plain", *TRL, PEFT, "bare loop")
REPAIRED = "generate, contiguous"
DECODE_ENGINES = (OURS, GENERATE, REPAIRED, "generate, prefix cache", "continuous batching", "llama.cpp, f16", "vLLM")
WEIGHT_BYTES = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class Options:
    """What is measured, and how often.

    Attributes:
        task: whose rows are used.
        study_tasks: of the small study.
        tasks_dir: folders to look for tasks in, before the bundled ones.
        repeats: of every measurement.
        steps: timed in each repeat, after one that is not.
        losses: steps of the first repeat of the centre cell in fp32, whose losses are compared.
        texts: decoded.
        new: limit of new tokens.
        pairs: scored.
        cells: which cells are measured.
    """

    task: str
    study_tasks: tuple[str, ...]
    tasks_dir: tuple[str, ...] = ()
    repeats: int = 3
    steps: int = 3
    losses: int = 20
    texts: int = 64
    new: int = 32
    pairs: int = 10_000
    cells: Extent = "around"


class Bench:
    """Carries out the parts.

    Args:
        jobs: starts the engines.
        options: what is measured.
        note: is told of what is measured, as it happens.
    """

    def __init__(self, jobs: Jobs, options: Options, note: Callable[[str], None]) -> None:
        self.jobs, self.options, self.note = jobs, options, note
        self.training = cells(TRAINING, options.cells)
        self.decoding = cells(DECODING, options.cells)
        self._others: dict[str, set[str]] = {}

    def prepare(self, base: str) -> Result:
        """Return a base's sizes and the rows of all cells."""
        options, name = self.options, label_of(base)
        prepared = self.jobs.run(
            "prepare",
            name,
            {
                "base": base,
                "task": options.task,
                "study": options.study_tasks,
                "tasks_dir": options.tasks_dir,
                "training": [asdict(cell) for cell in self.training],
                "decoding": [asdict(cell) for cell in self.decoding],
                "steps": max(options.steps + 1, options.losses),
                "texts": options.texts,
                "new": options.new,
                "gguf": str(self.jobs.folder / f"{name}.gguf") if find_spec("llama_cpp") else "",
                "lora": str(self.jobs.folder / f"{name}.safetensors"),
            },
        )
        if why := reason(prepared):
            raise RuntimeError(f"the rows of {base} cannot be prepared: {why}")
        return {**prepared, "base": base, "lora": str(self.jobs.folder / f"{name}.safetensors")}

    def machine(self) -> Result:
        """Return the machine's limits, as measured now."""
        limits = self.jobs.run("machine", "limits", {})
        if why := reason(limits):
            raise RuntimeError(f"the machine's limits cannot be measured: {why}")
        return limits

    # --- training -----------------------------------------------------------------------------------------------------------

    def train(self, prepared: Result, precision: str) -> Iterator[Entry]:
        """Yield the cells of a base in a precision, the centre first."""
        base, size = prepared["base"], Size(**prepared["size"])
        engines: tuple[str, ...] = TRAIN_ENGINES
        for number, (cell, rows) in enumerate(zip(self.training, prepared["training"], strict=True)):
            self.note(f"training {label_of(base)} {precision}, {cell.label}")
            with_losses = number == 0 and precision == "fp32"

            def run(engine: str, repeat: int, cell: Cell = cell, rows: Any = rows, with_losses: bool = with_losses) -> Result:
                steps = self.options.losses if with_losses and repeat == 0 else self.options.steps + 1
                job = {**self._common(prepared, precision), **rows, "order": rows["order"][:steps], "batch": cell.batch}
                return self._noted(self.jobs.run("train", engine, {**job, "output": str(self.jobs.folder / "trainer")}), engine)

            lengths = [[(len(rows["rows"][row][0]), rows["rows"][row][1]) for row in step] for step in rows["order"]]
            entry: Entry = {
                **asdict(cell),
                "prefix": len(rows["prefix"]),
                "step_rows": [len(step) for step in lengths],
                "step_operations": [training_need(size, prepared["added"], len(rows["prefix"]), step) for step in lengths],
                "row_tokens": sum(length for step in lengths for length, _ in step) / sum(map(len, lengths)),
                "target_tokens": sum(targets for step in lengths for _, targets in step) / sum(map(len, lengths)),
                "engines": interleaved(engines, self.options.repeats, run, self.note),
            }
            yield entry
            if number == 0 and self.options.cells != "all":
                engines = self._off_centre(entry, base, precision)

    def _off_centre(self, entry: Entry, base: str, precision: str) -> tuple[str, ...]:
        """The engines of the other cells: ours, TRL at its best, and PEFT with Trainer."""
        if precision == "fp32":
            self._others[base] = disagreeing({"": {"base": base, "precision": precision, "cells": [entry]}}, base)
        best = best_of(entry, TRL, self._others.get(base, set()))
        return tuple(engine for engine in (OURS, best, PEFT) if engine and measured(entry, engine))

    # --- decoding -----------------------------------------------------------------------------------------------------------

    def decode(self, prepared: Result, precision: str, limits: Result) -> Iterator[Entry]:
        """Yield the cells of a base in a precision, the centre first."""
        engines: tuple[str, ...] = DECODE_ENGINES
        for number, (cell, rows) in enumerate(zip(self.decoding, prepared["decoding"], strict=True)):
            self.note(f"decoding {label_of(prepared['base'])} {precision}, {cell.label}")
            job = {**self._common(prepared, precision), **rows, "batch": cell.batch, "new": self.options.new}

            def run(engine: str, _: int, job: Job = job) -> Result:
                return self._noted(self.jobs.run("decode", engine, job), engine)

            results = interleaved(engines, self.options.repeats, run, self.note)
            entry: Entry = {**asdict(cell), "prefix": len(rows["prefix"]), "units": len(rows["rows"]), "engines": results}
            entry["differing"] = differing(entry)
            entry["least_seconds"] = self._least_seconds(prepared, precision, limits, rows, cell, entry)
            for repeats in results.values():
                for result in repeats:
                    result.pop("texts", None)
            yield entry
            if number == 0 and self.options.cells != "all":
                engines = tuple(engine for engine in (OURS, GENERATE, REPAIRED) if measured(entry, engine))

    def _least_seconds(
        self, prepared: Result, precision: str, limits: Result, rows: Any, cell: Cell, entry: Entry
    ) -> float | None:
        counts = next((result["new"] for result in measured(entry, GENERATE)), None)
        if counts is None:
            return None
        weight = WEIGHT_BYTES[precision]
        return decoding_need(
            Size(**prepared["size"]),
            Machine(limits["matrix_rate"][precision], limits["bandwidth"]),
            len(rows["prefix"]),
            [len(row) for row in rows["rows"]],
            counts,
            batch=cell.batch,
            weight=weight,
            state=prepared["state_values"] * weight,
        )

    # --- scoring and studies ------------------------------------------------------------------------------------------------

    def score(self) -> Entry:
        """Return the scoring of pairs with intervals."""
        self.note(f"scoring {self.options.pairs:,} pairs")
        job = {"task": self.options.task, "tasks_dir": self.options.tasks_dir, "pairs": self.options.pairs}

        def run(engine: str, _: int) -> Result:
            return self._noted(self.jobs.run("score", engine, job), engine)

        return {
            "units": self.options.pairs,
            "engines": interleaved((OURS, "plain", "rescoring"), self.options.repeats, run, self.note),
        }

    def study(self, prepared: Result, precision: str) -> tuple[Entry, Path | None]:
        """Return the whole small study, and the folder of ours where it was finished."""
        self.note(f"a small study, {label_of(prepared['base'])} {precision}")
        finished: list[Path] = []

        def run(engine: str, repeat: int) -> Result:
            folder = self.jobs.folder / f"study-{label_of(prepared['base'])}-{precision}-{engine}-{repeat}"
            shutil.rmtree(folder, ignore_errors=True)
            job = {**self._common(prepared, precision), "study": prepared["study"], "output": str(folder)}
            result = self.jobs.run("study", engine, {**job, "tasks_dir": self.options.tasks_dir})
            if engine == OURS and reason(result) is None:
                finished.append(folder)
            return self._noted(result, engine)

        results = interleaved((OURS, "script"), self.options.repeats, run, self.note)
        return {"units": len(prepared["study"]), "engines": results}, finished[0] if finished else None

    # ------------------------------------------------------------------------------------------------------------------------

    def _common(self, prepared: Result, precision: str) -> Job:
        return {
            **{key: prepared.get(key) for key in ("base", "folder", "eos", "pad", "lora", "gguf")},
            "precision": precision,
        }

    def _noted(self, result: Result, engine: str) -> Result:
        if reason(result) is None:
            self.note(f"  {engine}: {result['wall']:.0f} s, start included")
        return result


def label_of(base: str) -> str:
    """The name of a base, without the folders that it lies in."""
    return Path(base).name


def differing(entry: Entry) -> dict[str, int]:
    """How many of each engine's texts are not ours, in the first repeat."""
    ours = measured(entry, OURS)
    return {
        engine: sum(a != b for a, b in zip(ours[0]["texts"], theirs[0]["texts"], strict=True))
        for engine in entry["engines"]
        if ours and engine != OURS and (theirs := measured(entry, engine))
    }
