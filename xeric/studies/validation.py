"""Checks that a study's parts fit together: every label names something, every claim is about arms that are computed.

The types of a study file are checked when it is read; the checks here need the whole of it. Every error carries the dotted
path of its setting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import regex

from xeric.data.prompts import UNTRAINED_SETTINGS
from xeric.errors import ConfigError, suggest
from xeric.metrics import METRICS
from xeric.studies.config import UNTRAINED, ArmKey, StudyConfig

__all__ = ["check_study"]

# Labels become parts of folder names.
_LABEL = regex.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RUN_KEYS = ("data", "prompt", "train", "decode", "metrics", "device", "precision", "seeds", "track")
_STAGE_KEYS = ("method", "train", "data", "prompt", "seed", "texts", "corpus")
_SETTINGS = ("zero-shot", "few-shot", "instruction")


def check_study(study: StudyConfig) -> None:
    """Check that the study's parts fit together.

    Raises:
        ConfigError: they do not; ``where`` is the dotted path of the setting.
        UnknownNameError: a metric is unknown.
    """
    _check_labels(study)
    _check_repeats(study)
    for kind, settings, known_keys in (("run", study.run, _RUN_KEYS), ("stage", study.stage, _STAGE_KEYS)):
        for key in settings:
            if key not in known_keys:
                raise ConfigError("unknown setting", where=f"{kind}.{key}", hint=suggest(key, known_keys, "setting"))
    _check_texts(study)
    _check_methods(study)
    _check_grids(study)
    for where, grids in _shown_grids(study):
        _check_names(where, "grid", grids, study.grids)
    _check_claims(study)
    for where, metrics in _shown_metrics(study):
        _check_names(where, "metric", metrics, METRICS.names())
    _check_claimed(study)
    _check_published(study)
    _check_paraphrases(study)
    if study.tuning and study.tuning.seed in study.seeds:
        raise ConfigError(
            "is one of the study's seeds", where="tuning.seed", hint="tuning must not look at the runs it tunes for"
        )


def _check_names(where: str, kind: str, names: Iterable[str], known_names: Iterable[str]) -> None:
    known_names = list(known_names)
    for name in names:
        if name not in known_names:
            raise ConfigError(f"names the unknown {kind} {name!r}", where=where, hint=suggest(name, known_names, kind))


def _check_labels(study: StudyConfig) -> None:
    groups: dict[str, Iterable[str]] = {"bases": study.bases, "methods": study.methods, "grids": study.grids}
    groups |= {"tables": study.tables, "figures": study.figures, "claims": study.claims}
    for group, labels in groups.items():
        for label in labels:
            if not _LABEL.fullmatch(label):
                hint = "use letters, digits, '-', '_' and '.', beginning with a letter or digit"
                raise ConfigError(f"{label!r} cannot be a label", where=group, hint=hint)
    for label in study.methods:
        if label in (UNTRAINED, *_SETTINGS):
            raise ConfigError("is the name of a setting without training", where=f"methods.{label}", hint="take another label")


def _check_repeats(study: StudyConfig) -> None:
    groups: dict[str, tuple[object, ...]] = {"tasks": study.tasks, "sources": study.sources, "seeds": study.seeds}
    for where, values in groups.items():
        for value in values:
            if values.count(value) > 1:
                raise ConfigError(f"names {value!r} twice", where=where)
    for task in study.sources:
        if task in study.tasks:
            raise ConfigError(f"names {task!r}, which is a target task", where="sources", hint="sources are other tasks")
    pairs = [f"{base}-{method}" for base in study.bases for method in study.methods]
    for pair in pairs:
        if pairs.count(pair) > 1:
            raise ConfigError(f"a base and a method make {pair!r} in two ways", where="methods", hint="rename one of them")


def _check_texts(study: StudyConfig) -> None:
    texts = study.stage.get("texts", [])
    if not isinstance(texts, list) or not all(isinstance(path, str) for path in texts):
        raise ConfigError("expected a list of text files and folders", where="stage.texts", hint="write [FILE, FOLDER]")
    if texts and study.sources:
        hint = "stage 1 is trained on one of them: set sources=[], or leave stage.texts out"
        raise ConfigError("is set, and so is sources", where="stage.texts", hint=hint)


def _check_methods(study: StudyConfig) -> None:
    for label in study.methods:
        like = study.own_entry(label).like
        if like is not None:
            _check_names(f"methods.{label}.like", "method", [like], [m for m in study.methods if m != label])
            if study.own_entry(like).like is not None:
                raise ConfigError(f"names {like!r}, which is itself like another", where=f"methods.{label}.like")
        if not isinstance(study.entry(label).method.get("name"), str):
            raise ConfigError("names no method", where=f"methods.{label}", hint="write {name: lora, rank: 8}, or {method: {...}}")


def _check_grids(study: StudyConfig) -> None:
    for name, grid in study.grids.items():
        _check_names(f"grids.{name}.bases", "base", grid.bases, study.bases)
        trained = [setting for setting in grid.settings if setting not in UNTRAINED_SETTINGS]
        if UNTRAINED in grid.methods and trained:
            hint = "untrained settings use no method whatever is named here, so leave it out"
            raise ConfigError(f"{UNTRAINED!r} does not go with {trained[0]!r}", where=f"grids.{name}.methods", hint=hint)
        _check_names(f"grids.{name}.methods", "method", grid.methods, [*study.methods, UNTRAINED])
        for axis in ("settings", "starts", "n_train"):
            if not getattr(grid, axis):
                raise ConfigError("is empty, so the grid has no arms", where=f"grids.{name}.{axis}")
        if "stage-1" in grid.starts and not study.sources and not study.texts:
            hint = "name the tasks under sources, or the texts under stage.texts"
            raise ConfigError("stage-1 needs source tasks or texts", where=f"grids.{name}.starts", hint=hint)


def _shown_grids(study: StudyConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, table in study.tables.items():
        yield f"tables.{name}.grids", table.grids
    for name, figure in study.figures.items():
        yield f"figures.{name}.grids", figure.grids


def _shown_metrics(study: StudyConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
    metrics = study.run.get("metrics", ())
    yield "run.metrics", tuple(metrics) if isinstance(metrics, list | tuple) else ()
    for name, table in study.tables.items():
        yield f"tables.{name}.metrics", table.metrics
    for name, figure in study.figures.items():
        yield f"figures.{name}.metrics", figure.metrics
    for name, claim in study.claims.items():
        yield f"claims.{name}.metrics", claim.metrics


def _check_published(study: StudyConfig) -> None:
    labels = [*study.methods, *_SETTINGS, *study.bases]
    for kind, entries in (("tables", study.tables), ("figures", study.figures)):
        for name, entry in entries.items():
            where = f"{kind}.{name}.published"
            _check_names(where, "method, setting or base", entry.published, labels)
            for label, figures in entry.published.items():
                _check_names(f"{where}.{label}", "metric", figures, METRICS.names())


def _check_paraphrases(study: StudyConfig) -> None:
    if not study.paraphrases:
        return
    _check_names("paraphrases", "task", study.paraphrases, study.tasks)
    if missing := [task for task in study.tasks if task not in study.paraphrases]:
        hint = "name every task of the study, or none"
        raise ConfigError(f"leaves out the task {missing[0]!r}", where="paraphrases", hint=hint)
    prompt = study.run.get("prompt")
    if isinstance(prompt, Mapping) and prompt.get("definition") is False:
        raise ConfigError("no prompt shows a definition", where="paraphrases", hint="leave out run.prompt.definition=false")
    first = study.tasks[0]
    for task, paraphrases in study.paraphrases.items():
        where, count = f"paraphrases.{task}", len(study.paraphrases[first])
        if not paraphrases:
            raise ConfigError("is empty", where=where, hint="give other paraphrases of the task's definition")
        if len(paraphrases) != count:
            raise ConfigError(
                f"has {len(paraphrases)} paraphrases, and {first!r} has {count}",
                where=where,
                hint="give the same number for every task",
            )
        for number, paraphrase in enumerate(paraphrases):
            if not paraphrase.strip():
                raise ConfigError("has no words", where=f"{where}.{number}")
            if paraphrase in paraphrases[:number]:
                raise ConfigError("repeats a paraphrase", where=f"{where}.{number}", hint="one paraphrase counts once")


def _check_claims(study: StudyConfig) -> None:
    arms = {key for grid in study.grids.values() for key in study.arms_of(grid)}
    for name, claim in study.claims.items():
        links = [(f"chain.{number}", link) for number, link in enumerate(claim.chain)]
        links += [(f"controls.{number}", link) for number, link in enumerate(claim.controls)]
        for path, link in links:
            where = f"claims.{name}.{path}"
            _check_names(f"{where}.base", "base", [link.base], study.bases)
            _check_names(f"{where}.method", "method", [link.method], [*study.methods, UNTRAINED])
            if study.canonical(link) not in arms:
                hint = "add it to a grid; similar arms in grids: " + "; ".join(_near(study.canonical(link), arms))
                raise ConfigError("names an arm that no grid computes", where=where, hint=hint)
        keys = [study.canonical(link) for link in (*claim.chain, *claim.controls)]
        if len(set(keys)) < len(keys):
            raise ConfigError("names an arm twice", where=f"claims.{name}.{'controls' if claim.controls else 'chain'}")


def _check_claimed(study: StudyConfig) -> None:
    """Refuse claims on metrics without a better direction or without a test now, not in the analysis after all runs."""
    measures = {name: METRICS.get(name)() for name in METRICS.names()}
    good = [name for name, measure in measures.items() if measure.resampled and measure.better is not None]
    hint = f"take of {', '.join(good)}"
    for name, claim in study.claims.items():
        where = f"claims.{name}.metrics"
        if not claim.metrics:
            raise ConfigError("names no metric", where=where, hint=hint)
        for metric in claim.metrics:
            if measures[metric].better is None:
                raise ConfigError(f"names {metric!r}, of which neither direction is better", where=where, hint=hint)
            if not measures[metric].resampled:
                message = (
                    f"names {metric!r}, a measure of a whole set of predictions, for which there are no intervals and no tests"
                )
                raise ConfigError(message, where=where, hint=hint)
        if len({measures[metric].better for metric in claim.metrics}) > 1:
            message = "takes the mean of metrics that are better high and of metrics that are better low"
            raise ConfigError(message, where=where, hint="make a claim of each kind")


def _near(key: ArmKey, arms: Iterable[ArmKey]) -> list[str]:
    """Return the arms that share most axes with ``key``, for a hint."""

    def shared(arm: ArmKey) -> int:
        own, other = key.model_dump(), arm.model_dump()
        return sum(own[axis] == other[axis] for axis in own)

    nearest = sorted(arms, key=lambda arm: (-shared(arm), str(arm)))[:3]
    return [", ".join(f"{axis}={value}" for axis, value in arm.model_dump().items() if value is not None) for arm in nearest]
