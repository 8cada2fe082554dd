"""The searches for definitions that arms of a study show: each carried out once, before the first run that needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xeric.errors import RunError
from xeric.execution.executor import RunExecutor
from xeric.execution.search_definition import search_settings
from xeric.studies.config import ArmKey
from xeric.studies.folder import Failure, PlannedRun
from xeric.studies.plan import Plan
from xeric.studies.searching import PlannedSearch, SearchResult, planned_searches, read_search

__all__ = ["Searches", "all_searches"]


def all_searches(plan: Plan, runs: Sequence[PlannedRun]) -> list[PlannedSearch]:
    """Return the searches that some runs of a study need, each once, in the order in which they are needed."""
    by_name = {
        (search.base, search.prompt, search.task): search
        for run in reversed(runs)
        for search in reversed(planned_searches(plan.study, run.arm.key, run.tasks))
    }
    return list(by_name.values())[::-1]


class Searches:
    """The searches of a study, each carried out once.

    Args:
        plan: of the study.
        executor: carries them out.
        finished: is called when a search is done, with its key (:meth:`arm`) and the seconds that it took, 0 where it failed.
    """

    def __init__(self, plan: Plan, executor: RunExecutor, finished: Callable[[ArmKey, float], None]) -> None:
        self._study, self._executor, self._finished = plan.study, executor, finished
        self._told: set[Path] = set()

    def found(self, run: PlannedRun) -> dict[str, Any] | None:
        """Return the settings that show a run what was found, by dotted path; empty where it needs no search.

        Searches that are not done and that no other process works on are carried out first. None while others work on some.

        Raises:
            RunError: a search failed.
        """
        results: dict[str, SearchResult] = {}
        busy = False
        for search in planned_searches(self._study, run.arm.key, run.tasks):
            state = self._executor.search(self.folder(search), search_settings(self._study, search), search)
            if state is None:
                busy = True
                continue
            self._tell(search, state)
            if isinstance(state, Failure):
                what = f"the search for a definition of {search.task!r} on {search.base!r} failed: {state.error}"
                raise RunError(what, hint=state.hint)
            results[search.task] = state
        return None if busy else _settings(results)

    def found_so_far(self, run: PlannedRun) -> dict[str, Any]:
        """Return the same for what is found already; nothing is computed."""
        searches = planned_searches(self._study, run.arm.key, run.tasks)
        results = {search.task: result for search in searches if (result := read_search(self.folder(search))) is not None}
        return _settings(results) if len(results) == len(searches) else {}

    def is_open(self, search: PlannedSearch) -> bool:
        """Return whether a search is not finished; a failed one counts as open, as it is tried again."""
        return read_search(self.folder(search)) is None

    def unfinished(self, searches: Sequence[PlannedSearch]) -> list[Path]:
        """Return the folders of searches that are not finished, in any process; those that are count as finished."""
        folders = []
        for search in searches:
            state = self._executor.search_state(self.folder(search))
            if state is None:
                folders.append(self.folder(search))
            else:
                self._tell(search, state)
        return folders

    def folder(self, search: PlannedSearch) -> Path:
        """Return the folder of a search."""
        return self._executor.folder.search(search.base, search.prompt, search.task)

    @staticmethod
    def arm(search: PlannedSearch) -> ArmKey:
        """Return the axes of what is searched on: the base as it is, and the label of the prompt."""
        return ArmKey(base=search.base, method="none", setting=search.options.setting, prompt=search.prompt)

    def _tell(self, search: PlannedSearch, state: SearchResult | Failure) -> None:
        folder = self.folder(search)
        if folder not in self._told:
            self._told.add(folder)
            self._finished(self.arm(search), state.seconds if isinstance(state, SearchResult) else 0.0)


def _settings(results: dict[str, SearchResult]) -> dict[str, Any]:
    return {"prompt.definitions": {task: result.definition for task, result in results.items()}} if results else {}
