"""A finished study made by hand: records, predictions, baselines and tuning on disk, with no model behind them.

    folder = write_study(tmp_path / "study")                                  # 4 methods, 2 settings, 2 bases, 3 seeds
    folder = write_study(tmp_path / "study", broken={("lora", 1): "failed"})  # a run without a record
    folder = write_study(tmp_path / "study", study=changed(seeds=(0,)))       # another study file

A prediction is the first reference with some of its words exchanged. How many stay is the method's quality (:data:`QUALITY`), a
little different for each seed; ``twin`` is ``lora`` under another name, ``empty`` answers nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from xeric.analysis.results import TuningResult
from xeric.config import digest
from xeric.json_io import write_json, write_jsonl
from xeric.metrics import score_predictions
from xeric.records import Prediction, Record, TaskResult
from xeric.studies.baselines import TrivialBaselines
from xeric.studies.config import ArmKey, ClaimConfig, FigureConfig, Grid, StudyConfig, TableConfig, TuningConfig
from xeric.studies.folder import Failure, PlannedArm, PlannedRun, StudyFolder

Broken = Literal["failed", "diverged", "missing"]

TASKS = {"mail_en": "English", "poem_es": "Spanish", "title_hi": "Hindi"}

QUALITY = {"ours": 0.80, "full": 0.72, "lora": 0.66, "adapter": 0.55, "few-shot": 0.30, "zero-shot": 0.22, "empty": 0.0}
"""Share of the words that an arm gets right; ``mono`` loses a tenth of it, and half of it in other languages than English."""

SECONDS = {"ours": 40.0, "full": 60.0, "lora": 20.0, "adapter": 15.0}
TRAINABLE = {"ours": 30_000, "full": 5_300_000, "lora": 20_000, "adapter": 16_000}
METRICS = ("bleu", "chrf", "rouge_l", "meteor", "distinct_2", "copy_rate")

_WORDS = {
    "English": "the rain falls on a dry field and every seed waits for water in the long night of summer",
    "Spanish": "la lluvia cae sobre un campo seco y cada semilla espera agua en la noche larga del verano",
    "Hindi": "बारिश सूखे खेत पर गिरती है और हर बीज गर्मी की लंबी रात में पानी का इंतज़ार करता",
}

STUDY = StudyConfig(
    name="made",
    title="A study made by hand",
    bases={"multi": "gemma-3-270m", "mono": "smollm2-135m"},
    tasks=tuple(TASKS),
    methods={
        "full": {"name": "full"},
        "lora": {"name": "lora", "rank": 8},
        "adapter": {"name": "bottleneck"},
        "ours": {"name": "combined"},
    },
    seeds=(0, 1, 2),
    grids={
        "table-1": Grid(bases=("multi",), methods=("full", "lora", "adapter", "ours")),
        "settings": Grid(bases=("multi",), methods=("lora",), settings=("zero-shot", "few-shot", "instruction")),
        "bases": Grid(methods=("ours",)),
        "sizes": Grid(bases=("multi",), methods=("lora",), n_train=(50, 200)),
    },
    tuning=TuningConfig(trials=2),
    tables={
        "table-1": TableConfig(
            title="Table 1", grids=("table-1",), published={"full": {"bleu": 32.8, "rouge_l": 41.5, "meteor": 29.4}}
        ),
        "languages": TableConfig(title="By language", grids=("bases",), metrics=("chrf",), by="language"),
        "tasks": TableConfig(title="By task", grids=("table-1",), metrics=("chrf", "distinct_2"), by="task"),
    },
    figures={
        "figure-2": FigureConfig(
            title="Figure 2", grids=("settings",), metrics=("bleu", "rouge_l"), published={"few-shot": {"rouge_l": 37.6}}
        ),
        "figure-3": FigureConfig(title="Figure 3", grids=("bases",), by="language"),
        "sizes": FigureConfig(title="Sample size", kind="curve", grids=("sizes", "settings")),
        "cost": FigureConfig(title="Quality against cost", kind="pareto", grids=("table-1",)),
    },
    claims={
        "methods": ClaimConfig(
            sentence="ours > full > LoRA > adapter",
            chain=tuple(ArmKey(base="multi", method=m) for m in ("ours", "full", "lora", "adapter")),
        ),
        "settings": ClaimConfig(
            sentence="instruction tuning > few-shot > zero-shot",
            chain=(
                ArmKey(base="multi", method="lora"),
                ArmKey(base="multi", method="none", setting="few-shot"),
                ArmKey(base="multi", method="none", setting="zero-shot"),
            ),
        ),
        "bases": ClaimConfig(
            sentence="multilingual > monolingual",
            chain=(ArmKey(base="multi", method="ours"), ArmKey(base="mono", method="ours")),
        ),
        "close": ClaimConfig(
            sentence="LoRA is close to full fine-tuning",
            chain=(ArmKey(base="multi", method="lora"), ArmKey(base="multi", method="full")),
            kind="close",
        ),
    },
)


def changed(**fields: Any) -> StudyConfig:
    """Return :data:`STUDY` with other fields."""
    return StudyConfig.model_validate(STUDY.model_dump() | {name: _plain(value) for name, value in fields.items()})


_SMALL: dict[str, object] = {
    "grids": {"table-1": Grid(bases=("multi",), methods=("full", "lora"))},
    "tables": {"table-1": TableConfig(title="Table 1", grids=("table-1",), metrics=("chrf",))},
    "figures": {},
    "claims": {
        "methods": ClaimConfig(
            sentence="full > LoRA", chain=(ArmKey(base="multi", method="full"), ArmKey(base="multi", method="lora"))
        )
    },
    "tuning": None,
}


def small(**fields: object) -> StudyConfig:
    """Return the study file of two methods on one base, with other fields."""
    return changed(**(_SMALL | fields))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value.model_dump() if hasattr(value, "model_dump") else value


def write_study(
    root: Path,
    study: StudyConfig = STUDY,
    *,
    instances: int = 12,
    quality: Mapping[str, float] | None = None,
    spread: float = 0.01,
    broken: Mapping[tuple[str, int], Broken] | None = None,
) -> Path:
    """Write a study's folder as ``xeric study run`` leaves it, but for results.json and the report.

    Args:
        root: the folder.
        study: its study file.
        instances: test instances per task; half as many dev instances.
        quality: share of right words by method label or setting; goes before :data:`QUALITY`.
        spread: standard deviation of that share from seed to seed.
        broken: runs by method label (or setting) and seed that have no scores, and why.
    """
    folder = StudyFolder(root)
    folder.write_study(study, "0123456789abcdef")
    runs = planned_cells(study)
    folder.write_runs(runs)
    shares = {**QUALITY, **(quality or {})}
    for run in runs:
        name = run.arm.key.setting if run.arm.key.setting != "instruction" else run.arm.key.method
        why = (broken or {}).get((name, run.seed))
        _write_cell(folder, run, study, instances, shares.get("lora" if name == "twin" else name, 0.5), spread, why)
    if study.baselines:
        _write_baselines(folder, study, instances)
    if study.tuning:
        _write_tuning(folder)
    return root


def planned_cells(study: StudyConfig) -> list[PlannedRun]:
    """Return the runs of a study; untrained arms have one, of the first seed."""
    runs = []
    for key in dict.fromkeys(key for grid in study.grids.values() for key in study.arms_of(grid)):
        name = key.setting if key.untrained else key.method
        size = "" if key.n_train is None else f", n = {key.n_train}"
        arm = PlannedArm(id=f"{key.base}-{name}" + size.replace(", n = ", "-n"), label=f"{key.base}, {name}{size}", key=key)
        for seed in study.seeds[:1] if key.untrained else study.seeds:
            for tasks in [study.tasks] if study.joint else [(task,) for task in study.tasks]:
                suffix = "" if study.joint else f"-{tasks[0]}"
                runs.append(PlannedRun(id=f"{arm.id}-s{seed}{suffix}", arm=arm, seed=seed, tasks=tasks))
    return runs


def predictions(
    tasks: tuple[str, ...], part: str, instances: int, kept: float | None, seed: str, *, base: str = "multi"
) -> list[Prediction]:
    """Return predictions that keep a share of the references' words; none at all for a share of 0."""
    rows = []
    for task in tasks:
        language = TASKS.get(task, "English")
        share = kept or 0.0
        if base == "mono":
            share *= 0.9 if language == "English" else 0.5
        for number in range(instances):
            rng = random.Random(f"{task} {part} {number}")
            words = _WORDS[language].split()
            given, reference = rng.choices(words, k=15), rng.choices(words, k=10)
            # What one run gets right another mostly gets right too, as with real models.
            ease = [rng.random() for _ in reference]
            own = random.Random(f"{seed} {task} {part} {number}")
            right = [0.8 * value + 0.2 * own.random() < share for value in ease]
            text = " ".join(word if good else own.choice(words) for word, good in zip(reference, right, strict=True))
            row = Prediction(
                id=str(number),
                task=task,
                language=language,
                input=" ".join(given),
                prediction="" if kept == 0 else text,
                references=(" ".join(reference),),
            )
            rows.append(row)
    return rows


def _write_cell(
    folder: StudyFolder, run: PlannedRun, study: StudyConfig, instances: int, share: float, spread: float, why: Broken | None
) -> None:
    path, key = folder.run_folder(run.id), run.arm.key
    if why == "missing":
        return
    if why == "failed":
        write_json(path / "failure.json", Failure(error="the machine ran out of memory", hint="lower train.micro_batch_size"))
        return
    name = "lora" if key.method == "twin" else key.method
    trained = key.setting == "instruction"
    seed = f"{key.base} {name} {key.setting} {key.n_train} {run.seed}"
    if trained and share:
        share += random.Random(seed).gauss(0, spread) - 0.1 * (key.n_train == 50)
    tests = predictions(run.tasks, "test", instances, share, seed, base=key.base)
    size = key.n_train or 499
    dev = predictions(run.tasks, f"dev {size}", max(instances // 2, 1), share, seed, base=key.base)
    if why is None:
        write_jsonl(path / "predictions.jsonl", tests)
        write_jsonl(path / "dev_predictions.jsonl", dev)
    write_json(path / "record.json", _record(run, tests, why))


def _record(run: PlannedRun, tests: list[Prediction], why: Broken | None) -> Record:
    key = run.arm.key
    report = score_predictions(tests, METRICS, resamples=0) if why is None else None
    trained = key.setting == "instruction"
    trainable = TRAINABLE.get(key.method, 20_000) if trained else 0
    seconds = {"train": SECONDS.get(key.method, 20.0) + run.seed, "test": 3.0} if trained else {"test": 3.0}
    return Record(
        run_id=digest(run.id)[:16],
        status="ok" if why is None else "diverged",
        method=key.method,
        base={"architecture": "causal", "sha256": {"model.safetensors": key.base * 8}, "context": 1024, "parameters": 5_300_000},
        planned_steps=100 if trained else 0,
        done_steps=100 if trained else 0,
        scores=report.scores if report else {},
        tasks={
            task: TaskResult(scores=scores, data=_counts(key, len(tests) // len(run.tasks)), fingerprint="f" * 64)
            for task, scores in (report.tasks if report else {}).items()
        },
        seeds={"split": 0, "init": run.seed},
        parameters={"trainable": trainable, "total": 5_300_000 + (trainable if key.method != "full" else 0)},
        fingerprint="f" * 64,
        versions={"python": "3.11.0", "torch": "2.9.0"},
        cost={
            "seconds": seconds,
            "peak_memory_bytes": 2**28,
            "device": "cpu (x86_64, 2 cores)",
            "host": "a-host",
            "threads": 1,
        },
    )


def _counts(key: ArmKey, tests: int) -> dict[str, Any]:
    """Return a task's counts; half of the texts of zero-shot arms end at the limit, and of the others less than a tenth."""
    size, cut = key.n_train or 499, tests // 2 if key.setting == "zero-shot" else tests // 12
    ended = {"eos": tests - cut, "stop": 0, "length": cut}
    return {"train": size - size // 10, "dev": size // 10, "test": tests, "ended": {"test": ended}}


def _write_baselines(folder: StudyFolder, study: StudyConfig, instances: int) -> None:
    rows = predictions(study.tasks, "test", instances, 0.5, "")
    copied = [row.model_copy(update={"prediction": row.input}) for row in rows]
    cut = [row.model_copy(update={"prediction": " ".join(row.input.split()[:10])}) for row in rows]
    first = [row.model_copy(update={"prediction": row.input.split()[0]}) for row in rows]
    for name, texts in (("copy_input", copied), ("cut_input", cut), ("first_sentences", first)):
        write_jsonl(folder.baseline(name) / "predictions.jsonl", texts)
    gates = {"copy_input": False, "cut_input": True, "first_sentences": True, "random_training_output": True}
    write_json(folder.baselines_file, TrivialBaselines(gates=gates, words=dict.fromkeys(study.tasks, 10)))
    for seed in study.seeds:
        texts = predictions(study.tasks, "test", instances, 1e-9, f"random {seed}")
        write_jsonl(folder.baseline("random_training_output", seed) / "predictions.jsonl", texts)


def _write_tuning(folder: StudyFolder) -> None:
    for method in ("full", "lora"):
        trials = tuple({"settings": {"train.lr": lr}, "score": score} for lr, score in ((1e-4, 30.0), (1e-3, 31.5)))
        tuning_result = TuningResult(
            method=method, base="multi", trials=trials, best=(30.0, 31.5), chosen={"train.lr": 1e-3}, seconds=80.0
        )
        write_json(folder.tuning(ArmKey(base="multi", method=method)) / "tuning.json", tuning_result)
