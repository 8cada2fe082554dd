"""The results of a study: from the records and predictions in its folder to one :class:`StudyResults`. No torch, no model."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from xeric import __version__
from xeric.analysis.arm_results import Others, adaptation_result, baseline_result, others_of_baseline, others_of_records
from xeric.analysis.break_even import with_break_evens
from xeric.analysis.claims import Chain, Judged, beats_all, judge
from xeric.analysis.comparison import Arms, resample_arms
from xeric.analysis.outputs import Outputs, Runs, measured_runs, read_outputs
from xeric.analysis.provenance import provenance, run_results
from xeric.analysis.recommend import Candidate, judged, recommend
from xeric.analysis.results import ArmResult, ClaimResult, Interval, Recommendation, RunResult, StudyResults
from xeric.analysis.tables import figure_of, lost_runs, table_of
from xeric.config import digest
from xeric.data.controls import is_control
from xeric.errors import DataError
from xeric.files import modified_ns
from xeric.json_io import read_json, write_json
from xeric.metrics import METRICS, PRIMARY, quality_metrics
from xeric.statistics.decisions import detectable_difference, spread
from xeric.statistics.estimates import VarianceComponent
from xeric.studies.baselines import TrivialBaselines, read_baselines
from xeric.studies.config import ArmKey, StudyConfig
from xeric.studies.folder import StudyFolder
from xeric.studies.paraphrases import FOLDER
from xeric.studies.searching import RESULT_FILE, SearchResult, read_search
from xeric.studies.tuning import TuningResult

__all__ = ["analyse", "current_results", "inputs_digest", "write_results"]


def analyse(root: Path) -> StudyResults:
    """Return a study's results so far. Nothing is written into its folder but statistics that were missing or out of date.

    Args:
        root: the study's folder, finished or not.

    Raises:
        UserError: the folder holds no study, a file in it is broken, or runs have other test instances than the rest.
    """
    made_from = inputs_digest(root)  # before anything is read: what a run leaves meanwhile is seen next time
    outputs = read_outputs(root)
    study = outputs.study
    metrics = _resampled_metrics(outputs)
    recorded = {name for _, state in outputs.runs if state.record for name in state.record.scores}
    extra = sorted(recorded - set(metrics))
    counted = measured_runs(outputs.files("test"), metrics)
    trivial = measured_runs(outputs.baseline_files(), [*metrics, *extra])
    arms = _resampled(outputs, counted, trivial, metrics)
    runs = run_results(outputs)
    baselines = read_baselines(outputs.folder)
    arm_results = _arm_results(outputs, arms, trivial, extra, baselines)
    score_notes = arms.notes if arms else {}
    by_key = {study.canonical(arm.key): arm for arm in arm_results if arm.key is not None}
    return StudyResults(
        name=study.name,
        title=study.title,
        study=study.model_dump(mode="json"),
        metrics=tuple(name for name in METRICS.names() if name in recorded or name in metrics),
        primary=PRIMARY,
        tasks={stratum.task: stratum.language for stratum in arms.strata} if arms else {},
        arms=tuple(arm_results),
        baseline_notes=baselines.notes([arm.id for arm in arm_results if arm.baseline]),
        runs=tuple(runs),
        tables=tuple(table_of(name, table, study, by_key, runs, score_notes) for name, table in study.tables.items()),
        figures=tuple(
            with_break_evens(
                figure_of(name, figure, study, by_key, runs, outputs.sizes, score_notes), arms, arm_results, outputs.sizes
            )
            for name, figure in study.figures.items()
        ),
        claims=tuple(_claims(outputs, arms, runs, {arm.id: arm.label for arm in arm_results if arm.gates})),
        recommendation=_recommendation(outputs, arm_results),
        tuning=_tuning(outputs),
        searches=_searches(outputs),
        stability={"seeds": _over_seeds(outputs, arms), "definitions": _over_paraphrases(outputs, counted, arms)},
        detectable=_detectable(arms, list(counted)) if arms else None,
        provenance=provenance(outputs),
        made_from=made_from,
    )


def current_results(root: Path) -> StudyResults:
    """Return a study's results from its folder; missing or outdated ones are made and written.

    Results are outdated where a file that they are made from is newer, has come or has gone, and where another version of Xeric
    made them.

    Raises:
        UserError: see :func:`analyse`.
    """
    path = StudyFolder(root).results_file
    if path.is_file() and path.stat().st_mtime_ns > _newest_input(root):
        try:
            results = StudyResults.model_validate_json(path.read_bytes())
        except ValueError:
            pass  # of another version: made again below
        else:
            if results.made_from == inputs_digest(root):
                return results
    return write_results(root)


def write_results(root: Path) -> StudyResults:
    """Analyse a study and write its ``results.json``; see :func:`analyse`."""
    results = analyse(root)
    write_json(StudyFolder(root).results_file, results)
    return results


_INPUTS = (
    "study.yaml",
    "runs.json",
    "runs/*/record.json",
    "runs/*/failure.json",
    "runs/*/*predictions.*",
    f"runs/*/{FOLDER}/*",
    "baselines/baselines.json",
    "baselines/*/*/*predictions.*",
    "tuning/*/tuning.json",
    f"instructions/*/*/{RESULT_FILE}",
)


def _inputs(root: Path) -> set[Path]:
    """Return the files that results are made from: texts or, where these are gone, statistics of them."""
    return {path for pattern in _INPUTS for path in root.glob(pattern) if not path.name.startswith(".")}


def _newest_input(root: Path) -> int:
    files = _inputs(root)
    # A file that was moved into another's place can be older than it: their folder was changed then.
    return max((modified_ns(path) or 0 for path in files | {path.parent for path in files} - {root}), default=0)


def inputs_digest(root: Path) -> str:
    """Return a digest of Xeric's version and the names of the files behind a study's results: every copy of it has the same."""
    # Texts and the statistics beside them are one thing: an analysis writes the latter where they are missing.
    names = {(path.parent.relative_to(root) / path.name.partition(".")[0]).as_posix() for path in _inputs(root)}
    return digest([__version__, sorted(names)])


def _resampled_metrics(outputs: Outputs) -> list[str]:
    """Return the metrics that need intervals: those compared, claimed, and shown in tables and figures."""
    study = outputs.study
    names = set(quality_metrics())
    for entries in (study.tables, study.figures, study.claims):
        names.update(name for entry in entries.values() for name in entry.metrics)
    return [name for name in METRICS.names() if name in names and METRICS.get(name)().resampled]


def _resampled(outputs: Outputs, runs: Runs, trivial: Runs, metrics: Sequence[str]) -> Arms | None:
    if not runs:
        return None
    baselines = {name: {seed: measured.only(metrics) for seed, measured in by_seed.items()} for name, by_seed in trivial.items()}
    # A baseline that is not drawn has one result for all seeds.
    fixed = outputs.fixed | {name for name, by_seed in baselines.items() if len(by_seed) == 1}
    try:
        return resample_arms({**runs, **baselines}, fixed=fixed)
    except DataError as error:
        hint = f"{error.hint}; `xeric study rescore {outputs.folder.root}` counts all texts again" if error.hint else None
        raise DataError(f"cannot be compared: {error}", where=str(outputs.folder.root), hint=hint) from None


def _arm_results(
    outputs: Outputs, arms: Arms | None, trivial: Runs, extra: Sequence[str], properties: TrivialBaselines
) -> list[ArmResult]:
    scored = [name for name in outputs.arms if arms and name in arms.arms]
    gating = [name for name in trivial if properties.gating(name)]
    beaten = beats_all(arms, scored, gating, [PRIMARY]) if arms and gating else {}
    results = []
    for name, arm in outputs.arms.items():
        records = outputs.records(name)
        others: Others = others_of_records(list(records.values()), extra)
        results.append(adaptation_result(arm, arms, records, others, beaten.get(name)))
    results += [
        baseline_result(name, arms, others_of_baseline(by_seed, extra), gates=properties.gating(name))
        for name, by_seed in trivial.items()
        if arms
    ]
    return results


def _claims(outputs: Outputs, arms: Arms | None, runs: Sequence[RunResult], gating: Mapping[str, str]) -> list[ClaimResult]:
    chains = []
    for name, claim in outputs.study.claims.items():
        missing, ids = [], []
        for key in claim.chain:
            arm = outputs.find(key)
            if arm is None:
                missing.append(f"the study has no arm {key.base}, {key.setting if key.untrained else key.method}")
            elif arms is None or arm not in arms.arms:
                reason = lost_runs(arm, runs)
                missing.append(f"{outputs.arms[arm].label} has no scores" + (f" ({reason})" if reason else ""))
            ids.append(arm or "")
        silent = tuple(metric for metric in claim.metrics if arms is not None and not arms.says(metric))
        if len(silent) == len(claim.metrics):
            missing.append(f"{' and '.join(silent)} {'say' if len(silent) > 1 else 'says'} nothing on these tasks")
        known = [arm for key in claim.controls if (arm := outputs.find(key))]
        controls = tuple(arm for arm in known if arms is not None and arm in arms.arms)
        unscored = tuple(outputs.arms[arm].label for arm in known if arm not in controls)
        chains.append(Chain(name, claim, tuple(ids), tuple(missing), silent, controls, unscored))
    sizes = {
        name: records[0].base["parameters"]
        for name in outputs.arms
        for records in list(outputs.records(name).values())[:1]
        if "parameters" in records[0].base
    }
    context = Judged(
        labels={name: arm.label for name, arm in outputs.arms.items()} | dict(gating),
        baselines=list(gating),
        diverged={name: [run.seed for run in runs if run.arm == name and run.status == "diverged"] for name in outputs.arms},
        sizes=sizes,
        stage_one=frozenset(name for name, arm in outputs.arms.items() if arm.key.start == "stage-1"),
    )
    return judge(arms, chains, context)


def _recommendation(outputs: Outputs, arm_results: Sequence[ArmResult]) -> Recommendation | None:
    candidates = {
        arm.id: Candidate(arm.label, arm.seconds or 0.0, arm.trainable or 0, arm.scores.get(PRIMARY))
        for arm in arm_results
        if arm.key is not None and not _shows_what_is_wrong(outputs.study, arm.key)
    }
    dev = measured_runs(outputs.files("dev"), [PRIMARY])
    scored = {arm: candidate for arm, candidate in candidates.items() if arm in dev}
    chosen = recommend(scored, dev, metric=PRIMARY, margin=outputs.study.margin, fixed=sorted(outputs.fixed))
    if chosen is None:
        return None
    by_seed = {seed: measured.scores()[PRIMARY] for seed, measured in dev[chosen.arm].items()}
    seed = max(by_seed, key=lambda seed: (by_seed[seed], -seed))
    runs = [run for run, _ in outputs.of(chosen.arm) if run.seed == seed]
    commands = [_command(outputs.folder.run_folder(run.id), "" if len(runs) == 1 else run.tasks[0]) for run in runs]
    result = judged(chosen.model_copy(update={"command": "\n".join(commands)}), arm_results, candidates)
    cautions = [result.caution, *_cautions(outputs, chosen.arm, [arm for arm in candidates if arm not in scored])]
    return result.model_copy(update={"caution": "; ".join(filter(None, cautions))})


def _cautions(outputs: Outputs, chosen: str, unscored: Sequence[str]) -> Iterator[str]:
    """Yield what makes a choice less sure than its scores on dev say.

    Args:
        outputs: of the study.
        chosen: id of the chosen arm.
        unscored: ids of arms that could be chosen if they had scores on dev.
    """
    if unfinished := sorted({run.seed for run, state in outputs.of(chosen) if state.status != "ok"}):
        seeds = f"seed{'s' * (len(unfinished) > 1)} {', '.join(map(str, unfinished))}"
        yield f"not all of its runs came to an end ({seeds}), and its scores are of the others"
    if unscored:
        labels = " ".join(f"({outputs.arms[arm].label})" for arm in unscored)
        yield f"not compared, as they have no scores on dev: {labels}"
    if outputs.study.prompt_entry(outputs.arms[chosen].key.prompt).search is not None:
        yield "its definitions were searched for on the same development data, which flatters its score there"


def _shows_what_is_wrong(study: StudyConfig, key: ArmKey) -> bool:
    """Return whether an arm is there to show what is wrong or missing, and is nothing that one would use."""
    named = {study.canonical(control) for claim in study.claims.values() for control in claim.controls}
    return key in named or is_control(study.prompt_settings(key))


def _command(run_folder: Path, task: str) -> str:
    """Return the command that uses a run, or repeats it where its weights are gone; a task has a folder of its own."""
    if (run_folder / "adapter").is_dir():
        return f'xeric generate {shlex.quote(str(run_folder))} --input "TEXT"'
    folder = shlex.quote(f"FOLDER/{task}" if task else "FOLDER")
    return f"xeric train --config {shlex.quote(str(run_folder / 'config.yaml'))} -o {folder}"


def _tuning(outputs: Outputs) -> tuple[TuningResult, ...]:
    paths = sorted(outputs.folder.tuning_dir.glob("*/tuning.json"))
    return tuple(_tuning_result(path) for path in paths)


def _tuning_result(path: Path) -> TuningResult:
    try:
        return TuningResult.model_validate_json(path.read_bytes())
    except ValueError as error:
        read_json(path)
        raise DataError(f"not the result of tuning: {str(error).splitlines()[0]}", where=str(path)) from None


def _searches(outputs: Outputs) -> tuple[SearchResult, ...]:
    folders = sorted(path.parent for path in outputs.folder.instructions_dir.glob(f"*/*/{RESULT_FILE}"))
    return tuple(result for folder in folders if (result := read_search(folder)) is not None)


_Spreads = dict[str, dict[str, dict[str, float]]]
"""Standard deviation with its interval, and the number of results behind it, by arm and metric."""


def _over_seeds(outputs: Outputs, arms: Arms | None) -> _Spreads:
    """Return the spread over seeds of each arm's mean over tasks."""
    spreads: _Spreads = {}
    for name in outputs.arms:
        if arms is None or name not in arms.arms or not arms.arms[name].random:
            continue
        for metric in arms.metrics:
            _add_spread(spreads, name, metric, "seeds", arms.run_means(name, [metric]).tolist())
    return spreads


def _over_paraphrases(outputs: Outputs, runs: Runs, arms: Arms | None) -> _Spreads:
    """Return the spread of the mean over tasks of each arm's first run, over the definitions and their paraphrases."""
    first = outputs.study.seeds[0]
    spreads: _Spreads = {}
    if arms is None:
        return spreads
    for name, by_number in measured_runs(outputs.paraphrased_files(), arms.metrics).items():
        if first not in runs.get(name, {}):
            continue
        scores = [measured.scores() for measured in (runs[name][first], *by_number.values())]
        for metric in arms.metrics:
            _add_spread(spreads, name, metric, "paraphrases", [measured[metric] for measured in scores])
    return spreads


def _add_spread(spreads: _Spreads, arm: str, metric: str, of: str, means: Sequence[float]) -> None:
    if (estimate := spread(means)) is not None:
        sd, low, high = estimate
        spreads.setdefault(arm, {})[metric] = {"sd": sd, "low": low, "high": high, of: float(len(means))}


def _detectable(arms: Arms, names: Sequence[str]) -> Interval | None:
    """Return the smallest difference between two trained arms that the study can detect, from the variances that it estimates."""
    random = [name for name in names if arms.arms[name].random]
    if len(random) < 2:
        return None
    shared = [variance for a, b in combinations(random[:30], 2) if (variance := arms.difference(a, b, [PRIMARY]).instances)]
    repeated = [arms.run_means(name, [PRIMARY]) for name in random if len(arms.arms[name].seeds) > 1]
    if not shared:
        return None
    seeds = int(np.median([len(arms.arms[name].seeds) for name in random]))
    estimated = {"seed_sd": float(np.sqrt(np.mean([means.var(ddof=1) for means in repeated])))} if repeated else {}
    medians = (float(np.median([getattr(variance, name) for variance in shared])) for name in ("variance", "df"))
    typical = VarianceComponent(*medians)
    return Interval(value=detectable_difference(seeds=seeds, instances=typical, **estimated))
