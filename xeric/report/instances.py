"""The texts for the page's browser of test instances: one input, its references, and what every arm made of it.

Scores of single texts are chrF++, which serves every script; they sort instances and are no estimate of anything. A page that
holds everything may be too large to open, so beyond a budget instances are left out, evenly over tasks and by a hash that knows
nothing of scores; :class:`Browser` says how many. Very long texts are cut.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xeric import text
from xeric.analysis.results import StudyResults
from xeric.errors import UnknownNameError
from xeric.languages import Language, language
from xeric.records import Prediction
from xeric.report.reading import ArmOutputs

__all__ = ["BUDGET", "LONGEST", "Browser", "browser", "safe_json"]

BUDGET = 10_000_000
"""Bytes of instances in a page."""

LONGEST = 6_000
"""Characters of one text; what is beyond is cut, and the text says so."""

_RIGHT_TO_LEFT = {"Arabic", "Hebrew"}


@dataclass(frozen=True)
class Browser:
    """What a page embeds.

    Attributes:
        data: plain values: ``tasks``, ``arms`` and ``instances``; an instance names its task and arms by their places.
        shown: instances in ``data``.
        total: instances there are.
    """

    data: dict[str, Any]
    shown: int
    total: int


def browser(results: StudyResults, outputs: Sequence[ArmOutputs], *, budget: int = BUDGET) -> Browser:
    """Return the test instances with all arms' outputs.

    Args:
        results: names of arms and languages of tasks.
        outputs: of every arm, as :func:`xeric.report.reading.read_outputs` gives them.
        budget: bytes of JSON that instances may take.
    """
    labels = {arm.id: arm for arm in results.arms}
    arms = [
        {"label": labels[one.arm].label, "baseline": labels[one.arm].baseline is not None, "seed": one.seed, "why": one.why}
        for one in outputs
    ]
    rows: dict[tuple[str, str], Prediction] = {}
    made: dict[tuple[str, str], list[list[Any]]] = {}
    for place, one in enumerate(outputs):
        for row in one.predictions:
            key = (row.task, row.id)
            rows.setdefault(key, row)
            made.setdefault(key, []).append([place, _cut(row.prediction), _rounded(one.scores.get(key))])
    names = [name for name in results.tasks if any(key[0] == name for key in rows)]
    names += sorted({task for task, _ in rows} - set(names))
    tasks = [_task(name, results, [row for key, row in rows.items() if key[0] == name]) for name in names]
    instances = [_instance(row, names.index(row.task), made[key]) for key, row in rows.items()]
    kept = _within(instances, budget)
    return Browser({"tasks": tasks, "arms": arms, "instances": kept}, len(kept), len(instances))


def _instance(row: Prediction, task: int, outputs: list[list[Any]]) -> dict[str, Any]:
    return {
        "task": task,
        "id": row.id,
        "input": _cut(row.input),
        "references": [_cut(one) for one in row.references],
        "outputs": outputs,
    }


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 1)


def _cut(one: str) -> str:
    return one if len(one) <= LONGEST else f"{one[:LONGEST]}\u2026 [cut: {len(one) - LONGEST:,} more characters]"


def _task(name: str, results: StudyResults, rows: Sequence[Prediction]) -> dict[str, Any]:
    spoken = results.tasks.get(name) or (rows[0].language if rows else "")
    try:
        known = language(spoken)
    except UnknownNameError:
        known = Language(spoken, "und")
    written = _script(one for row in rows[:20] for one in row.references)
    read = _script(row.input for row in rows[:20])
    # The input of a translation is in another language; calling it by this one would have it read out wrongly.
    same = not known.scripts or read in known.scripts
    return {
        "name": name,
        "language": known.name,
        "code": known.code,
        "dir": _direction(written),
        "inputCode": known.code if same else "und",
        "inputDir": _direction(read),
    }


def _script(texts: Any) -> str | None:
    return text.dominant_script(" ".join(texts))


def _direction(script: str | None) -> str:
    return "rtl" if script in _RIGHT_TO_LEFT else "ltr"


def _within(instances: list[dict[str, Any]], budget: int) -> list[dict[str, Any]]:
    """Return as many instances as fit, the same number of every task as far as it goes, in their own order."""
    queues: dict[int, list[tuple[str, int]]] = {}
    for place, one in enumerate(instances):
        draw = hashlib.sha256(f"{one['task']}\0{one['id']}".encode()).hexdigest()
        queues.setdefault(one["task"], []).append((draw, place))
    turns = sorted((turn, task, place) for task, queue in queues.items() for turn, (_, place) in enumerate(sorted(queue)))
    kept: list[int] = []
    for _, _, place in turns:
        budget -= len(safe_json(instances[place]).encode()) + 1
        if budget < 0:
            break
        kept.append(place)
    return [instances[place] for place in sorted(kept)]


_UNSAFE = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


def safe_json(value: Mapping[str, Any]) -> str:
    """Return JSON that can stand inside a script element: nothing in it can close the element or open another."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_UNSAFE)
