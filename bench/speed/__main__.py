"""Xeric beside TRL, PEFT with transformers' Trainer, `generate` and plain scoring, on the same rows; and the machine's limits.

    make bench ARGS="--quick"
    python -m bench.speed [--quick] [--only train,decode,score,study,cold] [--base NAME ...] [--precision fp32,bf16] [-o bench]

Needs the extra `bench`. Each engine runs in a process of its own, engines in turn, every measurement several times. What the
output folder holds of other bases, precisions and parts stays; the figures are made of all of it. On 2 cores everything takes
several hours, a quick look some ten minutes for each base and precision.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from bench.speed import cold
from bench.speed.design import Extent
from bench.speed.jobs import Jobs, Result
from bench.speed.measuring import Bench, Options, label_of
from bench.speed.page import page
from bench.speed.ratios import figures
from xeric.bases.names import full_name
from xeric.files import full_path, write_atomically
from xeric.json_io import read_json, write_json

PARTS = ("train", "decode", "score", "study", "cold")
BASES = ("gemma-3-270m", "smollm2-135m")
PRECISIONS = ("fp32", "bf16")
RESULTS, PAGE = "results.json", "results.md"
_ALL = "all"


class Report:
    """What was measured, written after every cell.

    Args:
        folder: holds ``results.json`` and ``results.md``; what they hold stays until it is measured again.
        limits: the machine's, versions and commit among them.
        cells: which cells are measured.
        quick: whether too little is measured for a figure to rely on.
    """

    def __init__(self, folder: Path, limits: Result, cells: Extent, quick: bool) -> None:
        self._folder, self._limits = folder, limits
        self._extent = {"cells": cells, "quick": quick}
        path = folder / RESULTS
        self.results: dict[str, Any] = read_json(path) if path.is_file() else {}

    def group(self, part: str, name: str, values: dict[str, Any]) -> Callable[[], None]:
        """Put a group of measurements into a part, and return what writes it as it then is."""
        start = time.monotonic()
        made = {key: self._limits[key] for key in ("machine", "threads", "versions", "commit")}
        made |= {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), **self._extent}

        def write() -> None:
            made["minutes"] = (time.monotonic() - start) / 60
            parts = {key: self.results.get(key, {}) for key in PARTS}
            parts[part] = {**parts[part], name: {**values, "made": made}}
            self.results = {**figures(parts), **{key: value for key, value in parts.items() if value}}
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(self._folder / RESULTS, self.results)
            write_atomically(self._folder / PAGE, page(self.results))

        return write


class Run:
    """Carries out the parts and reports them.

    Args:
        bench: measures.
        report: takes what was measured.
        limits: of the machine.
        parts: what is measured.
        precisions: in which.
    """

    def __init__(self, bench: Bench, report: Report, limits: Result, parts: Sequence[str], precisions: Sequence[str]) -> None:
        self._bench, self._report, self._limits = bench, report, limits
        self._parts, self._precisions = parts, precisions
        self._study: Path | None = None

    def carry_out(self, bases: Sequence[str]) -> None:
        for base in bases if {"train", "decode", "study"} & set(self._parts) else ():
            prepared = self._bench.prepare(base)
            for precision in self._precisions:
                if "train" in self._parts:
                    self._train(prepared, precision)
                if "decode" in self._parts:
                    self._decode(prepared, precision)
                if "study" in self._parts:
                    self._small_study(prepared, precision)
        if "score" in self._parts:
            values, write = self._group("score", _ALL, {"cells": []})
            values["cells"].append(self._bench.score())
            write()
        if "cold" in self._parts:
            self._cold()

    def _group(self, part: str, name: str, values: dict[str, Any]) -> tuple[dict[str, Any], Callable[[], None]]:
        return values, self._report.group(part, name, values)

    def _of_base(self, part: str, prepared: Result, precision: str, **more: Any) -> tuple[dict[str, Any], Callable[[], None]]:
        label = label_of(prepared["base"])
        return self._group(part, f"{label} {precision}", {"base": label, "precision": precision, "cells": [], **more})

    def _train(self, prepared: Result, precision: str) -> None:
        rate, bandwidth = self._limits["matrix_rate"][precision], self._limits["bandwidth"]
        values, write = self._of_base("train", prepared, precision, matrix_rate=rate, bandwidth=bandwidth)
        for entry in self._bench.train(prepared, precision):
            values["cells"].append(entry)
            # The best of all measurements: other work on the machine can only lower it.
            values["matrix_rate"] = max(values["matrix_rate"], self._bench.machine()["matrix_rate"].get(precision, 0.0))
            write()

    def _decode(self, prepared: Result, precision: str) -> None:
        values, write = self._of_base("decode", prepared, precision)
        for entry in self._bench.decode(prepared, precision, self._limits):
            values["cells"].append(entry)
            write()

    def _small_study(self, prepared: Result, precision: str) -> None:
        values, write = self._of_base("study", prepared, precision)
        entry, finished = self._bench.study(prepared, precision)
        values["cells"].append(entry)
        self._study = self._study or finished
        write()

    def _cold(self) -> None:
        bench = self._bench
        bench.note("commands from a cold start")
        values, write = self._group("cold", _ALL, {})
        repeats = max(bench.options.repeats, 3)
        values.update(cold.measure(bench.jobs, repeats, bench.options.task, bench.options.tasks_dir, self._study))
        write()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("bench"), help="folder of results.json and results.md")
    parser.add_argument("--only", type=listed(PARTS), metavar="PARTS", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--base", action="append", help=f"a base; several times for several (default: {' and '.join(BASES)})")
    parser.add_argument(
        "--precision", type=listed(PRECISIONS), help="default: fp32, and bf16 where the processor computes it natively"
    )
    parser.add_argument("--task", default="summarization_en", help="whose rows are trained on, decoded and scored")
    parser.add_argument(
        "--study-tasks", type=lambda text: tuple(text.split(",")), default=("summarization_en", "email_subject_en")
    )
    parser.add_argument("--tasks-dir", action="append", default=[], help="folder of task files, before the bundled ones")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each engine (default: all cores)")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--steps", type=int, help="timed in each repeat, after one that is not")
    parser.add_argument("--losses", type=int, help="steps whose losses are compared, in fp32")
    parser.add_argument("--texts", type=int, help="decoded")
    parser.add_argument("--new", type=int, help="limit of new tokens of a text")
    parser.add_argument("--pairs", type=int, help="scored")
    parser.add_argument(
        "--cells",
        choices=get_args(Extent),
        help="the centre alone; one level varied at a time around it, with the engines that matter (default); "
        "every combination of levels, with every engine",
    )
    parser.add_argument("--quick", action="store_true", help="the centre cell, once, few steps; no study unless named")
    return parser.parse_args()


def listed(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def of(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return of


def options_of(given: argparse.Namespace) -> Options:
    """What the command asks for; what it leaves open is little with ``--quick``."""
    few = {"repeats": 1, "steps": 2, "losses": 3, "texts": 8, "new": 8, "pairs": 500} if given.quick else {}
    stated = {
        name: value
        for name in ("repeats", "steps", "losses", "texts", "new", "pairs")
        if (value := getattr(given, name)) is not None
    }
    return Options(
        task=given.task,
        study_tasks=given.study_tasks,
        tasks_dir=tuple(map(full_path, given.tasks_dir)),  # the engines run in another folder
        cells=given.cells or ("centre" if given.quick else "around"),
        **{**few, **stated},
    )


def main() -> None:
    given = arguments()
    start = time.monotonic()

    def note(text: str) -> None:
        print(f"{(time.monotonic() - start) / 60:6.1f} min  {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="xeric-bench-") as folder:
        options = options_of(given)
        bench = Bench(Jobs(Path(folder), given.threads), options, note)
        try:
            limits = bench.machine()
            precisions = given.precision or tuple(name for name in PRECISIONS if name in limits["matrix_rate"])
            if foreign := [name for name in precisions if name not in limits["matrix_rate"]]:
                sys.exit(
                    f"this processor does not compute {', '.join(foreign)} natively: it would take hundreds of times as long"
                )
            note(f"{given.threads} threads, {', '.join(precisions)}")
            parts = given.only or tuple(part for part in PARTS if part != "study" or not given.quick)
            report = Report(given.output, limits, options.cells, given.quick)
            Run(bench, report, limits, parts, precisions).carry_out([full_name(base) for base in given.base or BASES])
        except RuntimeError as error:
            sys.exit(str(error))
    for key, value in figures(report.results).items():
        print(f"{key:20} {'not measured' if value is None else f'{value:.2f}'}")
    note(f"written to {given.output / PAGE}")


if __name__ == "__main__":
    main()
