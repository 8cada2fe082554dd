"""What a study found: from the records and predictions in its folder to one :class:`StudyResults`. No torch, no model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from xeric.errors import DataError
from xeric.json_io import read_json
from xeric.metrics import METRICS, PRIMARY, QUALITY
from xeric.metrics.estimates import Part
from xeric.records import write_json
from xeric.studies.baselines import TrivialBaselines, read_baselines
from xeric.studies.claims import Chain, Judged, beats_all, judge
from xeric.studies.folder import StudyFolder
from xeric.studies.line_results import Others, adaptation_result, baseline_result, others_of_baseline, others_of_records
from xeric.studies.lines import Lines, resample_lines
from xeric.studies.outputs import Outputs, Runs, measure_runs, read_outputs
from xeric.studies.paraphrases import FOLDER
from xeric.studies.provenance import cell_results, provenance
from xeric.studies.recommend import Candidate, judged, recommend
from xeric.studies.results import CellResult, ClaimResult, Estimate, LineResult, Recommendation, StudyResults, TuningResult
from xeric.studies.statistics import detectable_difference, spread
from xeric.studies.tables import figure_of, lost_runs, table_of

__all__ = ["analyse", "current_results"]


def analyse(root: Path, *, workers: int = 1) -> StudyResults:
    """Return what a study found so far; its folder is only read.

    Args:
        root: the study's folder, finished or not.
        workers: processes that count predictions; see :func:`xeric.studies.outputs.measure_runs`.

    Raises:
        UserError: the folder holds no study, a file in it is broken, or runs have other test instances than the rest.
    """
    outputs = read_outputs(root)
    study = outputs.study
    measured = _wanted(outputs)
    recorded = {name for _, state in outputs.cells if state.record for name in state.record.scores}
    extra = sorted(recorded - set(measured))
    runs = measure_runs(outputs.files("test"), measured, workers=workers)
    trivial = measure_runs(outputs.baseline_files(), [*measured, *extra], workers=workers)
    lines = _resampled(outputs, runs, trivial, measured)
    cells = cell_results(outputs)
    known = read_baselines(outputs.folder)
    found = _line_results(outputs, lines, trivial, extra, known)
    said = lines.notes if lines else {}
    by_key = {study.canonical(line.key): line for line in found if line.key is not None}
    return StudyResults(
        name=study.name,
        title=study.title,
        study=study.model_dump(mode="json"),
        metrics=tuple(name for name in METRICS.names() if name in recorded or name in measured),
        primary=PRIMARY,
        tasks={stratum.task: stratum.language for stratum in lines.strata} if lines else {},
        lines=tuple(found),
        baseline_notes=known.notes([line.id for line in found if line.baseline]),
        cells=tuple(cells),
        tables=tuple(table_of(name, table, study, by_key, cells, said) for name, table in study.tables.items()),
        figures=tuple(
            figure_of(name, figure, study, by_key, cells, outputs.sizes, said) for name, figure in study.figures.items()
        ),
        claims=tuple(_claims(outputs, lines, cells, [line.id for line in found if line.gates])),
        recommendation=_recommendation(outputs, found, workers),
        tuning=_tuning(outputs),
        stability={"seeds": _over_seeds(outputs, lines), "definitions": _over_wordings(outputs, runs, lines, workers)},
        detectable=_detectable(lines, list(runs)) if lines else None,
        provenance=provenance(outputs),
    )


def current_results(root: Path, *, workers: int = 1) -> StudyResults:
    """Return a study's results as they stand in its folder; where they are missing or out of date they are made and written.

    Raises:
        UserError: see :func:`analyse`.
    """
    path = StudyFolder(root).results_file
    if path.is_file() and path.stat().st_mtime_ns > _newest_input(root):
        try:
            return StudyResults.model_validate_json(path.read_bytes())
        except ValueError:
            pass  # of another version: made again below
    results = analyse(root, workers=workers)
    write_json(path, results)
    return results


_INPUTS = (
    "study.yaml",
    "cells.json",
    "cells/*/*.json*",
    f"cells/*/{FOLDER}/*.jsonl",
    "baselines/baselines.json",
    "baselines/*/*/*.jsonl",
    "tuning/*/tuning.json",
)


def _newest_input(root: Path) -> int:
    return max((path.stat().st_mtime_ns for pattern in _INPUTS for path in root.glob(pattern)), default=0)


def _wanted(outputs: Outputs) -> list[str]:
    """Return the metrics that need intervals: what is compared, claimed, shown in tables and drawn."""
    study = outputs.study
    names = set(QUALITY)
    for shown in (study.tables, study.figures, study.claims):
        names.update(name for one in shown.values() for name in one.metrics)
    return [name for name in METRICS.names() if name in names and METRICS.get(name)().resampled]


def _resampled(outputs: Outputs, runs: Runs, trivial: Runs, metrics: Sequence[str]) -> Lines | None:
    if not runs:
        return None
    baselines = {name: {seed: one.only(metrics) for seed, one in by_seed.items()} for name, by_seed in trivial.items()}
    # A baseline that is not drawn by seed has one result, and no other.
    fixed = outputs.fixed | {name for name, by_seed in baselines.items() if len(by_seed) == 1}
    try:
        return resample_lines({**runs, **baselines}, fixed=fixed)
    except DataError as error:
        raise DataError(f"cannot be compared: {error}", where=str(outputs.folder.root), hint=error.hint) from None


def _line_results(
    outputs: Outputs, lines: Lines | None, trivial: Runs, extra: Sequence[str], known: TrivialBaselines
) -> list[LineResult]:
    scored = [name for name in outputs.lines if lines and name in lines.lines]
    gating = [name for name in trivial if known.gating(name)]
    beaten = beats_all(lines, scored, gating, [PRIMARY]) if lines and gating else {}
    found = []
    for name, line in outputs.lines.items():
        records = outputs.records(name)
        others: Others = others_of_records(list(records.values()), extra)
        found.append(adaptation_result(line, lines, records, others, beaten.get(name)))
    found += [
        baseline_result(name, lines, others_of_baseline(by_seed, extra), gates=known.gating(name))
        for name, by_seed in trivial.items()
        if lines
    ]
    return found


def _claims(outputs: Outputs, lines: Lines | None, cells: Sequence[CellResult], gating: Sequence[str]) -> list[ClaimResult]:
    chains = []
    for name, claim in outputs.study.claims.items():
        missing, ids = [], []
        for key in claim.chain:
            line = outputs.find(key)
            if line is None:
                missing.append(f"the study has no line {key.base}, {key.setting if key.untrained else key.method}")
            elif lines is None or line not in lines.lines:
                why = lost_runs(line, cells)
                missing.append(f"{outputs.lines[line].label} has no scores" + (f" ({why})" if why else ""))
            ids.append(line or "")
        silent = tuple(metric for metric in claim.metrics if lines is not None and not lines.says(metric))
        if len(silent) == len(claim.metrics):
            missing.append(f"{' and '.join(silent)} {'say' if len(silent) > 1 else 'says'} nothing on these tasks")
        chains.append(Chain(name, claim, tuple(ids), tuple(missing), silent))
    sizes = {
        name: records[0].base["parameters"]
        for name in outputs.lines
        for records in list(outputs.records(name).values())[:1]
        if "parameters" in records[0].base
    }
    known = Judged(
        labels={name: line.label for name, line in outputs.lines.items()},
        baselines=gating,
        diverged={
            name: [cell.seed for cell in cells if cell.line == name and cell.status == "diverged"] for name in outputs.lines
        },
        sizes=sizes,
        stage_one=frozenset(name for name, line in outputs.lines.items() if line.key.start == "stage-1"),
    )
    return judge(lines, chains, known)


def _recommendation(outputs: Outputs, found: Sequence[LineResult], workers: int) -> Recommendation | None:
    candidates = {
        line.id: Candidate(line.label, line.seconds or 0.0, line.trainable or 0, line.scores.get(PRIMARY))
        for line in found
        if line.key is not None and line.seeds
    }
    dev = measure_runs(outputs.files("dev"), [PRIMARY], workers=workers)
    chosen = recommend(candidates, dev, metric=PRIMARY, margin=outputs.study.margin, fixed=sorted(outputs.fixed))
    if chosen is None:
        return None
    scores = {seed: one.scores()[PRIMARY] for seed, one in dev[chosen.line].items()}
    seed = max(scores, key=lambda one: (scores[one], -one))
    cell = next(cell.id for cell, _ in outputs.of(chosen.line) if cell.seed == seed)
    place = outputs.folder.cell(cell)
    kept = (place / "adapter").is_dir()
    command = f'xeric generate {place} --input "TEXT"' if kept else f"xeric train --config {place / 'config.yaml'} -o FOLDER"
    return judged(chosen.model_copy(update={"command": command}), found)


def _tuning(outputs: Outputs) -> tuple[TuningResult, ...]:
    paths = sorted(outputs.folder.tuning_dir.glob("*/tuning.json"))
    return tuple(_tuning_result(path) for path in paths)


def _tuning_result(path: Path) -> TuningResult:
    try:
        return TuningResult.model_validate_json(path.read_bytes())
    except ValueError as error:
        read_json(path)
        raise DataError(f"not the result of tuning: {str(error).splitlines()[0]}", where=str(path)) from None


_Spreads = dict[str, dict[str, dict[str, float]]]
"""Standard deviation with its interval, and from how many results, by line and metric."""


def _over_seeds(outputs: Outputs, lines: Lines | None) -> _Spreads:
    """Return how far each line's mean over tasks moves from seed to seed."""
    found: _Spreads = {}
    for name in outputs.lines:
        if lines is None or name not in lines.lines or not lines.lines[name].random:
            continue
        for metric in lines.metrics:
            _add_spread(found, name, metric, "seeds", lines.run_means(name, [metric]).tolist())
    return found


def _over_wordings(outputs: Outputs, runs: Runs, lines: Lines | None, workers: int) -> _Spreads:
    """Return how far the mean over tasks of each line's first run moves with the words of the definitions, its own among them."""
    first = outputs.study.seeds[0]
    found: _Spreads = {}
    if lines is None:
        return found
    for name, by_number in measure_runs(outputs.reworded_files(), lines.metrics, workers=workers).items():
        if first not in runs.get(name, {}):
            continue
        scores = [one.scores() for one in (runs[name][first], *by_number.values())]
        for metric in lines.metrics:
            _add_spread(found, name, metric, "wordings", [one[metric] for one in scores])
    return found


def _add_spread(found: _Spreads, line: str, metric: str, of: str, means: Sequence[float]) -> None:
    if (known := spread(means)) is not None:
        sd, low, high = known
        found.setdefault(line, {})[metric] = {"sd": sd, "low": low, "high": high, of: float(len(means))}


def _detectable(lines: Lines, names: Sequence[str]) -> Estimate | None:
    """Return the smallest difference between two trained lines that the study can detect, from the variances that it shows."""
    random = [name for name in names if lines.lines[name].random]
    if len(random) < 2:
        return None
    shared = [part for a, b in combinations(random[:30], 2) if (part := lines.difference(a, b, [PRIMARY]).instances)]
    repeated = [lines.run_means(name, [PRIMARY]) for name in random if len(lines.lines[name].seeds) > 1]
    if not shared:
        return None
    seeds = int(np.median([len(lines.lines[name].seeds) for name in random]))
    known = {"seed_sd": float(np.sqrt(np.mean([means.var(ddof=1) for means in repeated])))} if repeated else {}
    typical = Part(*(float(np.median([getattr(part, name) for part in shared])) for name in ("variance", "df")))
    return Estimate(value=detectable_difference(seeds=seeds, instances=typical, **known))
