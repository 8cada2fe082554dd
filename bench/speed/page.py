"""``results.md``: what was measured, as tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.speed.jobs import Result, reason
from bench.speed.ratios import (
    OURS,
    TOLERANCE,
    Entry,
    disagreeing,
    figures,
    loss_difference,
    measured,
    ratio,
    rows_per_second,
    seconds,
    share,
)

MEANING = {
    "train_vs_trl": "training, times as fast as TRL's SFTTrainer at its best",
    "train_vs_peft": "training, times as fast as PEFT with transformers' Trainer",
    "decode_vs_generate": "decoding, times as fast as `generate` in batches",
    "score_vs_plain": "scoring with intervals, times as fast as the plain calls",
    "study_vs_script": "a whole small study, times as fast as a script",
    "matmul_share": "bf16 training on Gemma 3 270M, share of the matrix rate",
    "matmul_share_fp32": "fp32 training on Gemma 3 270M, share of the matrix rate",
}


def page(results: Mapping[str, Any]) -> str:
    """Return the page of what was measured, whole or in part."""
    parts: list[tuple[str, Callable[[Mapping[str, Any]], Iterator[str]]]] = [
        ("train", _training),
        ("decode", _decoding),
        ("score", _scoring),
        ("study", _study),
        ("cold", _cold),
    ]
    lines = [*_opening(results)]
    for name, section in parts:
        if results.get(name):
            lines += ["", *section(results[name])]
    return "\n".join(lines) + "\n"


def _opening(results: Mapping[str, Any]) -> Iterator[str]:
    yield from _chapter(
        "# Speed",
        "Made by `make bench`. A figure is the median over repeats of its worst cell; engines run in processes of their own, in "
        "turn, on the same rows. Ratios are taken within a repeat; brackets hold the smallest and the largest.",
    )
    yield ""
    yield from _table(["", "figure"], [[MEANING[key], _plain(value)] for key, value in figures(results).items()])


def _chapter(title: str, text: str) -> list[str]:
    return [title, "", text]


def _made(group: Mapping[str, Any]) -> str:
    made = group["made"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    memory = f"{made['machine']['memory_bytes'] / 2**30:.0f} GiB"
    centre = " The centre cell alone." if made.get("cells") == "centre" else ""
    quick = " With `--quick`: too little for a figure to rely on." if made.get("quick") else ""
    return (
        f"{made['machine']['processor']}, {made['machine']['cores']} cores, {memory}; {made['threads']} threads; {versions}; "
        f"commit {made['commit'] or 'unknown'}; {made['date']}; {made['minutes']:.0f} minutes.{centre}{quick}"
    )


# --- training ---------------------------------------------------------------------------------------------------------------


def _training(train: Mapping[str, Any]) -> Iterator[str]:
    yield from _chapter(
        "## Training",
        "LoRA of rank 16 on all linear layers, AdamW, dropout 0, gradient checkpointing off. TRL's loss is that in chunks, its "
        "default; no setting leaves out the entropy that it logs, so one line calls its loss without. Rows of several "
        "steps are not packed together: that would change which rows a step holds. Memory is the largest resident size of the "
        "engine's process. Share: operations that the rows need (`bench/speed/operations.py`), by seconds and the matrix rate.",
    )
    for name, group in train.items():
        yield from ["", f"### {name}", "", _made(group), ""]
        rate, bandwidth = group["matrix_rate"] / 1e9, group["bandwidth"] / 1e9
        yield f"Matrix products: {rate:.0f} GFLOP/s; memory read at {bandwidth:.0f} GB/s."
        excluded = disagreeing(train, group["base"])
        for entry in group["cells"]:
            yield from _training_cell(entry, group, excluded)


def _training_cell(entry: Entry, group: Mapping[str, Any], excluded: set[str]) -> Iterator[str]:
    yield ""
    yield (
        f"**{entry['demonstrations']} demonstrations, batch {entry['batch']}, {entry['rows']} rows**: "
        f"prefix {entry['prefix']} tokens, rows {entry['row_tokens']:.0f} on average, {entry['target_tokens']:.0f} of them "
        f"targets; {statistics.fmean(entry['step_operations']) / 1e9:.0f} GFLOP per step"
    )
    yield ""

    def cells(engine: str, results: Sequence[Result]) -> tuple[str, str]:
        difference = loss_difference(entry, engine)
        same = "" if engine == OURS or difference is None else f"{difference:.1e} over {len(results[0]['losses'])} steps"
        if engine in excluded:
            same += f", more than {TOLERANCE:g} in fp32: left out"
        return same, _range(share(entry, group["matrix_rate"]), "{:.0%}") if engine == OURS else ""

    yield from _engines(entry, "rows/s", ("losses differ from ours", "share"), cells)
    if entry is group["cells"][0] and group["precision"] == "fp32":
        yield from ["", *_losses(entry)]


def _engines(
    entry: Entry, unit: str, further: tuple[str, str], cells: Callable[[str, Sequence[Result]], tuple[str, str]]
) -> Iterator[str]:
    """The table of a cell's engines; ``cells`` gives the two further columns of one that was measured."""
    rows = []
    for engine in entry["engines"]:
        if results := measured(entry, engine):
            peak = f"{max(result['peak_bytes'] for result in results) / 2**30:.1f} GiB"
            speed = [_range(rows_per_second(entry, engine)), _ratio(entry, engine), peak]
            rows.append([engine, *speed, *cells(engine, results)])
        else:
            rows.append([engine, reason(entry["engines"][engine][0]) or "", "", "", "", ""])
    yield from _table(["", unit, "ours, times as fast", "peak memory", *further], rows)


def _losses(entry: Entry) -> Iterator[str]:
    engines = [engine for engine in entry["engines"] if measured(entry, engine)]
    columns = [measured(entry, engine)[0]["losses"] for engine in engines]
    yield "First losses:"
    yield ""
    rows = [[str(step), *(f"{loss:.6f}" for loss in losses)] for step, losses in enumerate(zip(*columns, strict=False), start=1)]
    yield from _table(["step", *engines], rows)


# --- the other parts --------------------------------------------------------------------------------------------------------


def _decoding(decode: Mapping[str, Any]) -> Iterator[str]:
    yield from _chapter(
        "## Decoding",
        "Greedy, by the base as it is. Least time: prompts at the matrix rate, then steps that read all weights "
        "(`bench/speed/operations.py`).",
    )
    for name, group in decode.items():
        yield from ["", f"### {name}", "", _made(group)]
        for entry in group["cells"]:
            least = entry["least_seconds"]
            bound = f"; least time {least:.1f} s" if least else ""
            yield ""
            yield (
                f"**{entry['demonstrations']} demonstrations, batch {entry['batch']}**: prefix {entry['prefix']} tokens, "
                f"{entry['units']} texts{bound}"
            )
            yield ""

            def cells(engine: str, results: Sequence[Result], entry: Entry = entry, least: float = least) -> tuple[str, str]:
                texts = "" if engine == OURS else f"{entry['differing'][engine]} of {entry['units']}"
                return texts, _range([least / seconds(result) for result in results], "{:.0%}") if least else ""

            yield from _engines(entry, "texts/s", ("texts that are not ours", "least time, share"), cells)


def _scoring(score: Mapping[str, Any]) -> Iterator[str]:
    yield from _chapter(
        "## Scoring",
        "BLEU, chrF++, ROUGE-L and METEOR with 95% intervals of 1,000 resamples. `plain` is sacrebleu's and rouge-score's own "
        "resampling and nltk's METEOR; `rescoring` calls every metric again on each resample, a few of which are timed.",
    )
    for group in score.values():
        yield from ["", _made(group)]
        for entry in group["cells"]:
            rows = []
            for engine in entry["engines"]:
                if not (results := measured(entry, engine)):
                    rows.append([engine, reason(entry["engines"][engine][0]) or "", "", ""])
                    continue
                scores = ", ".join(f"{metric} {value:.2f}" for metric, value in results[0]["scores"].items())
                rows.append([engine, _range([seconds(result) for result in results]), _ratio(entry, engine), scores])
            yield ""
            yield from _table([f"{entry['units']:,} pairs", "seconds", "ours, times as fast", "scores"], rows)


def _study(study: Mapping[str, Any]) -> Iterator[str]:
    yield from _chapter(
        "## A whole small study",
        "Two methods (LoRA, full fine-tuning) on two tasks, from a new process to scores with intervals; wall time. Ours also "
        "cleans, splits, looks for leaks, scores trivial baselines, tests, and writes records and results.",
    )
    for name, group in study.items():
        yield from ["", f"### {name}", "", _made(group), ""]
        for entry in group["cells"]:
            rows = []
            for engine in entry["engines"]:
                results = measured(entry, engine)
                taken = _range([seconds(result) for result in results]) if results else reason(entry["engines"][engine][0])
                rows.append([engine, taken or "", _ratio(entry, engine) if results else ""])
            yield from _table(["", "seconds", "ours, times as fast"], rows)


def _cold(cold: Mapping[str, Any]) -> Iterator[str]:
    yield "## Commands from a cold start"
    for group in cold.values():
        yield from ["", _made(group), ""]
        rows = [[f"`xeric {name}`", _range(taken, "{:.2f}")] for name, taken in group["seconds"].items()]
        yield from _table(["", "seconds"], rows)
        if not group["report"]:
            yield from ["", "`xeric report` was not timed: it needs the study of the part `study`, in the same run."]


# --- tables -----------------------------------------------------------------------------------------------------------------


def _ratio(entry: Entry, engine: str) -> str:
    against = None if engine == OURS else ratio(entry, engine)
    return f"{against['median']:.2f} [{against['min']:.2f}, {against['max']:.2f}]" if against else ""


def _range(values: Sequence[float], form: str = "{:.2f}") -> str:
    if len(values) == 1:
        return form.format(values[0])
    return f"{form.format(statistics.median(values))} [{form.format(min(values))}, {form.format(max(values))}]"


def _plain(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|---|{'---:|' * (len(header) - 1)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
