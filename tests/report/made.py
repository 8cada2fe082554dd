"""A study folder as a finished study leaves it, made without a model: texts of the bundled tasks, spoiled by seed.

Every number is invented. The texts are the point: three languages, poems with line breaks, and outputs that try to be markup.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

from xeric.analysis.analyse import inputs_digest
from xeric.analysis.results import (
    ArmResult,
    ClaimResult,
    FigurePoint,
    FigureResult,
    FigureSeries,
    Interval,
    LinkResult,
    Recommendation,
    RunResult,
    StudyResults,
    TableResult,
    TableRow,
    TuningResult,
)
from xeric.json_io import read_json, write_json, write_jsonl
from xeric.records import Prediction
from xeric.studies.config import ArmKey

BUNDLED = Path(__file__).parents[2] / "xeric" / "bundled" / "tasks"
LANGUAGES = {"en": "English", "es": "Spanish", "hi": "Hindi"}
METRICS = ("bleu", "rouge_l", "meteor", "chrf")
NEWEST = 4_000_000_000
"""A time that no file has but those that a test gives it."""
HOSTILE = '</script><img src=x onerror="window.broken=1"><script>window.broken=2</script>'
HOSTILE_TEXTS = (
    HOSTILE,
    "<!-- <script> --> &lt;b&gt; {{ 7*7 }} {% raw %}",
    '=HYPERLINK("http://a.invalid")\u2028next\u2029end \u202eright to left',
    '<a href="javascript:window.broken=4">x</a><svg onload="window.broken=5">\u2066x\u2069' + "x" * 5_000,
    "",
)
LABEL = 'combined <b onmouseover="window.broken=3">& 100% | _x_'

_PUBLISHED = {
    "full": {"bleu": 32.8, "rouge_l": 41.5, "meteor": 29.4},
    "lora": {"bleu": 31.2, "rouge_l": 39.8, "meteor": 28.1},
    "bottleneck": {"bleu": 29.6, "rouge_l": 38.2, "meteor": 26.9},
    "combined": {"bleu": 33.5, "rouge_l": 42.7, "meteor": 29.8},
}
# id: label, key, chrF++ level, trainable parameters, seconds
_LINES: dict[str, tuple[str, dict[str, Any], float, int, float]] = {
    "combined": ("ours (combined)", {"method": "combined"}, 27.9, 310_000, 412.0),
    "full": ("full fine-tuning", {"method": "full"}, 27.4, 5_120_000, 655.0),
    "lora": ("LoRA", {"method": "lora"}, 26.6, 118_000, 318.0),
    "bottleneck": ("adapter", {"method": "bottleneck"}, 24.2, 99_000, 305.0),
    "combined-stage1": ("ours (combined), from stage 1", {"method": "combined", "start": "stage-1"}, 28.6, 310_000, 430.0),
    "lora-stage1": ("LoRA, from stage 1", {"method": "lora", "start": "stage-1"}, 27.8, 118_000, 331.0),
    "few-shot": ("few-shot", {"method": "none", "setting": "few-shot"}, 15.1, 0, 0.0),
    "zero-shot": ("zero-shot", {"method": "none", "setting": "zero-shot"}, 11.8, 0, 0.0),
    "lora-english": ("LoRA, monolingual base", {"method": "lora", "base": "english"}, 19.3, 118_000, 322.0),
    "prefix": ("prefix alone", {"method": "prefix"}, 0.0, 64_000, 290.0),
}
_BASELINES = {
    "copy_input": 29.9,
    "cut_input": 19.9,
    "first_sentences": 20.8,
    "copy_demonstration": 15.2,
    "random_training_output": 14.1,
}


def tasks() -> dict[str, list[dict[str, Any]]]:
    """Instances of nine of the bundled tasks, by name."""
    paths = sorted(path for path in BUNDLED.glob("*.json") if not path.stem.startswith("email_subject"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8"))["Instances"] for path in paths}


def make_study(
    folder: Path, *, instances: int = 5, seeds: tuple[int, ...] = (0, 1), hostile: bool = True, figures: bool = True
) -> StudyResults:
    """Write a study folder and return the results that it holds; without figures it is quick to report on."""
    given = {name: rows[:instances] for name, rows in tasks().items()}
    for arm, (_, _, level, _, _) in _LINES.items():
        if arm != "prefix":
            for seed in seeds:
                _write(
                    folder / "runs" / f"{arm}-s{seed}" / "predictions.jsonl",
                    given,
                    level,
                    f"{arm}{seed}",
                    hostile and arm == "lora",
                )
    for name, level in _BASELINES.items():
        _write(folder / "baselines" / name / "0" / "predictions.jsonl", given, level, name, False, copy=name == "copy_input")
    (folder / "study.yaml").write_text("# study made\nname: made\n", encoding="utf-8")
    made = results(seeds, hostile=hostile)
    if not figures:
        made = made.model_copy(update={"figures": made.figures[2:], "tuning": ()})
    write_json(folder / "results.json", made)
    settle(folder)
    return made


def settle(folder: Path) -> None:
    """Make a folder's results such as were made from what it holds, and newer than that and what a report adds to it."""
    path = folder / "results.json"
    write_json(path, read_json(path) | {"made_from": inputs_digest(folder)})
    for path in folder.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000 if path.name != "results.json" else NEWEST))


def _write(
    path: Path, given: dict[str, list[dict[str, Any]]], level: float, salt: str, hostile: bool, copy: bool = False
) -> None:
    rows = []
    for task, instances in given.items():
        for number, instance in enumerate(instances):
            text = instance["input"] if copy else _spoiled(instance, level, f"{salt}{instance['id']}")
            if hostile and number < len(HOSTILE_TEXTS):
                text = HOSTILE_TEXTS[number]
            language = LANGUAGES[task[-2:]]
            rows.append(
                Prediction(
                    id=instance["id"],
                    task=task,
                    language=language,
                    input=instance["input"],
                    prediction=text,
                    references=tuple(instance["output"]),
                )
            )
    write_jsonl(path, rows)


def _spoiled(arm: dict[str, Any], level: float, salt: str) -> str:
    """A text that keeps some words of the reference and takes the rest from the input; line breaks stay."""
    draw = random.Random(salt)
    other = arm["input"].split()
    lines = []
    for line in str(arm["output"][0]).split("\n"):
        words = [word if draw.random() < level / 40 else draw.choice(other) for word in line.split(" ")]
        lines.append(" ".join(words))
    return "\n".join(lines)


def around(value: float, half: float) -> Interval:
    return Interval(value=round(value, 3), low=round(value - half, 3), high=round(value + half * 1.1, 3))


def _scores(level: float, salt: str) -> dict[str, Interval]:
    draw = random.Random(salt)
    factors = {"bleu": 0.31, "rouge_l": 0.86, "meteor": 0.72, "chrf": 1.0}
    return {metric: around(level * factor + draw.uniform(-0.3, 0.3), 1.2 * factor + 0.2) for metric, factor in factors.items()}


def _arm(arm: str, seeds: tuple[int, ...], hostile: bool) -> ArmResult:
    label, key, level, trainable, seconds = _LINES[arm]
    if hostile and arm == "combined":
        label = LABEL
    axes = ArmKey(**({"base": "multilingual"} | key))
    if not level:
        return ArmResult(id=arm, label=label, key=axes)
    by_language = {
        name: _scores(level * shift, arm + name) for name, shift in (("English", 1.1), ("Spanish", 1.0), ("Hindi", 0.86))
    }
    return ArmResult(
        id=arm,
        label=label,
        key=axes,
        scores=_scores(level, arm),
        languages=by_language,
        tasks={task: _scores(level * (0.8 + 0.05 * n), arm + task) for n, task in enumerate(tasks())},
        spread={metric: round(0.02 * level, 3) for metric in METRICS} if trainable else {},
        seeds=len(seeds),
        trainable=trainable,
        seconds=seconds,
        memory=2**29 + trainable * 90,
        beats_baselines=level > 22,
    )


def _baseline(name: str) -> ArmResult:
    level = _BASELINES[name]
    return ArmResult(
        id=f"baseline-{name}",
        label=name.replace("_", " "),
        baseline=name,
        scores=_scores(level, name),
        languages={language: _scores(level, name + language) for language in LANGUAGES.values()},
        tasks={task: _scores(level, name + task) for task in tasks()},
        seeds=1,
        gates=name != "copy_input",
    )


def results(seeds: tuple[int, ...] = (0, 1), *, hostile: bool = True) -> StudyResults:
    """The results of the made study."""
    arms = [_arm(arm, seeds, hostile) for arm in _LINES] + [_baseline(name) for name in _BASELINES]
    by_id = {arm.id: arm for arm in arms}
    return StudyResults(
        name="made",
        title="Transfer methods on nine small tasks",
        study={
            "tuning": None,
            "seeds": list(seeds),
            "paraphrases": {name: ["So.", "Or so."] for name in tasks()},
            "sources": ["task1290_xsum_summarization"],
            "bases": {"multilingual": "gemma-3-270m", "english": "smollm2-135m"},
        },
        metrics=METRICS,
        primary="chrf",
        tasks={task: LANGUAGES[task[-2:]] for task in tasks()},
        arms=tuple(arms),
        baseline_notes=("Arms are judged against: cut input, first sentences. Shown only: copy input.",),
        runs=_runs(seeds),
        tables=_tables(by_id),
        figures=_figures(by_id),
        claims=CLAIMS,
        recommendation=Recommendation(
            arm="lora-stage1",
            label=by_id["lora-stage1"].label,
            best="combined-stage1",
            margin=1.0,
            metric="chrf",
            dev={arm: around(_LINES[arm][2] + 0.4, 1.4) for arm in ("combined-stage1", "lora-stage1", "full")},
            test=by_id["lora-stage1"].scores["chrf"],
            reason="On dev it is not worse than ours (combined), from stage 1, by more than 1.0 chrF++.",
            command="xeric train poem_generation_en --base gemma-3-270m --method lora method.rank=8",
        ),
        tuning=(
            TuningResult(
                method="lora",
                base="multilingual",
                trials=tuple(
                    {"settings": {"train.lr": lr, "method.rank": rank}, "status": "ok", "score": score, "cost": {"train": 88.0}}
                    for lr, rank, score in ((5e-4, 8, 24.9), (1e-3, 16, 26.0), (2e-4, 4, 22.3), (2e-3, 8, 25.1))
                ),
                best=(24.9, 26.0, 26.0, 26.0),
                chosen={"train.lr": 1e-3, "method.rank": 16},
                seconds=352.0,
            ),
            TuningResult(
                method="full",
                base="multilingual",
                trials=tuple(
                    {"settings": {"train.lr": lr}, "status": "ok", "score": score, "cost": {"train": 160.0}}
                    for lr, score in ((1e-4, 25.2), (3e-4, 26.6), (1e-3, 21.0), (2e-4, 26.9))
                ),
                best=(25.2, 26.6, 26.6, 26.9),
                chosen={"train.lr": 2e-4},
                seconds=640.0,
            ),
        ),
        stability={
            "definitions": {
                "lora": {"chrf": {"sd": 0.7, "low": 0.36, "high": 4.4, "paraphrases": 3.0}},
                "few-shot": {"chrf": {"sd": 2.9, "low": 1.51, "high": 18.2, "paraphrases": 3.0}},
            }
        },
        detectable=Interval(value=1.4),
        provenance={
            "command": "xeric study run paper.yaml -o made --set 'bases=[gemma-3-270m]'",
            "host": "a <small> machine",
            "device": "cpu",
            "versions": {"python": "3.11.2", "xeric": "0.1.0", "torch": "2.13.0"},
            "bases": {"multilingual": {"model.safetensors": "9f" * 32}, "english": {"model.safetensors": "3c" * 32}},
        },
    )


def _runs(seeds: tuple[int, ...]) -> tuple[RunResult, ...]:
    runs = []
    for arm, (_, _, level, trainable, seconds) in _LINES.items():
        for seed in seeds:
            error = None if level else "no training instance of task 'poem_generation_hi' is left (0 beside dev, 44 too long)"
            runs.append(
                RunResult(
                    id=f"{arm}-s{seed}",
                    arm=arm,
                    seed=seed,
                    status="ok" if level else ("failed" if seed == 0 else "diverged"),
                    error=error if seed == 0 else None,
                    scores={"chrf": level} if level else {},
                    cost={"seconds": {"train": seconds}},
                    parameters={"trainable": trainable, "total": 5_120_000},
                )
            )
    return tuple(runs)


def _tables(by_id: dict[str, ArmResult]) -> tuple[TableResult, ...]:
    def row(arm: str, group: str = "", cells: dict[str, Interval] | None = None) -> TableRow:
        return TableRow(
            arm=arm,
            label=by_id[arm].label,
            group=group,
            cells=by_id[arm].scores if cells is None else cells,
            published={} if group else _PUBLISHED.get(arm, {}),
        )

    language_rows = tuple(
        row(arm, language, by_id[arm].languages[language]) for language in LANGUAGES.values() for arm in ("lora", "lora-english")
    )
    return (
        TableResult(
            name="table-1",
            title="Table 1: methods from the pretrained base",
            metrics=METRICS,
            rows=tuple(map(row, ("full", "lora", "bottleneck", "combined"))),
            notes=("tuning: none; documented defaults were used",),
        ),
        TableResult(
            name="ablation",
            title="Ablation of the combined method",
            metrics=METRICS,
            rows=tuple(map(row, ("combined", "lora", "prefix"))),
        ),
        TableResult(name="by-language", title="Figure 3 by language", metrics=("bleu", "rouge_l", "meteor"), rows=language_rows),
    )


def _figures(by_id: dict[str, ArmResult]) -> tuple[FigureResult, ...]:
    names = {"bleu": "BLEU", "rouge_l": "ROUGE-L", "meteor": "METEOR"}

    def bars(arm: str) -> FigureSeries:
        arm_result = by_id[arm]
        points = [
            FigurePoint(x=name, y=arm_result.scores[m], published=_PUBLISHED.get(arm, {}).get(m)) for m, name in names.items()
        ]
        return FigureSeries(arm=arm, label=arm_result.label, points=tuple(points))

    def curve(arm: str, slope: float) -> FigureSeries:
        points = [FigurePoint(x=float(n), y=around(13 + slope * (n**0.4), 1.4)) for n in (10, 25, 50, 100, 200, 400, 499)]
        return FigureSeries(arm=arm, label=by_id[arm].label, points=tuple(points))

    level = FigureSeries(
        arm="few-shot", label="few-shot", points=(FigurePoint(x="untrained", y=by_id["few-shot"].scores["chrf"]),)
    )
    costs = [
        FigureSeries(arm=result.id, label=result.label, points=(FigurePoint(x=result.seconds or 0.0, y=result.scores["chrf"]),))
        for result in by_id.values()
        if result.key and result.scores
    ]
    return (
        FigureResult(
            name="figure-2",
            title="Figure 2: settings and methods",
            kind="bars",
            x_label="metric",
            y_label="score",
            series=tuple(map(bars, ("combined", "full", "lora", "few-shot", "zero-shot"))),
        ),
        FigureResult(
            name="sample-size",
            title="Score against training examples",
            kind="curve",
            x_label="training examples",
            y_label="chrF++",
            series=(curve("lora", 1.2), curve("full", 1.1), level),
        ),
        FigureResult(
            name="cost",
            title="Quality against cost",
            kind="pareto",
            x_label="training time",
            y_label="chrF++",
            series=tuple(costs),
        ),
    )


CLAIMS = (
    ClaimResult(
        name="ours-best",
        sentence="Our method outperforms full fine-tuning, LoRA and adapters.",
        verdict="undecided",
        scope="multilingual base (268M parameters), nine tasks, two seeds",
        reason="The corrected interval of combined minus full contains 0.",
        links=(
            LinkResult(
                better="combined",
                worse="full",
                metric="bleu+rouge_l+meteor",
                difference=Interval(value=0.31, low=-0.5, high=1.1),
                p=0.41,
                p_corrected=0.82,
                corrected=Interval(value=0.31, low=-0.8, high=1.4),
                instances=900,
                seeds=2,
            ),
            LinkResult(
                better="full",
                worse="lora",
                metric="bleu+rouge_l+meteor",
                difference=Interval(value=0.62, low=0.1, high=1.2),
                p=0.02,
                p_corrected=0.06,
                corrected=Interval(value=0.62, low=-0.1, high=1.4),
                instances=900,
                seeds=2,
            ),
        ),
    ),
    ClaimResult(
        name="trained-best",
        sentence="Instruction tuning beats few-shot, and few-shot beats zero-shot.",
        verdict="holds",
        scope="multilingual base, nine tasks, two seeds",
        reason="Every corrected interval lies above 0.",
        links=(
            LinkResult(
                better="lora",
                worse="few-shot",
                metric="rouge_l",
                difference=around(9.9, 1.1),
                p=0.0001,
                p_corrected=0.0002,
                corrected=around(9.9, 1.5),
                instances=900,
                seeds=2,
            ),
            LinkResult(
                better="few-shot",
                worse="zero-shot",
                metric="rouge_l",
                difference=around(2.8, 0.9),
                p=0.0001,
                p_corrected=0.0002,
                corrected=around(2.8, 1.2),
                instances=900,
                seeds=2,
            ),
        ),
    ),
    ClaimResult(
        name="adapter-worst",
        sentence="LoRA is close to full fine-tuning.",
        verdict="contradicted",
        scope="multilingual base, nine tasks, two seeds",
        reason="The corrected interval lies below the margin of -1.0.",
        links=(
            LinkResult(
                better="lora",
                worse="full",
                metric="bleu",
                difference=around(-2.2, 0.6),
                p=0.0004,
                p_corrected=0.0011,
                corrected=around(-2.2, 0.8),
                instances=900,
                seeds=2,
            ),
        ),
    ),
    ClaimResult(
        name="multilingual",
        sentence="A multilingual base beats a monolingual one.",
        verdict="uninformative",
        scope="both bases, nine tasks, two seeds",
        reason="none of these arms is shown to beat every trivial baseline, so there is nothing to compare",
    ),
)
