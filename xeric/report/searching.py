"""What the searches for definitions found, as a table with its note."""

from __future__ import annotations

from xeric import formatting
from xeric.analysis.results import Interval, StudyResults
from xeric.report import wording
from xeric.report.tables import Cell, Column, Table

__all__ = ["search_note", "search_table"]

_CONTROLS = {"none": "no definition", "other": "another task's", "shuffled": "its words shuffled"}


def search_table(results: StudyResults) -> Table | None:
    """Return every search with the definition that it chose, its scores on dev and its cost; None where nothing was searched."""
    if not results.searches:
        return None
    metric = f"{wording.metric_name(results.primary)} on dev"
    columns = (
        Column("base", "base"),
        Column("prompt", "prompt"),
        Column("task", "task"),
        Column("definition", "chosen definition"),
        Column("origin", "by"),
        Column("chosen", "chosen", "number", metric),
        Column("own", "own", "number", metric),
        Column("gain", "difference", "difference", metric),
        *(Column(name, title, "number", metric) for name, title in _CONTROLS.items()),
        Column("candidates", "candidates", "count"),
        Column("seconds", "time", "duration"),
    )
    rows: list[tuple[Cell, ...]] = []
    for search in results.searches:
        value, low, high = search.gain
        controls = (search.chrf.get(name) for name in _CONTROLS)
        described = search.base, search.prompt, search.task, search.definition, search.origin
        scores = search.chrf.get("chosen"), search.chrf.get("own"), Interval(value=value, low=low, high=high), *controls
        rows.append((*described, *scores, search.candidates, search.seconds))
    return Table("searches", "Definitions searched for on development data", columns, tuple(rows))


def search_note(results: StudyResults) -> str:
    """Return how many searches found something, what they took, and that their scores flatter; empty where there were none."""
    searches = results.searches
    if not searches:
        return ""
    new, spent = sum(search.is_new for search in searches), formatting.duration(sum(search.seconds for search in searches))
    return (
        f"{new} of {len(searches)} searches found another definition than the task's own; together they took {spent}. Test data "
        "were taken away before. The differences flatter, as the definitions were chosen on these instances: the arms that show "
        "them say what they are worth."
    )
