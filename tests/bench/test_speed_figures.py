"""The speed bench without its engines: which cells, which operations, which figures, what is written."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from bench.speed.__main__ import Report, Run, options_of
from bench.speed.design import DECODING, TRAINING, cells
from bench.speed.jobs import Jobs, Result, interleaved, reason
from bench.speed.measuring import Bench, differing
from bench.speed.operations import Machine, decoding_need, training_need
from bench.speed.page import page
from bench.speed.ratios import KEYS, figures, ratio, rows_per_second, spread
from xeric.execution.operations import Size

LIMITS = {
    "machine": {"processor": "P", "cores": 2, "memory_bytes": 2**34, "system": "S"},
    "threads": 2,
    "versions": {"torch": "2"},
    "commit": "abc",
}


@pytest.mark.parametrize("factors", [TRAINING, DECODING])
def test_each_cell_differs_from_the_centre_in_one_factor_and_every_level_is_there(factors: Any) -> None:
    centre, *others = [asdict(cell) for cell in cells(factors)]
    assert [{name for name in factors if cell[name] != centre[name]} for cell in others] == [
        {name} for name, levels in factors.items() for _ in levels[1:]
    ]
    for name, levels in factors.items():
        assert {cell[name] for cell in (centre, *others)} == set(levels)


def test_cells_are_the_centre_what_is_around_it_or_every_combination() -> None:
    assert cells(TRAINING, "centre") == cells(TRAINING)[:1]
    full = cells(TRAINING, "all")
    assert full[0] == cells(TRAINING)[0]
    assert len(set(full)) == len(full) == 3 * 3 * 2


def test_operations_of_training_against_a_count_by_hand() -> None:
    # A prefix of 2 tokens; rows of 3 and 2 tokens with 1 and 2 targets: 7 tokens, 3 outputs. Pairs: 1 + 2 in the prefix,
    # 3 + 4 + 5 and 3 + 4 in the rows.
    size, added = Size(body=10, head=7, attention=3), 4
    forward = 2 * 10 * 7 + 4 * 3 * 22 + 2 * 7 * 3
    lora = 6 * 4 * 7
    assert training_need(size, added, 2, [(3, 1), (2, 2)]) == 2 * forward + lora


def test_least_time_of_decoding_is_the_longer_of_operations_and_bytes() -> None:
    size = Size(body=1000, head=500, attention=0)
    prompts = (2 * 1000 * (4 + 2 + 2) + 2 * 500 * 2) / 1e3
    given: dict[str, Any] = dict(prefix=4, lengths=[2, 2], new=[3, 3], batch=2, weight=4, state=0)
    # Two steps of two rows after the first token, which the prompt's own pass gives.
    assert decoding_need(size, Machine(1e3, 1e12), **given) == pytest.approx(prompts + 2 * (2 * 2 * 1500) / 1e3)
    assert decoding_need(size, Machine(1e3, 1e2), **given) == pytest.approx(prompts + 2 * (1500 * 4) / 1e2)
    # The prefix's keys and values are read once, those of each row once per row: 4 + 2 (2 + 1.5) positions.
    held = decoding_need(size, Machine(1e3, 1e2), **(given | {"state": 8}))
    assert held == pytest.approx(prompts + 2 * (1500 * 4 + 11 * 8) / 1e2)
    # A finished row leaves its place to the next one: no more steps than the tokens need.
    uneven = decoding_need(size, Machine(1e3, 1e2), **(given | {"new": [1, 5]}))
    assert uneven == pytest.approx(prompts + 2 * (1500 * 4) / 1e2)


def steps(*seconds: float, loss: float = 2.0) -> Result:
    """A training whose first step, which is not timed, took long."""
    return {"losses": [loss] * (len(seconds) + 1), "seconds": [99.0, *seconds], "peak_bytes": 2**30, "wall": 100.0}


def training_cell(**engines: Sequence[Result]) -> dict[str, Any]:
    return {
        "demonstrations": 2,
        "batch": 8,
        "rows": "short",
        "prefix": 10,
        "row_tokens": 5.0,
        "target_tokens": 2.0,
        "step_rows": [8] * 20,
        "step_operations": [1e9] * 20,
        "engines": {name.replace("_", " "): list(results) for name, results in engines.items()},
    }


def group(base: str, precision: str, *entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"base": base, "precision": precision, "cells": list(entries), **more}


def test_the_first_step_is_not_timed() -> None:
    cell = training_cell(ours=[steps(1, 3)])
    assert rows_per_second(cell, "ours") == [4.0]


def test_a_ratio_is_taken_within_each_repeat() -> None:
    cell = training_cell(ours=[steps(1, 1), steps(2, 2)], TRL=[steps(4, 4), steps(6, 6)])
    assert ratio(cell, "TRL") == {"median": 3.5, "min": 3.0, "max": 4.0, "repeats": 2}
    assert ratio(cell, "bare loop") is None
    assert spread([3.0])["median"] == 3.0


def test_a_figure_is_the_worst_cell_of_all_bases_and_precisions_against_the_best_of_the_other_side() -> None:
    fast = training_cell(ours=[steps(1)], TRL=[steps(9)], **{"TRL,_padding-free": [steps(8)]}, **{"PEFT_+_Trainer": [steps(4)]})
    slow = training_cell(ours=[steps(1)], TRL=[steps(6)], **{"TRL,_padding-free": [steps(7)]}, **{"PEFT_+_Trainer": [steps(5)]})
    train = {
        "gemma-3-270m fp32": group("gemma-3-270m", "fp32", fast, matrix_rate=4e9),
        "gemma-3-270m bf16": group("gemma-3-270m", "bf16", slow, matrix_rate=2e9),
        "other bf16": group("other", "bf16", fast, matrix_rate=1e9),
    }
    measured = figures({"train": train})
    assert list(measured) == list(KEYS)
    assert (measured["train_vs_trl"], measured["train_vs_peft"]) == (6.0, 4.0)
    assert (measured["matmul_share"], measured["matmul_share_fp32"]) == (0.5, 0.25)
    assert measured["decode_vs_generate"] is measured["score_vs_plain"] is measured["study_vs_script"] is None


def test_an_engine_with_other_losses_in_fp32_is_no_comparison_on_that_base() -> None:
    wrong = steps(2, loss=2.001)
    cell = training_cell(ours=[steps(1)], TRL=[steps(9)], **{"TRL,_padding-free": [wrong]})
    train = {
        "b fp32": group("b", "fp32", cell, matrix_rate=1e9),
        # In bf16 losses differ by rounding alone, so that the judgement is that of fp32.
        "b bf16": group("b", "bf16", training_cell(ours=[steps(1)], TRL=[steps(7, loss=2.01)]), matrix_rate=1e9),
    }
    assert figures({"train": train})["train_vs_trl"] == 7.0


def test_figures_of_the_other_parts() -> None:
    def decoded(seconds: float) -> dict[str, Any]:
        return {"engines": {"ours": [{"seconds": 2.0, "wall": 9}], "generate": [{"seconds": seconds, "wall": 9}]}}

    scored = {"engines": {name: [{"seconds": taken}] for name, taken in (("ours", 1), ("plain", 11), ("rescoring", 400))}}
    # Without seconds of its own a whole process counts.
    studied = {"engines": {"ours": [{"wall": 10.0}], "script": [{"wall": 45.0}]}}
    results = {
        "decode": {"a": {"cells": [decoded(8), decoded(6)]}, "b": {"cells": [decoded(20)]}},
        "score": {"all": {"cells": [scored]}},
        "study": {"a": {"cells": [studied]}},
    }
    measured = figures(results)
    assert (measured["decode_vs_generate"], measured["score_vs_plain"], measured["study_vs_script"]) == (3.0, 11.0, 4.5)


def test_texts_that_are_not_ours_are_counted() -> None:
    engines = {"ours": [{"texts": ["a", "b", "c"]}], "generate": [{"texts": ["a", "x", "y"]}], "vLLM": [{"skipped": "why"}]}
    assert differing({"engines": engines}) == {"generate": 2}


def test_engines_run_in_turn_and_one_that_cannot_is_not_asked_again() -> None:
    asked: list[tuple[str, int]] = []

    def run(engine: str, repeat: int) -> Result:
        asked.append((engine, repeat))
        return {"skipped": "not installed"} if engine == "b" else {"seconds": float(repeat)}

    notes: list[str] = []
    results = interleaved("abc", 3, run, notes.append)
    assert asked == [("a", 0), ("b", 0), ("c", 0), ("c", 1), ("a", 1), ("a", 2), ("c", 2)]
    assert results["a"] == [{"seconds": 0.0}, {"seconds": 1.0}, {"seconds": 2.0}]
    assert reason(results["b"][0]) == "skipped: not installed"
    assert notes == ["b: skipped: not installed"]


def test_a_process_that_fails_says_why_and_stops_nothing(tmp_path: Path) -> None:
    result = Jobs(tmp_path, 1).run("no such part", "ours", {})
    assert reason(result) == "failed: ended with code 1: KeyError: 'no such part'"


def test_what_was_not_measured_again_stays_in_the_results(tmp_path: Path) -> None:
    cell = training_cell(ours=[steps(1)], TRL=[steps(9)], vLLM=[{"skipped": "not | installed"}])
    first = Report(tmp_path, LIMITS, "centre", quick=True)
    first.group("train", "b fp32", group("b", "fp32", cell, matrix_rate=1e9, bandwidth=1e9))()
    again = Report(tmp_path, LIMITS, "around", quick=False)
    again.group(
        "train", "c fp32", group("c", "fp32", training_cell(ours=[steps(1)], TRL=[steps(5)]), matrix_rate=1e9, bandwidth=1e9)
    )()
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert set(results["train"]) == {"b fp32", "c fp32"}
    assert {key: results[key] for key in KEYS} == figures(results)
    assert results["train_vs_trl"] == 5.0
    assert results["matmul_share"] is None
    assert [results["train"][name]["made"]["quick"] for name in ("b fp32", "c fp32")] == [True, False]
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert text == page(results)
    assert "| vLLM | skipped: not / installed |" in text
    assert text.count("too little for a figure") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "results.md"]


class FixedBench:
    """Measures nothing, and returns the same for every base and precision; the matrix rate is better the second time."""

    def __init__(self) -> None:
        self.prepared: list[str] = []

    def prepare(self, base: str) -> Result:
        self.prepared.append(base)
        return {"base": base}

    def machine(self) -> Result:
        return {"matrix_rate": {"fp32": 4e9}}

    def train(self, prepared: Result, precision: str) -> list[dict[str, Any]]:
        return [training_cell(ours=[steps(1)], TRL=[steps(5)]), training_cell(ours=[steps(1)], TRL=[steps(3)])]

    def score(self) -> dict[str, Any]:
        return {"units": 1, "engines": {"ours": [{"seconds": 1.0, "scores": {}}], "plain": [{"seconds": 7.0, "scores": {}}]}}


def test_the_parts_that_are_asked_for_are_carried_out_for_every_base_and_written(tmp_path: Path) -> None:
    limits = {**LIMITS, "matrix_rate": {"fp32": 2e9}, "bandwidth": 1e9}
    bench = FixedBench()
    run = Run(cast(Bench, bench), Report(tmp_path, limits, "around", quick=False), limits, ["train", "score"], ["fp32"])
    run.carry_out(["/folder/of/gemma-3-270m", "other"])
    assert bench.prepared == ["/folder/of/gemma-3-270m", "other"]
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert list(results["train"]) == ["gemma-3-270m fp32", "other fp32"]
    assert (results["train_vs_trl"], results["score_vs_plain"], results["matmul_share_fp32"]) == (3.0, 7.0, 0.25)


def test_without_a_base_part_no_base_is_opened(tmp_path: Path) -> None:
    bench = FixedBench()
    Run(cast(Bench, bench), Report(tmp_path, LIMITS, "around", quick=False), LIMITS, ["score"], ["fp32"]).carry_out(["b"])
    assert bench.prepared == []


def test_quick_measures_little_and_what_is_stated_holds() -> None:
    unset = dict.fromkeys(("repeats", "losses", "texts", "new", "pairs"))
    given = Namespace(quick=True, cells=None, task="t", study_tasks=("t",), tasks_dir=[], steps=7, **unset)
    options = options_of(given)
    assert (options.repeats, options.steps, options.cells) == (1, 7, "centre")


def test_what_starts_the_engines_loads_no_tensor_library() -> None:
    code = "import sys, bench.speed.__main__; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_figures_of_the_readme_are_those_of_the_results() -> None:
    root = Path(__file__).parents[2]
    results = json.loads((root / "bench" / "results.json").read_text(encoding="utf-8"))
    assert {key: results[key] for key in KEYS} == figures(results)
    assert (root / "bench" / "results.md").read_text(encoding="utf-8") == page(results)
    readme = (root / "README.md").read_text(encoding="utf-8")
    table = [line.split(" | ")[-1].strip(" |") for line in readme.partition("| times as fast |")[2].splitlines()[2:6]]
    assert table == [f"{results[key]:.1f}" for key in KEYS[:4]]
