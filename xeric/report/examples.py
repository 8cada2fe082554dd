"""One test instance per language: the input, the text of the base without training, the text of the adapted base.

Instances are chosen by rule, not by hand: of a language's first task the one whose adapted text has the median chrF++, ties by
id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xeric.analysis.results import ArmResult, StudyResults
from xeric.records import Prediction
from xeric.report.reading import ArmOutputs

__all__ = ["Example", "examples"]

_UNTRAINED = ("zero-shot", "few-shot")


@dataclass(frozen=True)
class Example:
    """A test instance before and after the adaptation.

    Attributes:
        task: its task.
        language: of its output, the English name.
        input: its input.
        before: text of the base without training.
        before_label: label of its arm.
        after: text of the adapted base.
        after_label: label of its arm.
        reference: its first reference.
    """

    task: str
    language: str
    input: str
    before: str
    before_label: str
    after: str
    after_label: str
    reference: str


def examples(results: StudyResults, outputs: Sequence[ArmOutputs]) -> list[Example]:
    """Return one example per language, in the order of the study's tasks.

    The adapted arm is the best of the trained ones on the primary metric; the arm before is the same base without
    training, zero-shot if the study has it. Without both there are no examples.

    Args:
        results: of the study.
        outputs: texts of its arms, of :func:`xeric.report.reading.read_outputs`.
    """
    texts = {arm.arm: {(row.task, row.id): row for row in arm.predictions} for arm in outputs if arm.predictions}
    scores = {arm.arm: arm.scores for arm in outputs}
    after = _best_trained(results, texts)
    before = _untrained(results, texts, after) if after else None
    if after is None or before is None:
        return []
    first = {language: task for task, language in reversed(results.tasks.items())}
    chosen_examples = []
    for task in [task for task, language in results.tasks.items() if first[language] == task]:
        rows = [row for (name, _), row in texts[after.id].items() if name == task]
        if not rows:
            continue
        chosen = _median(rows, scores[after.id])
        earlier = texts[before.id].get((task, chosen.id))
        if earlier is not None:
            chosen_examples.append(
                Example(
                    task=task,
                    language=results.tasks[task],
                    input=chosen.input,
                    before=earlier.prediction,
                    before_label=before.label,
                    after=chosen.prediction,
                    after_label=after.label,
                    reference=chosen.references[0],
                )
            )
    return chosen_examples


def _best_trained(results: StudyResults, texts: Mapping[str, object]) -> ArmResult | None:
    trained = [arm for arm in results.arms if arm.key and not arm.key.untrained and arm.id in texts]
    scored = [arm for arm in trained if results.primary in arm.scores]
    return max(scored, key=lambda arm: arm.scores[results.primary].value, default=None)


def _untrained(results: StudyResults, texts: Mapping[str, object], after: ArmResult) -> ArmResult | None:
    assert after.key is not None
    same_base = [arm for arm in results.arms if arm.key and arm.key.base == after.key.base and arm.id in texts]
    for setting in _UNTRAINED:
        for arm in same_base:
            if arm.key and arm.key.setting == setting:
                return arm
    return None


def _median(rows: Sequence[Prediction], scores: Mapping[tuple[str, str], float]) -> Prediction:
    ranked = sorted(rows, key=lambda row: (scores[row.task, row.id], row.id))
    return ranked[(len(ranked) - 1) // 2]
