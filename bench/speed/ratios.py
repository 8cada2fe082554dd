"""What is made of the measurements: rates, ratios with their spread, and the worst of them.

A ratio is taken within a repeat, where both engines ran shortly after one another; its spread is that over the repeats. The
figure of a comparison is the median ratio of its worst cell, over all bases and precisions measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench.speed.jobs import Result, reason

Entry = dict[str, Any]
"""What was measured in one cell: its levels, and the results of each engine, repeat by repeat."""

OURS = "ours"
TRL = ("TRL", "TRL, padding-free", "TRL, no entropy")
PEFT = "PEFT + Trainer"
GENERATE = "generate"
TOLERANCE = 1e-4
"""Largest difference of two engines' losses in fp32, in nats per target token."""

WARM_UP = 1
"""Steps at the beginning that are not timed."""

KEYS = (
    "train_vs_trl",
    "train_vs_peft",
    "decode_vs_generate",
    "score_vs_plain",
    "study_vs_script",
    "matmul_share",
    "matmul_share_fp32",
)
SHARE_BASE = "gemma-3-270m"


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "repeats": len(values)}


def measured(entry: Entry, engine: str) -> list[Result]:
    """The results of an engine in a cell; none where it could not do the job or was not asked."""
    return [result for result in entry["engines"].get(engine, []) if reason(result) is None]


def seconds(result: Result) -> float:
    """The time of a result: of its timed steps, or of the whole."""
    taken = result["seconds"] if "seconds" in result else result["wall"]
    return sum(taken[WARM_UP:]) if isinstance(taken, list) else float(taken)


def ratio(entry: Entry, engine: str) -> dict[str, float] | None:
    """How many times as fast as an engine ours is, with spread; None where one of them was not measured."""
    pairs = list(zip(measured(entry, OURS), measured(entry, engine), strict=False))
    return spread([seconds(theirs) / seconds(ours) for ours, theirs in pairs]) if pairs else None


def rows_per_second(entry: Entry, engine: str) -> list[float]:
    rates = []
    for result in measured(entry, engine):
        rows = sum(entry["step_rows"][WARM_UP : len(result["seconds"])]) if "step_rows" in entry else entry["units"]
        rates.append(rows / seconds(result))
    return rates


def loss_difference(entry: Entry, engine: str) -> float | None:
    """The largest difference between an engine's losses and ours, over the steps that both took."""
    ours, theirs = measured(entry, OURS), measured(entry, engine)
    if not ours or not theirs:
        return None
    return max(abs(float(a) - float(b)) for a, b in zip(ours[0]["losses"], theirs[0]["losses"], strict=False))


def disagreeing(train: Mapping[str, Any], base: str) -> set[str]:
    """Engines whose losses on a base are not ours in fp32: they compute something else, and are no comparison."""
    return {
        engine
        for group in train.values()
        if group["base"] == base and group["precision"] == "fp32"
        for entry in group["cells"]
        for engine in entry["engines"]
        if (loss_difference(entry, engine) or 0.0) > TOLERANCE
    }


def best_of(entry: Entry, engines: Iterable[str], excluded: set[str]) -> str | None:
    """The engine against which ours does worst."""
    ratios = {
        engine: measured_ratio["median"]
        for engine in engines
        if engine not in excluded and (measured_ratio := ratio(entry, engine))
    }
    return min(ratios, key=ratios.__getitem__) if ratios else None


def share(entry: Entry, rate: float) -> list[float]:
    """The share of the machine's matrix rate that ours reaches, by the operations that the rows need."""
    return [
        sum(entry["step_operations"][WARM_UP : len(result["seconds"])]) / seconds(result) / rate
        for result in measured(entry, OURS)
    ]


def worst(values: Iterable[float | None]) -> float | None:
    """The smallest of values; None where there are none."""
    return min((value for value in values if value is not None), default=None)


def figures(results: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the figures of all comparisons, and the shares of the matrix rate; None where nothing was measured."""
    train = results.get("train", {})
    return {
        "train_vs_trl": worst(_train_ratios(train, TRL)),
        "train_vs_peft": worst(_train_ratios(train, [PEFT])),
        "decode_vs_generate": worst(_medians(_entries(results, "decode"), GENERATE)),
        "score_vs_plain": worst(
            median for engine in ("plain", "rescoring") for median in _medians(_entries(results, "score"), engine)
        ),
        "study_vs_script": worst(_medians(_entries(results, "study"), "script")),
        "matmul_share": _centre_share(train, "bf16"),
        "matmul_share_fp32": _centre_share(train, "fp32"),
    }


def _entries(results: Mapping[str, Any], part: str) -> Iterator[Entry]:
    for group in results.get(part, {}).values():
        yield from group["cells"]


def _medians(entries: Iterable[Entry], engine: str) -> Iterator[float]:
    for entry in entries:
        if measured_ratio := ratio(entry, engine):
            yield measured_ratio["median"]


def _train_ratios(train: Mapping[str, Any], engines: Sequence[str]) -> Iterator[float]:
    for group in train.values():
        excluded = disagreeing(train, group["base"])
        for entry in group["cells"]:
            if engine := best_of(entry, engines, excluded):
                measured_ratio = ratio(entry, engine)
                assert measured_ratio
                yield measured_ratio["median"]


def _centre_share(train: Mapping[str, Any], precision: str) -> float | None:
    """The share in the centre cell, the usual training."""
    group = train.get(f"{SHARE_BASE} {precision}")
    if not group or not group["cells"] or not (shares := share(group["cells"][0], group["matrix_rate"])):
        return None
    return statistics.median(shares)
