"""Print test instances of a study with every arm's text side by side, as Markdown: three of each task, chosen by rule.

    python tools/side_by_side.py STUDY_FOLDER [--longest 400] > docs/results-texts.md

Of each task: the first instance of the test set, and those whose mean chrF++ over the trained arms is the median and the lowest
(ties by id; where the rules meet, the next in their order is taken). The texts are those of each arm's first finished seed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from xeric.analysis.results import StudyResults
from xeric.records import Prediction
from xeric.report.reading import ArmOutputs, read_outputs, read_results

Key = tuple[str, str]

_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~])")


def chosen(rows: Sequence[Prediction], outputs: Sequence[ArmOutputs]) -> list[tuple[str, Prediction]]:
    """Return the instances of a task that the rules choose, each with the name of its rule.

    Args:
        rows: the task's test instances, in the order of the test set.
        outputs: of the arms whose scores decide.
    """
    means = {row.id: sum(arm.scores[row.task, row.id] for arm in outputs) / len(outputs) for row in rows}
    ranked = sorted(rows, key=lambda row: (means[row.id], row.id))
    middle = (len(ranked) - 1) // 2
    orders = {"first": rows, "median": [*ranked[middle:], *ranked[:middle]], "worst": ranked}
    taken: dict[str, tuple[str, Prediction]] = {}
    for rule, order in orders.items():
        row = next((row for row in order if row.id not in taken), None)
        if row is not None:
            taken[row.id] = (f"{rule}, mean chrF++ {means[row.id]:.1f}", row)
    return list(taken.values())


def page(results: StudyResults, outputs: Sequence[ArmOutputs], longest: int) -> Iterator[str]:
    """Yield the lines of the page."""
    labels = {arm.id: arm for arm in results.arms}
    models = [arm for arm in outputs if labels[arm.arm].key is not None and arm.predictions]
    trained = [arm for arm in models if (key := labels[arm.arm].key) is not None and not key.untrained]
    texts = {arm.arm: {(row.task, row.id): row.prediction for row in arm.predictions} for arm in models}
    yield from (f"# Texts of the study: {_escaped(results.title)}", "")
    yield "Of each task the first test instance, and those whose mean chrF++ over the trained arms is the median and the lowest."
    yield from (
        f"Texts are those of each arm's first seed, up to {longest} characters; scores are chrF++ of the single text.",
        "",
    )
    for task, language in results.tasks.items():
        yield from (f"## {_escaped(task)} ({language})", "")
        for rule, row in chosen([row for row in trained[0].predictions if row.task == task], trained):
            yield from (f"### {_escaped(row.id)} ({rule})", "", f"Input: {_shown(row.input, longest)}", "")
            yield from ("| | chrF++ | text |", "|---|---:|---|", f"| **reference** | | {_shown(row.references[0], longest)} |")
            for arm in models:
                score = arm.scores[row.task, row.id]
                yield f"| {_escaped(labels[arm.arm].label)} | {score:.1f} | {_shown(texts[arm.arm][row.task, row.id], longest)} |"
            yield ""


def _shown(text: str, longest: int) -> str:
    cut = text if len(text) <= longest else text[:longest].rstrip() + " […]"
    return "<br>".join(_escaped(line) for line in cut.splitlines()) or "(empty)"


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the page of a study."""
    parser = argparse.ArgumentParser(description="Print a study's texts side by side.")
    parser.add_argument("study", type=Path, help="folder of a study with its texts")
    parser.add_argument("--longest", type=int, default=400, help="characters shown of a text")
    options = parser.parse_args(arguments)
    results = read_results(options.study)
    print("\n".join(page(results, read_outputs(options.study, results), options.longest)))


if __name__ == "__main__":
    main()
