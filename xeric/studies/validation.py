"""Checks that a study's parts fit together: every label names something, every claim is about arms that are computed.

The types of a study file are checked when it is read; the checks here need the whole of it. Every error carries the dotted
path of its setting.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import regex

from xeric.data.prompt_options import UNTRAINED_SETTINGS
from xeric.errors import ConfigError, suggest
from xeric.metrics import METRICS, comparable_metrics, incomparable
from xeric.studies.config import OWN, UNTRAINED, ArmKey, StudyConfig
from xeric.studies.entries import MethodEntry

__all__ = ["RUN_KEYS", "STAGE_KEYS", "check_study", "study_mistakes"]

# Labels become parts of folder names.
_LABEL = regex.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
RUN_KEYS = ("data", "prompt", "train", "decode", "metrics", "device", "precision", "seeds", "track")
STAGE_KEYS = ("method", "train", "data", "prompt", "seed", "texts", "corpus")
_SETTINGS = ("zero-shot", "few-shot", "instruction")

Mistakes = Iterator[ConfigError]


def check_study(study: StudyConfig) -> None:
    """Check that the study's parts fit together.

    Raises:
        ConfigError: they do not; ``where`` is the dotted path of the setting, further mistakes are its ``others``.
    """
    if mistakes := list(study_mistakes(study)):
        first, *others = mistakes
        first.others = tuple(others)
        raise first


def study_mistakes(study: StudyConfig, *, arms_are_known: bool = True) -> Mistakes:
    """Yield everything in which the study's parts do not fit together; ``where`` is the dotted path of the setting.

    Args:
        study: the study.
        arms_are_known: whether its grids are those that the user meant. Where a part of them was refused, nothing is said of
            claims about arms that no grid computes.
    """
    yield from _labels(study)
    yield from _repeats(study)
    for kind, settings, known_keys in (("run", study.run, RUN_KEYS), ("stage", study.stage, STAGE_KEYS)):
        for key in settings:
            if key not in known_keys:
                yield ConfigError("unknown setting", where=f"{kind}.{key}", hint=suggest(key, known_keys, "setting"))
    yield from _texts(study)
    yield from _methods(study)
    yield from _prompts(study)
    yield from _definitions(study)
    yield from _grids(study)
    for where, grids in _shown_grids(study):
        yield from _unknown(where, "grid", grids, study.grids)
    yield from _claims(study, arms_are_known=arms_are_known)
    for where, metrics in _shown_metrics(study):
        yield from _unknown(where, "metric", metrics, METRICS.names())
    yield from _uncounted(study)
    yield from _claimed(study)
    yield from _published(study)
    yield from _paraphrases(study)
    yield from _tuning(study)


def _unknown(where: str, kind: str, names: Iterable[object], known_names: Iterable[str]) -> Mistakes:
    known_names = list(known_names)
    for name in names:
        if name not in known_names:
            yield ConfigError(f"names the unknown {kind} {name!r}", where=where, hint=suggest(str(name), known_names, kind))


def _labels(study: StudyConfig) -> Mistakes:
    groups: dict[str, Iterable[str]] = {"bases": study.bases, "methods": study.methods, "prompts": study.prompts}
    groups["grids"] = study.grids
    groups |= {"tables": study.tables, "figures": study.figures, "claims": study.claims}
    for group, labels in groups.items():
        for label in labels:
            if not _LABEL.fullmatch(label):
                hint = "use letters, digits, '-', '_' and '.', beginning with a letter or digit"
                yield ConfigError(f"{label!r} cannot be a label", where=group, hint=hint)
    for label in study.methods:
        if label in (UNTRAINED, *_SETTINGS):
            yield ConfigError("is the name of a setting without training", where=f"methods.{label}", hint="take another label")


def _repeats(study: StudyConfig) -> Mistakes:
    groups: dict[str, tuple[object, ...]] = {"tasks": study.tasks, "sources": study.sources, "seeds": study.seeds}
    for where, values in groups.items():
        for value in dict.fromkeys(values):
            if values.count(value) > 1:
                yield ConfigError(f"names {value!r} twice", where=where)
    for task in study.sources:
        if task in study.tasks:
            yield ConfigError(f"names {task!r}, which is a target task", where="sources", hint="sources are other tasks")
    for kind, labels in (("method", study.methods), ("prompt", study.prompts)):
        pairs = [f"{base}-{label}" for base in study.bases for label in labels]
        for pair in dict.fromkeys(pairs):
            if pairs.count(pair) > 1:
                yield ConfigError(f"a base and a {kind} make {pair!r} in two ways", where=f"{kind}s", hint="rename one of them")


def _texts(study: StudyConfig) -> Mistakes:
    texts = study.stage.get("texts", [])
    if not isinstance(texts, list) or not all(isinstance(path, str) for path in texts):
        yield ConfigError("expected a list of text files and folders", where="stage.texts", hint="write [FILE, FOLDER]")
    elif texts and study.sources:
        hint = "stage 1 is trained on one of them: set sources=[], or leave stage.texts out"
        yield ConfigError("is set, and so is sources", where="stage.texts", hint=hint)


def _methods(study: StudyConfig) -> Mistakes:
    for label in study.methods:
        try:
            like = study.own_entry(label).like
            if like is not None:
                unknown = list(_unknown(f"methods.{label}.like", "method", [like], [m for m in study.methods if m != label]))
                if unknown:
                    yield from unknown
                    continue
                if study.own_entry(like).like is not None:
                    yield ConfigError(f"names {like!r}, which is itself like another", where=f"methods.{label}.like")
                    continue
            named = isinstance(study.entry(label).method.get("name"), str)
        except ConfigError as error:
            if (error.where or "").startswith(f"methods.{label}."):  # not that of the entry that it is like
                yield from (error, *error.others)
            continue
        if not named:
            hint = "write {name: lora, rank: 8}, or {method: {...}}"
            yield ConfigError("names no method", where=f"methods.{label}", hint=hint)


def _prompts(study: StudyConfig) -> Mistakes:
    for label, entry in study.prompts.items():
        if label == OWN:
            yield ConfigError("is what the run settings say", where=f"prompts.{label}", hint="take another label")
        if "setting" in entry.prompt:
            yield ConfigError("is an axis of its own", where=f"prompts.{label}.prompt.setting", hint="name it under grids")


def _grids(study: StudyConfig) -> Mistakes:
    for name, grid in study.grids.items():
        yield from _unknown(f"grids.{name}.bases", "base", grid.bases, study.bases)
        trained = [setting for setting in grid.settings if setting not in UNTRAINED_SETTINGS]
        if UNTRAINED in grid.methods and trained:
            hint = "untrained settings use no method whatever is named here, so leave it out"
            yield ConfigError(f"{UNTRAINED!r} does not go with {trained[0]!r}", where=f"grids.{name}.methods", hint=hint)
        yield from _unknown(f"grids.{name}.methods", "method", grid.methods, [*study.methods, UNTRAINED])
        yield from _unknown(f"grids.{name}.prompts", "prompt", grid.prompts, [OWN, *study.prompts])
        for axis in ("settings", "prompts", "starts", "n_train"):
            if not getattr(grid, axis):
                yield ConfigError("is empty, so the grid has no arms", where=f"grids.{name}.{axis}")
        if "stage-1" in grid.starts and not study.sources and not study.stage.get("texts"):
            hint = "name the tasks under sources, or the texts under stage.texts"
            yield ConfigError("stage-1 needs source tasks or texts", where=f"grids.{name}.starts", hint=hint)


def _shown_grids(study: StudyConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, table in study.tables.items():
        yield f"tables.{name}.grids", table.grids
    for name, figure in study.figures.items():
        yield f"figures.{name}.grids", figure.grids


def _shown_metrics(study: StudyConfig) -> Iterator[tuple[str, tuple[object, ...]]]:
    metrics = study.run.get("metrics", ())
    yield "run.metrics", tuple(metrics) if isinstance(metrics, list | tuple) else ()
    for name, table in study.tables.items():
        yield f"tables.{name}.metrics", table.metrics
    for name, figure in study.figures.items():
        yield f"figures.{name}.metrics", figure.metrics
    for name, claim in study.claims.items():
        yield f"claims.{name}.metrics", claim.metrics


def _entries(study: StudyConfig) -> dict[str, MethodEntry]:
    """Return the methods' entries, as they stand, without those that are faulty: what is wrong with these is said elsewhere."""
    entries = {}
    for label in study.methods:
        with contextlib.suppress(ConfigError):
            entries[label] = study.own_entry(label)
    return entries


def _uncounted(study: StudyConfig) -> Mistakes:
    """Yield metrics of a whole set of texts, which runs have to count, that are shown and that no run counts."""
    counted = study.run.get("metrics")
    if not isinstance(counted, list | tuple) or not counted:
        return
    for where, metrics in _shown_metrics(study):
        for name in metrics:
            if name in METRICS and name not in counted and not METRICS.get(str(name))().resampled:
                yield ConfigError(f"names {name!r}, which no run counts", where=where, hint="add it to run.metrics")


def _definitions(study: StudyConfig) -> Mistakes:
    """Yield definitions of tasks that the study does not have: they would be shown nowhere."""
    entries = {"run.prompt": study.run.get("prompt", {})}
    entries |= {f"methods.{label}.prompt": entry.prompt for label, entry in _entries(study).items()}
    entries |= {f"prompts.{label}.prompt": entry.prompt for label, entry in study.prompts.items()}
    for where, prompt in entries.items():
        if isinstance(prompt, Mapping) and isinstance(prompt.get("definitions"), Mapping):
            yield from _unknown(f"{where}.definitions", "task", prompt["definitions"], study.tasks)


def _published(study: StudyConfig) -> Mistakes:
    labels = [*study.methods, *_SETTINGS, *study.bases]
    for kind, entries in (("tables", study.tables), ("figures", study.figures)):
        for name, entry in entries.items():
            where = f"{kind}.{name}.published"
            yield from _unknown(where, "method, setting or base", entry.published, labels)
            for label, figures in entry.published.items():
                yield from _unknown(f"{where}.{label}", "metric", figures, METRICS.names())


def _paraphrases(study: StudyConfig) -> Mistakes:
    if not study.paraphrases:
        return
    yield from _unknown("paraphrases", "task", study.paraphrases, study.tasks)
    if missing := [task for task in study.tasks if task not in study.paraphrases]:
        hint = "name every task of the study, or none"
        yield ConfigError(f"leaves out the task {missing[0]!r}", where="paraphrases", hint=hint)
    prompt = study.run.get("prompt")
    if isinstance(prompt, Mapping) and prompt.get("definition") is False:
        yield ConfigError("no prompt shows a definition", where="paraphrases", hint="leave out run.prompt.definition=false")
    first = next((task for task in study.tasks if task in study.paraphrases), None)
    for task, paraphrases in study.paraphrases.items():
        where, count = f"paraphrases.{task}", len(study.paraphrases[first or task])
        if not paraphrases:
            yield ConfigError("is empty", where=where, hint="give other paraphrases of the task's definition")
        elif len(paraphrases) != count:
            message = f"has {len(paraphrases)} paraphrases, and {first!r} has {count}"
            yield ConfigError(message, where=where, hint="give the same number for every task")
        for number, paraphrase in enumerate(paraphrases):
            if not paraphrase.strip():
                yield ConfigError("has no words", where=f"{where}.{number}")
            if paraphrase in paraphrases[:number]:
                yield ConfigError("repeats a paraphrase", where=f"{where}.{number}", hint="one paraphrase counts once")


def _claims(study: StudyConfig, *, arms_are_known: bool) -> Mistakes:
    arms = {key for grid in study.grids.values() for key in study.arms_of(grid)}
    for name, claim in study.claims.items():
        links = [(f"chain.{number}", link) for number, link in enumerate(claim.chain)]
        links += [(f"controls.{number}", link) for number, link in enumerate(claim.controls)]
        for path, link in links:
            where = f"claims.{name}.{path}"
            unknown = list(_unknown(f"{where}.base", "base", [link.base], study.bases))
            unknown += _unknown(f"{where}.method", "method", [link.method], [*study.methods, UNTRAINED])
            unknown += _unknown(f"{where}.prompt", "prompt", [link.prompt], [OWN, *study.prompts])
            yield from unknown
            if not unknown and arms_are_known and study.canonical(link) not in arms:
                hint = "add it to a grid; similar arms in grids: " + "; ".join(_near(study.canonical(link), arms))
                yield ConfigError("names an arm that no grid computes", where=where, hint=hint)
        keys = [study.canonical(link) for link in (*claim.chain, *claim.controls)]
        if len(set(keys)) < len(keys):
            yield ConfigError("names an arm twice", where=f"claims.{name}.{'controls' if claim.controls else 'chain'}")


def _claimed(study: StudyConfig) -> Mistakes:
    """Yield claims on metrics without a better direction or without a test: now, not in the analysis after all runs."""
    hint = f"take of {', '.join(comparable_metrics())}"
    for name, claim in study.claims.items():
        where = f"claims.{name}.metrics"
        if not claim.metrics:
            yield ConfigError("names no metric", where=where, hint=hint)
        metrics = [metric for metric in claim.metrics if metric in METRICS.names()]  # the others are told already
        for metric in metrics:
            if why := incomparable(metric):
                yield ConfigError(f"names {metric!r}, {why}", where=where, hint=hint)
        if len({better for metric in metrics if (better := METRICS.get(metric)().better) is not None}) > 1:
            message = "takes the mean of metrics that are better high and of metrics that are better low"
            yield ConfigError(message, where=where, hint="make a claim of each kind")


def _tuning(study: StudyConfig) -> Mistakes:
    if study.tuning is None:
        return
    if study.tuning.seed in study.seeds:
        yield ConfigError(
            "is one of the study's seeds", where="tuning.seed", hint="tuning must not look at the runs it tunes for"
        )
    yield from _unknown("tuning.space", "method", study.tuning.space, study.methods)
    entries = _entries(study)
    for label, space in study.tuning.space.items():
        if label in entries and (like := entries[label].like) is not None:
            hint = f"write the space under {like!r}, or give {label!r} a method of its own"
            yield ConfigError(f"is like {like!r} and takes what is chosen for it", where=f"tuning.space.{label}", hint=hint)
        for path in space:
            # What an arm shows and is trained on is its own: it would be replaced in every arm of the method.
            if path.partition(".")[0] not in ("method", "train"):
                hint = "tune settings under method and train; prompts and n_train are axes of grids"
                yield ConfigError("is no setting of a method or its training", where=f"tuning.space.{label}.{path}", hint=hint)


def _near(key: ArmKey, arms: Iterable[ArmKey]) -> list[str]:
    """Return the arms that share most axes with ``key``, for a hint."""

    def shared(arm: ArmKey) -> int:
        own, other = key.model_dump(), arm.model_dump()
        return sum(own[axis] == other[axis] for axis in own)

    nearest = sorted(arms, key=lambda arm: (-shared(arm), str(arm)))[:3]
    return [", ".join(f"{axis}={value}" for axis, value in arm.model_dump().items() if value is not None) for arm in nearest]
