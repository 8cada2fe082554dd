"""``report.html`` of an adaptation: one page that opens from disk and fetches nothing.

Texts of models and users are escaped as in a study's report; the page runs no script at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from xeric.adapt.curve import learning_curve
from xeric.adapt.folder import AdaptFolder
from xeric.adapt.outcome import Outcome, lines
from xeric.analysis.results import StudyResults
from xeric.formatting import duration
from xeric.metrics import quality_metrics
from xeric.records import Prediction
from xeric.report import wording
from xeric.report.figures.drawing import NARROW, WIDE, draw_curve, inline
from xeric.report.page import page_environment, style
from xeric.report.reading import ArmOutputs, read_outputs
from xeric.report.tables import Cell, Column, Table

__all__ = ["Example", "examples_of", "render"]

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_EXAMPLES = 40
_LONGEST = 1500
_DROPS = {"instances": "rows read", "train": "trained on", "test": "tested", "demonstrations": "shown as demonstrations"}


@dataclass(frozen=True)
class Example:
    """A test example: what was asked, what prompting and the trained model wrote, and the reference.

    Attributes:
        input: cut where it is very long.
        before: the text of the best kind of prompting.
        after: the text of the trained model.
        reference: its first reference.
        before_score: chrF++ of the text before.
        after_score: chrF++ of the text after.
    """

    input: str
    before: str
    after: str
    reference: str
    before_score: float
    after_score: float


def render(folder: AdaptFolder, outcome: Outcome, results: StudyResults) -> str:
    """Return the page.

    Args:
        folder: of the adaptation.
        outcome: what was found.
        results: of the final study.
    """
    examples = examples_of(read_outputs(folder.final_dir, results), results)
    context = {
        "outcome": outcome,
        "lines": [line.partition(": ")[::2] for line in lines(outcome)],
        "compared": _compared_table(outcome),
        "tried": _tried_table(outcome),
        "base": Path(outcome.base).name,
        "curve": _curve(folder, outcome, results),
        "examples": examples[:_MOST_EXAMPLES],
        "hidden": max(len(examples) - _MOST_EXAMPLES, 0),
        "before_label": next((arm.label for arm in outcome.compared if arm.kind == "prompting"), "prompting"),
        "counts": _counts(outcome),
        "drops": {reason: number for reason, number in outcome.examples.get("drops", {}).items() if number},
        "spent": duration(outcome.seconds["total"]),
        "given": duration(outcome.seconds["given"]),
        "provenance": wording.flat(results.provenance),
        "style": Markup(style()),
    }
    labels = [arm.label for arm in outcome.compared] + [tried.label for tried in outcome.tried]
    return page_environment(labels, _TEMPLATES).get_template("adaptation.html").render(context)


def _compared_table(outcome: Outcome) -> Table:
    names = [name for name in quality_metrics() if any(name in arm.scores for arm in outcome.compared)]
    names = list(dict.fromkeys([outcome.metric, *names]))
    columns = (
        Column("label", "way of answering"),
        *(Column(name, wording.metric_name(name), "estimate", "on test, with 95% intervals") for name in names),
        Column("gain", f"training gains, {wording.metric_name(outcome.metric)}", "difference"),
    )
    rows = tuple((arm.label, *(arm.scores.get(name) for name in names), arm.gain) for arm in outcome.compared)
    return Table("compared", "On the test set", columns, rows)


def _tried_table(outcome: Outcome) -> Table | None:
    if not outcome.tried:
        return None
    columns: tuple[Column, ...] = (
        Column("label", "tried"),
        Column("score", f"{wording.metric_name(outcome.metric)} on dev", "number"),
        Column("steps", "steps", "count"),
        Column("trainable", "parameters trained", "count"),
        Column("seconds", "time", "duration"),
    )
    if any(tried.note for tried in outcome.tried):
        columns = (*columns, Column("note", "remark"))
    rows: list[tuple[Cell, ...]] = [
        (tried.label, tried.score, tried.steps or None, tried.trainable or None, tried.seconds, tried.note)
        for tried in outcome.tried
    ]
    rows = [row[: len(columns)] for row in rows]
    return Table("tried", "Tried, compared on dev", columns, tuple(rows))


def _counts(outcome: Outcome) -> list[tuple[str, int]]:
    return [(words, int(outcome.examples[key])) for key, words in _DROPS.items() if key in outcome.examples]


def _curve(folder: AdaptFolder, outcome: Outcome, results: StudyResults) -> tuple[Markup, Markup] | None:
    """Return the learning curve, for a wide and for a narrow window; None where none was measured."""
    curve = learning_curve(folder.final_dir, results, outcome.metric)
    if curve is None:
        return None
    name = wording.metric_name(outcome.metric)
    wide, narrow = (
        draw_curve(curve, title=f"{name} by training examples", y_label=f"{name} on test", width=w) for w in (WIDE, NARROW)
    )
    return Markup(inline(wide, "cw")), Markup(inline(narrow, "cn"))


def examples_of(outputs: Sequence[ArmOutputs], results: StudyResults) -> list[Example]:
    """Return the test examples, those with the worst text of the trained model first.

    Args:
        outputs: texts of the final study's arms.
        results: of the final study.
    """
    arms = {arm.id: arm for arm in results.arms}
    after = next(
        (output for output in outputs if (arm := arms[output.arm]).key and not arm.key.untrained and arm.key.n_train is None),
        None,
    )
    prompting = [output for output in outputs if (arm := arms[output.arm]).key and arm.key.untrained and output.predictions]
    if after is None or not prompting:
        return []
    before = max(prompting, key=lambda output: arms[output.arm].scores[results.primary].value)
    texts = {(row.task, row.id): row for row in before.predictions}
    ranked = sorted(after.predictions, key=lambda row: (after.scores[row.task, row.id], row.id))
    return [_example(row, texts[row.task, row.id], before, after) for row in ranked if (row.task, row.id) in texts]


def _example(row: Prediction, earlier: Prediction, before: ArmOutputs, after: ArmOutputs) -> Example:
    key = row.task, row.id
    return Example(
        input=_cut(row.input),
        before=_cut(earlier.prediction),
        after=_cut(row.prediction),
        reference=_cut(row.references[0]),
        before_score=before.scores[key],
        after_score=after.scores[key],
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()} ..."
