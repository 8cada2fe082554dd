"""From a study file to arms, runs and the settings of every run. Nothing is loaded or computed here, and no torch.

What a study computes is decided by its tasks, bases, methods, ``run``, ``stage`` and ``tuning`` settings; their hash is the
study's identity, kept in its folder. Grids, seeds, paraphrases, tables, figures and claims select what is computed and shown:
they may be added to a study in the same folder, and finished runs are not computed again.
"""

from __future__ import annotations

import importlib.resources
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xeric.config import build, digest, merge
from xeric.errors import ConfigError, UnknownNameError, UserError
from xeric.files import expanded
from xeric.records import RESULT_VERSION
from xeric.studies.config import OWN, UNTRAINED, ArmKey, StudyConfig
from xeric.studies.folder import PlannedArm, PlannedRun
from xeric.studies.overrides import fill_roles, override_bases
from xeric.studies.paraphrases import fit_paraphrases
from xeric.studies.short_forms import long_form, with_default_methods, with_defaults
from xeric.studies.validation import check_study
from xeric.yaml_io import load_yaml

__all__ = [
    "Plan",
    "arm_settings",
    "bundled_studies",
    "load_study",
    "plain_study",
    "plan_study",
    "stage_settings",
    "study_file",
    "study_identity",
    "user_path",
    "with_chosen",
]


@dataclass(frozen=True)
class Plan:
    """A study's arms and runs.

    Attributes:
        study: the study.
        arms: each once, in the order of the grids.
        runs: in the order in which one process computes them: seed by seed, base by base, arm by arm, so that a study that is not
            finished yet compares all its arms with the seeds it has.
    """

    study: StudyConfig
    arms: tuple[PlannedArm, ...]
    runs: tuple[PlannedRun, ...]

    def settings(self, run: PlannedRun) -> dict[str, Any]:
        """Return the settings of a run, tuned ones included, for :func:`xeric.run.config.run_config`."""
        settings = arm_settings(self.study, run.arm.key, run.tasks) | {"seed": run.seed, "predict": ["test", "dev"]}
        return with_chosen(settings, _not_own(self.study, run.arm.key, run.settings))


def bundled_studies() -> dict[str, Path]:
    """Return the files of the studies that come with the package, by name."""
    root = Path(str(importlib.resources.files("xeric"))) / "bundled" / "studies"
    return {path.stem: path for path in sorted(root.glob("*.yaml"))}


def load_study(source: str | Path, overrides: Iterable[str] = ()) -> tuple[StudyConfig, list[str]]:
    """Return a study with overrides applied, and remarks the user should see.

    Args:
        source: the name of a bundled study, a study file, or the folder of a study (``./demo`` if a bundled one has its name).
        overrides: ``"seeds=[0]"``, ``"run.train.max_steps=50"``. ``bases.ROLE=BASE`` gives a role another base; a
            list of names fills the roles in their order; a role without a base (null, or beyond the list) is left out with
            what needs it; ``bases.ROLE.prompt.template=chat`` also where the file gives a base by its name alone.

    Raises:
        UserError: there is no such study, or a setting is unknown, ill-typed or contradictory.
    """
    path = study_file(source)
    data, remarks = plain_study(load_yaml(path), overrides, path.stem)
    study = build(StudyConfig, data)
    check_study(study)
    return study, remarks


def plain_study(data: Mapping[str, Any], overrides: Iterable[str], name: str) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of a study, complete, with overrides applied, for :class:`StudyConfig`; and remarks for the user.

    Args:
        data: what the study file holds.
        overrides: as of :func:`load_study`.
        name: of the study where its file has none.

    Raises:
        ConfigError: an override cannot be applied, or the bases do not fill the study's roles.
    """
    file = with_default_methods(long_form(data))
    overridden = override_bases(file, overrides)
    if not isinstance(data.get("bases"), Mapping):
        # Bases by their names alone have no roles that others could take: other names replace them.
        overridden = long_form(overridden)
    changed, remarks = fill_roles(file, overridden)
    changed, more = fit_paraphrases(file, changed)
    return with_defaults(long_form(changed), name), [*remarks, *more]


def study_file(source: str | Path) -> Path:
    """Return the file of a study that is named as for :func:`load_study`; it need not exist where its name is one of a file.

    Raises:
        UnknownNameError: there is no such study.
        UserError: it is a folder that holds none.
    """
    source = str(source)
    # A bundled name takes precedence over a file or folder of that name, which is ./NAME.
    if (bundled := bundled_studies()).get(source):
        return bundled[source]
    path = expanded(source)
    if path.is_dir() and (path / "study.yaml").is_file():
        return path / "study.yaml"
    if path.is_dir():
        raise UserError(
            "is a folder that holds no study", where=source, hint="give a study file, or a folder of `xeric study run`"
        )
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        raise UnknownNameError("study", source, bundled)
    return path


def study_identity(study: StudyConfig, contents: Mapping[str, Any]) -> str:
    """Return the hash of what a study computes: 16 hex digits.

    Args:
        study: the study; paths of files are left out.
        contents: hashes of its bases, tasks and texts, by label and name.
    """
    settings = study.model_dump(mode="json", include={"tasks", "sources", "methods", "joint", "run", "stage", "tuning"})
    for key in ("device", "track"):
        settings["run"].pop(key, None)
    # The path of a base is no part of the identity, its prompt settings are.
    settings["bases"] = {label: prompt for label in study.bases if (prompt := study.base_prompt(label))}
    settings["stage"].pop("texts", None)
    if study.prompts:  # a study without them has the identity that it had before there were any
        settings["prompts"] = {label: entry.model_dump(mode="json") for label, entry in study.prompts.items()}
    return digest({"study": settings, "contents": dict(contents), "result_version": RESULT_VERSION})[:16]


def plan_study(study: StudyConfig) -> Plan:
    """Return the arms and runs of a study.

    Raises:
        ConfigError: parts of the study do not fit together.
    """
    check_study(study)
    keys = list(dict.fromkeys(key for grid in study.grids.values() for key in study.arms_of(grid)))
    # Base by base, so that one process opens each base once per seed; within a base the order of the grids is kept.
    keys.sort(key=lambda key: list(study.bases).index(key.base))
    arms = tuple(PlannedArm(id=_arm_id(study, key), label=_label(key, keys), key=key) for key in keys)
    by_arm = (run for arm in arms for run in _runs(study, arm))
    runs = tuple(sorted(by_arm, key=lambda run: study.seeds.index(run.seed)))
    repeated = [name for name, count in Counter(run.id for run in runs).items() if count > 1]
    assert not repeated, f"two runs with the id {repeated[0]}"
    return Plan(study, arms, runs)


def _runs(study: StudyConfig, arm: PlannedArm) -> list[PlannedRun]:
    groups = [study.tasks] if study.joint else [(task,) for task in study.tasks]
    return [
        PlannedRun(id=f"{arm.id}-s{seed}" + ("" if study.joint else f"-{tasks[0]}"), arm=arm, seed=seed, tasks=tasks)
        for seed in _seeds(study, arm.key)
        for tasks in groups
    ]


def _seeds(study: StudyConfig, key: ArmKey) -> tuple[int, ...]:
    """Return the seeds that an arm is run with: one where its outputs do not depend on the seed."""
    return study.seeds[:1] if key.untrained and not study.samples else study.seeds


def arm_settings(study: StudyConfig, key: ArmKey, tasks: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings of an arm's runs on some tasks, without the seed and what tuning chose."""
    entry = study.entry(key.method) if key.method != UNTRAINED else None
    prompt = {"setting": key.setting, **study.base_prompt(key.base), **(entry.prompt if entry else {})}
    prompt |= study.prompt_entry(key.prompt).prompt
    changes: dict[str, Any] = {"prompt": prompt, "train": entry.train if entry else {}}
    # Prompting gets the demonstrations and the dev instances of the largest trained arms, with which it is compared.
    n_train = study.largest_size if key.untrained else key.n_train
    if n_train is not None:
        changes["data"] = {"n_train": n_train}
    if key.setting == "zero-shot" or (key.setting == "few-shot" and study.run.get("prompt", {}).get("demonstrations") == 0):
        # Zero-shot has none whatever the others have; few-shot keeps its own number where trained arms have none.
        changes["prompt"]["demonstrations"] = None
    settings = merge(study.run, changes)
    if definitions := settings["prompt"].get("definitions"):
        settings["prompt"]["definitions"] = {task: text for task, text in definitions.items() if task in tasks}
    settings |= {
        "tasks": list(tasks),
        "tasks_dirs": list(study.tasks_dirs),
        "base": study.base_name(key.base),
        "method": entry.method if entry else {"name": UNTRAINED},
    }
    if key.start == "stage-1":
        settings["stages"] = [stage_settings(study, key.base)]
    return settings


def stage_settings(study: StudyConfig, base: str) -> dict[str, Any]:
    """Return the settings of stage 1: one model for all arms and seeds of a base, which is named by its label."""
    prompt = study.base_prompt(base) if not study.texts else {}
    stage = merge(study.stage, {"prompt": prompt} if prompt else {})
    trained_on = {} if study.texts else {"tasks": list(study.sources)}
    return {"method": {"name": "full"}, "seed": 0, **stage, **trained_on}


def with_chosen(settings: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings updated with those that tuning chose, by dotted path.

    A path that leads into a part that is switched off (``method.prefix.length`` where ``method.prefix`` is false) is ignored: an
    ablation takes over what was chosen for the parts that it has.
    """
    result = merge(settings, {})
    for path, value in chosen.items():
        *parents, last = path.split(".")
        node: Any = result
        for key in parents:
            node = node.setdefault(key, {}) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node[last] = value
    return result


def _not_own(study: StudyConfig, key: ArmKey, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tuning chose without the settings that an arm ``like`` another gives itself: it is there to differ in them."""
    entry = study.own_entry(key.method) if key.method in study.methods else None
    if entry is None or entry.like is None:
        return dict(chosen)
    own = {"method": entry.method, "train": entry.train}
    return {path: value for path, value in chosen.items() if not _holds(own, path.split("."))}


def _arm_id(study: StudyConfig, key: ArmKey) -> str:
    settings = arm_settings(study, key, study.tasks)
    for path_key in ("tasks_dirs", "base", "device"):
        settings.pop(path_key, None)
    if (search := study.prompt_entry(key.prompt).search) is not None:
        settings["search"] = search.model_dump(mode="json")
    for stage in settings.get("stages", ()):
        stage.pop("texts", None)
    parts = [key.base, key.setting if key.untrained else key.method]
    parts += [key.prompt] if key.prompt != OWN else []
    parts += ["stage1"] if key.start == "stage-1" else []
    parts += [f"n{key.n_train}"] if key.n_train is not None else []
    return "-".join(parts) + "-" + digest([key.base, settings])[:6]


def _label(key: ArmKey, keys: list[ArmKey]) -> str:
    """Return, in words, the axes in which an arm differs from the others of its study."""
    parts = [key.base] if len({other.base for other in keys}) > 1 else []
    parts.append(key.setting if key.untrained else key.method)
    parts += [key.prompt] if key.prompt != OWN else []
    if len({other.start for other in keys}) > 1 and key.start == "stage-1":
        parts.append("from stage 1")
    if key.n_train is not None:
        parts.append(f"n = {key.n_train}")
    return ", ".join(parts)


def user_path(study: StudyConfig, key: ArmKey, error: ConfigError) -> ConfigError:
    """Return the error about a run's setting, with the path that the setting has in the study file."""
    path = (error.where or "").split(".")
    if path[:2] == ["stages", "0"]:
        return ConfigError(error.what, where=".".join(["stage", *path[2:]]), hint=error.hint)
    if key.prompt != OWN and _holds({"prompt": study.prompts[key.prompt].prompt}, path):
        return ConfigError(error.what, where=".".join(["prompts", key.prompt, *path]), hint=error.hint)
    labels = [key.method] if key.method != UNTRAINED else []
    labels += [like for label in labels if (like := study.own_entry(label).like) is not None]
    for label in labels:
        entry = study.own_entry(label)
        settings = {"method": entry.method, "train": entry.train, "prompt": entry.prompt}
        if _holds(settings, path):
            short = "name" in study.methods[label]
            return ConfigError(error.what, where=".".join(["methods", label, *path[short:]]), hint=error.hint)
    where = ".".join(["run", *path]) if _holds(study.run, path) else error.where
    return ConfigError(error.what, where=where, hint=error.hint)


def _holds(settings: Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(settings, Mapping) or key not in settings:
            return False
        settings = settings[key]
    return True
