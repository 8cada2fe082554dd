"""The studies that an adaptation consists of: one that the candidates' settings are derived from, and the final one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xeric.adapt.folder import AdaptFolder
from xeric.adapt.options import AdaptOptions
from xeric.adapt.planning import CandidateSettings, TimePlan
from xeric.config import build
from xeric.data.tasks import Task
from xeric.execution.trials import trial_settings
from xeric.studies.config import ArmKey, StudyConfig
from xeric.studies.plan import arm_settings, with_chosen

__all__ = ["BASE", "BEST", "PROMPTING", "candidate_run", "candidates", "final_study", "prompting_run", "search_study"]

BASE = "base"
"""Label of the one base."""

BEST = "trained"
"""Label of the chosen method in the final study."""

PROMPTING = ("few-shot", "zero-shot")

# Most promising first: on small data LoRA is rarely far from the best; full fine-tuning pays where the base is small.
_METHODS = ("lora", "full", "bottleneck", "prefix", "combined")
# Where instances have pictures: beside LoRA, and LoRA alone as what they have to beat. Demonstrations show no pictures.
_WITH_PICTURES: dict[str, Any] = {
    "pictures": {"name": "combined", "prefix": False, "embedding": False, "picture": {}},
    "lora": {"name": "lora"},
}
_TRIALS = 4


def search_study(task: Task, folder: AdaptFolder, base: str, options: AdaptOptions, data: Mapping[str, Any]) -> StudyConfig:
    """Return the study that names all methods that may be tried.

    Args:
        task: that is adapted to.
        folder: of the adaptation.
        base: name of the base.
        options: of the adaptation.
        data: settings under ``data``.
    """
    pictures = any(instance.picture for instance in task.instances)
    settings = {"data": dict(data), "device": options.device, "precision": options.precision}
    return build(
        StudyConfig,
        {
            "name": "adapt",
            "title": task.name,
            "bases": {BASE: base},
            "tasks": [task.name],
            "tasks_dirs": [str(folder.tasks_dir)],
            "methods": _WITH_PICTURES if pictures else {name: {"name": name} for name in _METHODS},
            "grids": {"all": {}},
            "run": settings | ({"prompt": {"demonstrations": 0}} if pictures else {}),
            "seeds": [options.seed],
            "tuning": {"trials": _TRIALS, "seed": options.seed + 1000},
        },
    )


def candidates(study: StudyConfig) -> list[CandidateSettings]:
    """Return what may be tried, most promising first: the defaults of every method, then draws from their search spaces."""
    assert study.tuning is not None
    drawn = {label: trial_settings(study, ArmKey(base=BASE, method=label), study.tuning) for label in study.methods}
    return [
        CandidateSettings(id=label if number == 0 else f"{label}-{number}", method=label, settings=drawn[label][number])
        for number in range(study.tuning.trials)
        for label in study.methods
    ]


def candidate_run(study: StudyConfig, candidate: CandidateSettings, steps: int) -> dict[str, Any]:
    """Return the settings of a candidate's run, which is compared on dev."""
    settings = arm_settings(study, ArmKey(base=BASE, method=candidate.method), study.tasks)
    fixed = {"seed": study.seeds[0], "predict": ["dev"]}
    return with_chosen(settings | fixed, {**candidate.settings, "train.max_steps": steps})


def prompting_run(study: StudyConfig, setting: str) -> dict[str, Any]:
    """Return the settings of an untrained run, which is compared on dev."""
    key = ArmKey.model_validate({"base": BASE, "method": "none", "setting": setting})
    return arm_settings(study, key, study.tasks) | {"seed": study.seeds[0], "predict": ["dev"]}


def final_study(
    study: StudyConfig, candidate: CandidateSettings, plan: TimePlan, options: AdaptOptions, *, steps: int | None
) -> StudyConfig:
    """Return the study that trains the chosen settings on all examples and tests them, beside prompting and trivial baselines.

    Where there was no time for a search, dev is held out here, too, so that training can be compared with prompting on it.

    Args:
        study: of the search.
        candidate: chosen.
        plan: what there is time for.
        options: of the adaptation.
        steps: of the training, where there is less time left than was planned; there is no learning curve then.
    """
    length = {"max_steps": steps or plan.max_steps} if steps or not plan.epochs else {"epochs": plan.epochs}
    chosen = with_chosen({"method": study.methods[candidate.method], "train": length}, candidate.settings)
    data = {**study.run.get("data", {}), **({"dev_fraction": 0.0} if plan.rungs else {})}
    grids: dict[str, Any] = {
        "trained": {"methods": [BEST]},
        "prompting": {"methods": [BEST], "settings": list(PROMPTING)},
    }
    if plan.curve and steps is None:
        grids["curve"] = {"methods": [BEST], "n_train": list(plan.curve)}
    trained = {"base": BASE, "method": BEST}
    claims = {
        f"over-{setting}": {
            "sentence": f"The trained model surpasses {setting} prompting.",
            "chain": [trained, {"base": BASE, "method": "none", "setting": setting}],
            "metrics": [options.metric],
            "family": "gains",
        }
        for setting in PROMPTING
    }
    return build(
        StudyConfig,
        {
            **study.model_dump(mode="json"),
            "run": {**study.run, "data": data},
            "methods": {BEST: chosen},
            "grids": grids,
            "claims": claims,
            "seeds": [options.seed + number for number in range(options.seeds)],
            "tuning": None,
            "keep": "adapter",
        },
    )
