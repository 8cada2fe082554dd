"""Searching the definition of one of a study's tasks: the search of ``xeric instruct``, on the study's own dev set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from xeric.bases.base import Base
from xeric.data.preparing import Prepared
from xeric.instructing.instruct import journal_identity, search_prepared
from xeric.instructing.journal import Journal
from xeric.instructing.options import InstructOptions, instruct_options
from xeric.instructing.outcome import InstructOutcome, ScoredPrompt
from xeric.json_io import write_json
from xeric.progress import Progress
from xeric.run.config import RunConfig
from xeric.studies.config import UNTRAINED, ArmKey, StudyConfig
from xeric.studies.entries import SearchConfig
from xeric.studies.plan import arm_settings
from xeric.studies.searching import RESULT_FILE, PlannedSearch, SearchResult

__all__ = ["search_definition", "search_options", "search_settings"]

_JOURNAL_FILE = "search.jsonl"


def search_settings(study: StudyConfig, search: PlannedSearch) -> dict[str, Any]:
    """Return the settings of a search as those of a run: the base as it is, which decodes dev only."""
    key = ArmKey(base=search.base, method=UNTRAINED, setting=search.options.setting, prompt=search.prompt)
    return arm_settings(study, key, search.tasks) | {"predict": ["dev"]}


def search_options(config: RunConfig, search: SearchConfig) -> InstructOptions:
    """Return the settings of a search for :func:`xeric.instructing.instruct.search_prepared`.

    Args:
        config: of :func:`search_settings`.
        search: what the study file says.

    Raises:
        ConfigError: a setting under ``prompt`` does not go with a search.
    """
    settings = config.model_dump(mode="json", include={"data", "prompt", "decode"})
    return instruct_options(settings | search.model_dump(mode="json", exclude={"setting"}))


def search_definition(
    folder: Path, base: Base, data: Prepared, config: RunConfig, search: PlannedSearch, progress: Progress
) -> None:
    """Search a task's definition, and write what was found; what an interrupted search has computed is used.

    Args:
        folder: of the search.
        base: open; it is unchanged afterwards.
        data: the tasks of the search, prepared.
        config: of :func:`search_settings`.
        search: which one it is.
        progress: is told what happens.
    """
    only = replace(data, tasks=tuple(task for task in data.tasks if task.name == search.task))
    options = search_options(config, search.options)
    journal = Journal(folder / _JOURNAL_FILE, journal_identity(only, base, options))
    outcome = search_prepared(only, base, options, journal, progress=progress).outcome
    write_json(folder / RESULT_FILE, _result(outcome, search, journal.seconds))
    journal.remove()


def _result(outcome: InstructOutcome, search: PlannedSearch, seconds: float) -> SearchResult:
    shown: dict[str, ScoredPrompt] = {"chosen": outcome.chosen, "own": outcome.own}
    shown |= {control.origin: control for control in outcome.controls}
    gain = outcome.difference
    return SearchResult(
        base=search.base,
        prompt=search.prompt,
        task=search.task,
        definition=outcome.chosen.definition,
        own=outcome.own.definition,
        origin=outcome.chosen.origin,
        chrf={name: entry.chrf for name, entry in shown.items()},
        losses={name: entry.loss for name, entry in shown.items() if entry.loss is not None},
        gain=(gain.value, gain.low, gain.high),
        instances=outcome.instances,
        split=outcome.split,
        candidates=outcome.scored,
        seconds=seconds,
    )
