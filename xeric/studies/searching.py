"""What the search for a task's definition found, as a study's folder keeps it. No torch.

The search itself is that of ``xeric instruct`` (:mod:`xeric.instructing`), on the study's own dev set; its test sets are taken
away before. It is carried out once for each base, label under ``prompts`` and task, and every arm with that label shows what
was found, whatever is trained on it.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from xeric.config import Config
from xeric.errors import DataError
from xeric.files import is_file, reading
from xeric.studies.config import ArmKey, StudyConfig
from xeric.studies.entries import SearchConfig

__all__ = ["RESULT_FILE", "PlannedSearch", "SearchResult", "planned_searches", "read_search"]

RESULT_FILE = "search.json"


class PlannedSearch(Config):
    """A search for one task's definition.

    Attributes:
        base: label of the base.
        prompt: label under ``prompts``.
        task: whose definition is searched for.
        tasks: that it is prepared with, as for a run: what gives a test set of one of them away is taken out.
        options: of the search.
    """

    base: str
    prompt: str
    task: str
    tasks: tuple[str, ...]
    options: SearchConfig


class SearchResult(Config):
    """What one search found.

    Attributes:
        base: label of the base.
        prompt: label under ``prompts``.
        task: whose definition was searched for.
        definition: the chosen one.
        own: the task's own.
        origin: how the chosen one came about: ``own`` where nothing better was found.
        chrf: chrF++ on dev by what is shown: ``chosen``, ``own``, and the controls ``none``, ``other`` and ``shuffled``.
        losses: - log P of the references in nats per token, likewise; without what leaves them no room in the base's context.
        gain: ``chosen`` less ``own`` in chrF++, with the ends of its 95% interval where it has one. It flatters: the choice was
            made on these instances.
        instances: number of instances that all of this was measured on.
        split: where they come from: ``dev``, or ``train`` where there is no dev set.
        candidates: that were scored.
        seconds: that the search took.
    """

    base: str
    prompt: str
    task: str
    definition: str
    own: str
    origin: str
    chrf: dict[str, float]
    losses: dict[str, float]
    gain: tuple[float, float | None, float | None]
    instances: int
    split: str
    candidates: int
    seconds: float

    @property
    def is_new(self) -> bool:
        """Whether a definition was found that is better than the task's own."""
        return self.definition != self.own


def planned_searches(study: StudyConfig, key: ArmKey, tasks: tuple[str, ...]) -> list[PlannedSearch]:
    """Return the searches that an arm's run on some tasks needs; none where it shows no searched definitions."""
    options = study.prompt_entry(key.prompt).search
    if options is None:
        return []
    return [PlannedSearch(base=key.base, prompt=key.prompt, task=task, tasks=tasks, options=options) for task in tasks]


def read_search(folder: Path) -> SearchResult | None:
    """Return what a search found; None where it is not finished.

    Raises:
        DataError: its file is no result of a search.
    """
    path = folder / RESULT_FILE
    with reading(path):
        if not is_file(path):
            return None
        content = path.read_bytes()
    try:
        return SearchResult.model_validate_json(content)
    except ValidationError:
        raise DataError("not the result of a search", where=str(path)) from None
