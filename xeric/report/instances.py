"""The texts for the page's browser of test instances: one input, its references, and every arm's output.

Scores of single texts are chrF++, which works for every script; they sort instances and are not an estimate of quality. A page
with all instances may be too large to open, so beyond a budget instances are left out, evenly over tasks and by a hash that does
not depend on scores; :class:`Browser` says how many. Very long texts are cut.
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
"""Characters of one text; longer ones are cut, with a remark at their end."""

_RIGHT_TO_LEFT = {"Arabic", "Hebrew"}


@dataclass(frozen=True)
class Browser:
    """The data that a page embeds.

    Attributes:
        data: plain values: ``tasks``, ``arms`` and ``instances``; an instance refers to its task and arms by their indices.
        shown: instances in ``data``.
        total: test instances of the study.
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
        {"label": labels[arm.arm].label, "baseline": labels[arm.arm].baseline is not None, "seed": arm.seed, "why": arm.why}
        for arm in outputs
    ]
    rows: dict[tuple[str, str], Prediction] = {}
    by_instance: dict[tuple[str, str], list[list[Any]]] = {}
    for index, arm in enumerate(outputs):
        for row in arm.predictions:
            key = (row.task, row.id)
            rows.setdefault(key, row)
            by_instance.setdefault(key, []).append([index, _cut(row.prediction), _rounded(arm.scores.get(key))])
    names = [name for name in results.tasks if any(key[0] == name for key in rows)]
    names += sorted({task for task, _ in rows} - set(names))
    tasks = [_task(name, results, [row for key, row in rows.items() if key[0] == name]) for name in names]
    instances = [_instance(row, names.index(row.task), by_instance[key]) for key, row in rows.items()]
    kept = _within(instances, budget)
    return Browser({"tasks": tasks, "arms": arms, "instances": kept}, len(kept), len(instances))


def _instance(row: Prediction, task: int, outputs: list[list[Any]]) -> dict[str, Any]:
    return {
        "task": task,
        "id": row.id,
        "input": _cut(row.input),
        "references": [_cut(reference) for reference in row.references],
        "outputs": outputs,
    }


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 1)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\u2026 [cut: {len(text) - LONGEST:,} more characters]"


def _task(name: str, results: StudyResults, rows: Sequence[Prediction]) -> dict[str, Any]:
    language_name = results.tasks.get(name) or (rows[0].language if rows else "")
    try:
        output_language = language(language_name)
    except UnknownNameError:
        output_language = Language(language_name, "und")
    output_script = _script(reference for row in rows[:20] for reference in row.references)
    input_script = _script(row.input for row in rows[:20])
    # The input of a translation is in another language; with this language's code a screen reader would mispronounce it.
    same = not output_language.scripts or input_script in output_language.scripts
    return {
        "name": name,
        "language": output_language.name,
        "code": output_language.code,
        "dir": _direction(output_script),
        "inputCode": output_language.code if same else "und",
        "inputDir": _direction(input_script),
    }


def _script(texts: Any) -> str | None:
    return text.dominant_script(" ".join(texts))


def _direction(script: str | None) -> str:
    return "rtl" if script in _RIGHT_TO_LEFT else "ltr"


def _within(instances: list[dict[str, Any]], budget: int) -> list[dict[str, Any]]:
    """Return as many instances as fit, the same number of every task as far as possible, in their own order."""
    queues: dict[int, list[tuple[str, int]]] = {}
    for index, instance in enumerate(instances):
        draw = hashlib.sha256(f"{instance['task']}\0{instance['id']}".encode()).hexdigest()
        queues.setdefault(instance["task"], []).append((draw, index))
    turns = sorted((turn, task, index) for task, queue in queues.items() for turn, (_, index) in enumerate(sorted(queue)))
    chosen: list[int] = []
    for _, _, index in turns:
        budget -= len(safe_json(instances[index]).encode()) + 1
        if budget < 0:
            break
        chosen.append(index)
    return [instances[index] for index in sorted(chosen)]


_UNSAFE = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


def safe_json(value: Mapping[str, Any]) -> str:
    """Return JSON that is safe inside a script element: nothing in it can close the element or open another."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_UNSAFE)
