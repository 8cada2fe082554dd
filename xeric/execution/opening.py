"""What is checked and read before a study starts: its settings, its identity, its folder and its tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xeric.bases.loading import base_identity
from xeric.config import build, digest
from xeric.data.catalog import Catalog
from xeric.data.preparing import Prepared
from xeric.data.texts import TextOptions, texts_digest
from xeric.errors import ConfigError, UserError
from xeric.execution.computing import LocalComputer
from xeric.execution.search_definition import search_options, search_settings
from xeric.execution.trials import trial_settings, tuned_pairs
from xeric.files import is_of_other_programs, read_error, writing
from xeric.progress import Progress
from xeric.run.config import RunConfig, run_config
from xeric.studies.config import UNTRAINED, ArmKey, StudyConfig
from xeric.studies.folder import StudyFolder
from xeric.studies.plan import Plan, arm_settings, study_identity, user_path
from xeric.studies.searching import planned_searches

__all__ = ["check_settings", "identify", "open_folder", "own_data", "setting_mistakes"]


def check_settings(plan: Plan) -> list[str]:
    """Check that every run of a study has valid settings, and that no two arms are the same under two names.

    Returns:
        Remarks on the settings, for the user, each once.

    Raises:
        UserError: a run has invalid settings, or two arms are the same; ``where`` is the dotted path in the study file.
    """
    remarks: list[str] = []
    for error in setting_mistakes(plan, remarks):
        raise error
    return list(dict.fromkeys(remarks))


def setting_mistakes(plan: Plan, remarks: list[str]) -> Iterator[UserError]:
    """Yield what is wrong with the settings of a study's runs; see :func:`check_settings`.

    Args:
        plan: of the study.
        remarks: those on the settings are added to it.
    """
    study = plan.study
    untrained: dict[str, str] = {}
    demonstrations: dict[ArmKey, int] = {}
    for arm in plan.arms:
        try:
            config, own_remarks = run_config(arm_settings(study, arm.key, study.tasks))
        except ConfigError as error:
            yield from (user_path(study, arm.key, each) for each in (error, *error.others))
            continue
        except UserError as error:
            yield error
            continue
        remarks += own_remarks
        demonstrations[arm.key] = config.prompt.demonstration_count
        if config.prompt.definition == "other" and (len(study.tasks) == 1 or not study.joint):
            message = "takes another task's definition, and each run has one task"
            hint = "name more tasks, with joint: true, or leave such arms out"
            yield user_path(study, arm.key, ConfigError(message, where="prompt.definition", hint=hint))
        if config.method.name == "none":
            first = untrained.setdefault(_rows_digest(config, study, arm.key), arm.label)
            if first != arm.label:
                message = f"the arms {first!r} and {arm.label!r} cannot differ: nothing is trained, and they show the same rows"
                yield ConfigError(message, where="grids", hint="leave one of them out")
    yield from _control_mistakes(study, demonstrations)
    yield from _search_mistakes(plan)
    for key in tuned_pairs(plan):
        if study.tuning:
            try:
                trial_settings(study, key, study.tuning)
            except UserError as error:
                yield error


def _control_mistakes(study: StudyConfig, demonstrations: Mapping[ArmKey, int]) -> Iterator[UserError]:
    """Yield controls that show another number of demonstrations than the arm that they are compared with."""
    for name, claim in study.claims.items():
        own = demonstrations.get(study.canonical(claim.chain[0]))
        for number, link in enumerate(claim.controls):
            shown = demonstrations.get(study.canonical(link))
            if own is not None and shown is not None and shown != own:
                yield ConfigError(
                    f"shows {shown} demonstrations, and the claim's first arm {own}: more than the instruction would differ",
                    where=f"claims.{name}.controls.{number}",
                    hint="give both the same prompt.demonstrations, or make a claim of the control and an arm like it",
                )


def _search_mistakes(plan: Plan) -> Iterator[UserError]:
    """Yield settings of prompts that do not go with the search for their definitions."""
    study = plan.study
    seen: set[tuple[str, str]] = set()
    for arm in plan.arms:
        for search in planned_searches(study, arm.key, study.tasks)[:1]:
            if (search.base, search.prompt) in seen:
                continue
            seen.add((search.base, search.prompt))
            key = ArmKey(base=search.base, method=UNTRAINED, prompt=search.prompt)
            try:
                config, _ = run_config(search_settings(study, search))
                search_options(config, search.options)
            except ConfigError as error:
                yield user_path(study, key, error)


def _rows_digest(config: RunConfig, study: StudyConfig, key: ArmKey) -> str:
    """Return a digest of the settings that decide the rows and outputs of a run that trains nothing."""
    prompt, count = config.prompt, config.prompt.demonstration_count
    search = study.prompt_entry(key.prompt).search
    layout: list[object] = [prompt.template, prompt.definition, prompt.definitions, search and search.model_dump(), count]
    shown = ("demonstration_seed", "demonstration_outputs", "demonstration_choice", "demonstration_similarity")
    layout += [getattr(prompt, name) for name in shown] if count else []
    return digest([layout, config.model_dump(mode="json", include={"base", "stages", "data"})])


def identify(study: StudyConfig, progress: Progress | None = None) -> str:
    """Return the hash of what a study computes, contents of bases, tasks and texts included.

    Args:
        study: the study.
        progress: is told if a base is downloaded first.

    Raises:
        UserError: a base, a task or a text is missing.
    """
    catalog = Catalog.of(study.tasks_dirs)
    contents: dict[str, Any] = {
        "bases": {label: base_identity(study.base_name(label), progress) for label in study.bases},
        "tasks": {name: _sha256(catalog.find(name)) for name in (*study.tasks, *study.sources)},
    }
    if study.texts:
        options = build(TextOptions, study.stage.get("corpus", {}), where="stage.corpus")
        contents["texts"] = texts_digest(study.texts, options)
    return study_identity(study, contents)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise read_error(error, path) from None


def open_folder(study: StudyConfig, output: Path, progress: Progress | None = None) -> tuple[StudyFolder, str]:
    """Return a study's folder and identity; nothing is written into it.

    Args:
        study: the study.
        output: where the folder is.
        progress: is told if a base is downloaded first.

    Raises:
        UserError: the folder holds another study, or files that are not a study's.
    """
    folder, identity = StudyFolder(output), identify(study, progress)
    hint = "name another folder with -o"
    with writing(output):
        if output.exists() and not output.is_dir():
            raise UserError("is a file, not a folder", where=str(output), hint=hint)
        # Looked at before the study file is, which is written first: another process may begin with the study at this moment.
        strange = output.is_dir() and any(_counts(path.name) for path in output.iterdir())
    existing = folder.read_identity()
    if existing is not None and existing != identity:
        message = f"holds another study ({existing}, this one is {identity}): its tasks, bases, methods or run settings differ"
        raise UserError(message, where=str(output), hint=hint)
    if existing is None and strange:
        raise UserError("is not empty and holds no study", where=str(output), hint=hint)
    return folder, identity


def _counts(name: str) -> bool:
    """Return whether a file of this name counts as content of a folder; locks are there first where processes start at once."""
    return name != "locks" and not name.endswith(".part") and not is_of_other_programs(name)


def own_data(plan: Plan, computer: LocalComputer) -> Prepared:
    """Return the study's tasks, prepared as for prompting with demonstrations, whichever methods it has, in whatever order."""
    study = plan.study
    key = ArmKey(base=next(iter(study.bases)), method=UNTRAINED, setting="few-shot")
    config, _ = run_config(arm_settings(study, key, study.tasks))
    return computer.prepared(config)
