"""Every mistake in a study file at once, each with its line: what ``xeric study check`` shows.

Loading a study stops at the first part that is wrong. Here a part that is refused is replaced by one that means nothing, so that
the rest can be read and checked, too; what follows from the replacement is not told.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xeric.bases.finding import find_folder
from xeric.bases.named import NAMED_BASES
from xeric.bases.names import full_name
from xeric.config import Config, build
from xeric.data.catalog import Catalog
from xeric.data.prompt_options import PromptOptions
from xeric.encodings import read_text
from xeric.errors import ConfigError, UserError, suggest
from xeric.execution.examples import example_of
from xeric.execution.opening import setting_mistakes
from xeric.methods.base import method_options
from xeric.run.config import RunConfig, Stage
from xeric.studies.config import ArmKey, StudyConfig
from xeric.studies.plan import plain_study, plan_study, study_file, user_path
from xeric.studies.repairs import STAND_IN, readable
from xeric.studies.validation import RUN_KEYS, STAGE_KEYS, study_mistakes
from xeric.training.options import TrainOptions
from xeric.yaml_io import YamlLines, load_yaml

__all__ = ["Checked", "Mistake", "base_mistake", "check_file"]


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong in a study file.

    Attributes:
        where: dotted path of the setting; None where it is about none.
        line: of the setting in the file, from 1, or of what it belongs to; None for an override, and what is missing.
        what: one sentence.
        hint: what to do.
        example: a setting that is right here.
    """

    where: str | None
    line: int | None
    what: str
    hint: str | None
    example: str | None

    def as_json(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        return asdict(self)


@dataclass(frozen=True)
class Checked:
    """A study file that was checked.

    Attributes:
        file: its path.
        mistakes: in the order of the file.
        remarks: for the user, where there are no mistakes.
        arms: how many the study has; 0 where there are mistakes.
        runs: likewise.
    """

    file: Path
    mistakes: tuple[Mistake, ...]
    remarks: tuple[str, ...] = ()
    arms: int = 0
    runs: int = 0


def check_file(source: str | Path, overrides: Iterable[str] = ()) -> Checked:
    """Return every mistake in a study file; nothing is loaded but settings and names.

    Args:
        source: as :func:`xeric.studies.plan.load_study` takes it.
        overrides: likewise.

    Raises:
        UserError: there is no such study, or its file is not YAML.
    """
    path, overrides = study_file(source), list(overrides)
    data, lines = load_yaml(path), YamlLines(read_text(path))
    plain, errors = _completed(data, overrides, path.stem)
    study, refused, arms_are_known = readable(plain)
    errors += refused
    remarks: list[str] = []
    if study is not None:
        errors += study_mistakes(study, arms_are_known=arms_are_known)
        errors += [*_run_mistakes(study), *_method_mistakes(study), *_prompt_mistakes(study)]
        errors += [*_stage_mistakes(study), *_name_mistakes(study)]
    if study is None or errors:
        mistakes = [_mistake(error, plain, lines, overrides) for error in errors]
        by_text = {(mistake.where, mistake.what): mistake for mistake in reversed(mistakes)}
        return Checked(path, tuple(sorted(by_text.values(), key=lambda mistake: (mistake.line or 0, str(mistake.where)))))
    plan = plan_study(study)
    # How settings go together is checked once each of them is right by itself.
    errors += setting_mistakes(plan, remarks)
    by_text = {(error.where, error.what): _mistake(error, plain, lines, overrides) for error in errors}
    if by_text:
        return Checked(path, tuple(sorted(by_text.values(), key=lambda mistake: mistake.line or 0)))
    return Checked(path, (), tuple(dict.fromkeys(remarks)), len(plan.arms), len(plan.runs))


def _completed(data: dict[str, Any], overrides: Iterable[str], name: str) -> tuple[dict[str, Any], list[UserError]]:
    """Return the complete settings with every override that can be applied, and what is wrong with the others."""
    errors: list[UserError] = []
    applied: list[str] = []
    try:
        plain = plain_study(data, (), name)[0]
    except ConfigError as error:
        errors.append(error)
        data = {**data, "bases": {"base": STAND_IN}}
        plain = plain_study(data, (), name)[0]
    for override in overrides:
        try:
            plain = plain_study(data, [*applied, override], name)[0]
            applied.append(override)
        except ConfigError as error:
            errors.append(error)
    return plain, errors


def _run_mistakes(study: StudyConfig) -> Iterator[UserError]:
    run = {key: value for key, value in study.run.items() if key in RUN_KEYS}
    try:
        build(RunConfig, {**run, "tasks": list(study.tasks), "base": STAND_IN, "method": "none"}, where="run")
    except ConfigError as error:
        yield from (error, *error.others)


def _method_mistakes(study: StudyConfig) -> Iterator[UserError]:
    """Yield what is wrong with the options and settings of each method by itself."""
    readable_methods = {label: _readable_entry(study, label) for label in study.methods}
    usable = study.model_copy(update={"methods": {label: entry for label, entry in readable_methods.items() if entry}})
    for label in usable.methods:
        entry = usable.entry(label)
        key = ArmKey(base=next(iter(study.bases)), method=label)
        if isinstance(entry.method.get("name"), str):
            try:
                method_options(entry.method)
            except ConfigError as error:
                yield from (_of_method(usable, key, each) for each in (error, *error.others))
            except UserError as error:
                yield _of_method(usable, key, ConfigError(error.what, where="method.name", hint=error.hint))
        groups: list[tuple[type[Config], dict[str, Any], str]]
        groups = [(TrainOptions, entry.train, "train"), (PromptOptions, entry.prompt, "prompt")]
        for model, settings, where in groups:
            try:
                build(model, settings, where=where)
            except ConfigError as error:
                yield from (_of_method(usable, key, each) for each in (error, *error.others))


def _prompt_mistakes(study: StudyConfig) -> Iterator[UserError]:
    for label, entry in study.prompts.items():
        try:
            build(PromptOptions, {key: value for key, value in entry.prompt.items() if key != "setting"}, where="prompt")
        except ConfigError as error:
            for each in (error, *error.others):
                yield ConfigError(each.what, where=f"prompts.{label}.{each.where}", hint=each.hint)


def _readable_entry(study: StudyConfig, label: str) -> dict[str, Any]:
    """Return an entry under ``methods`` without what was refused in it already; empty where nothing is left."""
    raw = study.methods[label]
    if "name" in raw:
        return raw
    entry: dict[str, Any] = {
        key: value for key, value in raw.items() if key in ("method", "train", "prompt") and isinstance(value, Mapping)
    }
    like = raw.get("like")
    if isinstance(like, str) and like != label and "like" not in study.methods.get(like, {"like": None}):
        entry["like"] = like
    return entry if "like" in entry or "method" in entry else {}


def _of_method(study: StudyConfig, key: ArmKey, error: ConfigError) -> ConfigError:
    """Return an error about a method's setting with its path in the file, also where the setting is missing there."""
    in_file = user_path(study, key, error)
    if (in_file.where or "").startswith(("methods.", "run.")):
        return in_file
    short = "name" in study.methods[key.method]
    path = (error.where or "").split(".")[short:]
    return ConfigError(error.what, where=".".join(["methods", key.method, *path]), hint=error.hint)


def _stage_mistakes(study: StudyConfig) -> Iterator[UserError]:
    stage = {key: value for key, value in study.stage.items() if key in STAGE_KEYS}
    method = stage.pop("method", None)
    try:
        build(Stage, {**stage, "tasks": list(study.sources)}, where="stage")
    except ConfigError as error:
        yield from (error, *error.others)
    if method is not None:
        try:
            method_options(method, where="stage.method")
        except ConfigError as error:
            yield from (error, *error.others)
        except UserError as error:
            yield ConfigError(error.what, where="stage.method.name", hint=error.hint)


def _name_mistakes(study: StudyConfig) -> Iterator[UserError]:
    """Yield tasks and bases that are nowhere to be found; nothing is fetched."""
    try:
        catalog = Catalog.of(study.tasks_dirs)
    except UserError as error:
        yield ConfigError(f"{error.where}: {error.what}", where="tasks_dirs", hint=error.hint)
    else:
        for key, names in (("tasks", study.tasks), ("sources", study.sources)):
            for number, name in enumerate(names):
                try:
                    catalog.find(name if name != STAND_IN else catalog.names()[0])
                except UserError as error:
                    hint = f"{error.hint}; folders of task files are named by tasks_dirs or --tasks-dir"
                    yield ConfigError(error.what, where=f"{key}.{number}", hint=hint)
    for label in study.bases:
        if (name := study.base_name(label)) != STAND_IN and (problem := base_mistake(name)) is not None:
            yield ConfigError(problem.what, where=f"bases.{label}", hint=problem.hint)


def base_mistake(name: str) -> UserError | None:
    """Return what is wrong with the name of a base; None where there is such a base, or could be one on the hub."""
    if name in NAMED_BASES:
        return None
    path = Path(full_name(name))
    if path.suffix.lower() == ".gguf" and path.is_file():
        return None
    if "/" in name and not path.exists() and not name.startswith(("/", ".", "~")):
        return None  # an id of the hub, which is asked only when the base is opened
    if "/" not in name and not path.exists() and ":" not in name:
        near = difflib.get_close_matches(name, NAMED_BASES.names(), n=1)
        return ConfigError(f"unknown base {name!r}", hint=suggest(name, NAMED_BASES.names(), "base")) if near else None
    try:
        find_folder(name)
    except UserError as error:
        return error if error.where is None else type(error)(f"{error.where}: {error.what}", hint=error.hint)
    return None


def _mistake(error: UserError, plain: Mapping[str, Any], lines: YamlLines, overrides: Iterable[str]) -> Mistake:
    where = error.where
    set_by_hand = where is not None and any(_reaches(override.partition("=")[0].strip(), where) for override in overrides)
    line = None if where is None or set_by_hand else lines.line(where)
    return Mistake(where, line, error.what, error.hint, example_of(where, plain) if where else None)


def _reaches(path: str, where: str) -> bool:
    """Return whether an override of one path sets what is at another."""
    return where == path or where.startswith(f"{path}.")
