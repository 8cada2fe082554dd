"""What an adaptation found, as plain values: ``adapt.json``, and the three lines that are printed."""

from __future__ import annotations

import math
from typing import Any, Literal

from xeric import formatting
from xeric.adapt.search import Tried
from xeric.analysis.results import ArmResult, Interval, StudyResults
from xeric.config import Config
from xeric.data.splits import MIN_FOR_DEV
from xeric.metrics import METRICS
from xeric.report.wording import metric_name

__all__ = ["Compared", "MoreExamples", "Outcome", "Use", "compared_arms", "lines"]

Use = Literal["trained", "prompting", "baseline"]
"""What can be used."""


class Compared(Config):
    """A way of answering, on the test set.

    Attributes:
        label: for people.
        kind: what it is.
        scores: by metric.
        gain: by how much the trained model is better on the metric of the choice, with its interval; None for itself, and for
            trivial baselines.
    """

    label: str
    kind: Use
    scores: dict[str, Interval]
    gain: Interval | None = None


class MoreExamples(Config):
    """What more examples would bring.

    Attributes:
        sentence: for people.
        points: scores on test by number of training examples.
        gains: by number of examples in all, what they would bring beyond those at hand, with 80% intervals; empty where the
            curve does not support a statement.
    """

    sentence: str
    points: dict[int, float] = {}
    gains: dict[int, Interval] = {}


class Outcome(Config):
    """What was found.

    Attributes:
        task: name of the task.
        definition: its instruction.
        language: of its outputs.
        base: name of the base.
        metric: that the choice was made by.
        use: what to use: the trained model, prompting, or a trivial baseline.
        label: of what to use.
        reason: for it.
        choice: how the trained model and prompting compared on dev, or why they could not be compared.
        caution: what speaks against it; empty where nothing does.
        command: that uses it; empty for a trivial baseline.
        tried: on dev.
        untried: candidates that there was no time for.
        compared: on test: the trained model first.
        examples: how many were read, dropped by reason, trained on, tested.
        more: what more examples would bring.
        guessed: what was guessed of the file.
        seconds: ``given``, and spent in ``total``.
    """

    task: str
    definition: str
    language: str
    base: str
    metric: str
    use: Use
    label: str
    reason: str
    choice: str
    caution: str = ""
    command: str = ""
    tried: tuple[Tried, ...]
    untried: int
    compared: tuple[Compared, ...]
    examples: dict[str, Any]
    more: MoreExamples
    guessed: tuple[str, ...] = ()
    seconds: dict[str, float]


def compared_arms(results: StudyResults, trained_label: str, metric: str) -> list[Compared]:
    """Return the final study's arms on all examples, the trained one first, prompting, then trivial baselines, best first."""
    gains = {claim.name.removeprefix("over-"): link.difference for claim in results.claims for link in claim.links}
    sign = 1.0 if METRICS.get(metric)().better == "lower" else -1.0
    ranked = sorted(results.arms, key=lambda arm: sign * arm.scores[metric].value if metric in arm.scores else math.inf)
    groups: dict[str, list[Compared]] = {"trained": [], "prompting": [], "baseline": []}
    for arm in ranked:
        if not arm.scores or (arm.key and arm.key.n_train is not None) or arm.gates is False:
            continue
        kind: Use = _kind(arm)
        gain = gains.get(arm.key.setting) if arm.key and kind == "prompting" else None
        label = trained_label if kind == "trained" else f"{arm.label} prompting" if kind == "prompting" else arm.label
        groups[kind].append(Compared(label=label, kind=kind, scores=arm.scores, gain=gain))
    return [row for group in groups.values() for row in group]


def _kind(arm: ArmResult) -> Use:
    if arm.key is None:
        return "baseline"
    return "prompting" if arm.key.untrained else "trained"


def lines(outcome: Outcome) -> list[str]:
    """Return what to use, how good it is, and what would help most: a sentence each."""
    return [f"Use: {_use(outcome)}", f"How good: {_how_good(outcome)}", f"What would help most: {_help(outcome)}"]


def _use(outcome: Outcome) -> str:
    caution = f" But {outcome.caution}." if outcome.caution else ""
    command = f" ({outcome.command})" if outcome.command else ""
    return f"{outcome.label}, {outcome.reason}.{caution}{command}"


def _how_good(outcome: Outcome) -> str:
    parts = []
    for kind in dict.fromkeys((outcome.use, "trained", "prompting", "baseline")):
        first = next((arm for arm in outcome.compared if arm.kind == kind and outcome.metric in arm.scores), None)
        if first is None:
            continue
        score = first.scores[outcome.metric]
        text = f"{first.label} {formatting.estimate(score.value, score.low, score.high)}"
        if first.gain is not None and first.gain.low is not None:
            text += (
                f" (training gains {formatting.signed(first.gain.value)} {formatting.interval(first.gain.low, first.gain.high)})"
            )
        parts.append(text)
    tested = outcome.examples.get("test", 0)
    return f"on {tested} test examples, {metric_name(outcome.metric)}, with 95% intervals: " + "; ".join(parts) + "."


def _help(outcome: Outcome) -> str:
    trained = int(outcome.examples.get("train", 0))
    if trained < MIN_FOR_DEV:
        return (
            f"more examples: with {trained} to train on, none could be held out to choose on, so which method and settings are "
            f"best is not known; from {MIN_FOR_DEV} on it can be."
        )
    sentences = [outcome.more.sentence]
    if outcome.untried and outcome.tried:
        sentences.append(f"{outcome.untried} candidates were not tried for want of time: --for longer tries them.")
    elif outcome.untried:
        sentences.append("More time: only one way of training was tried; --for longer compares several.")
    return " ".join(sentence for sentence in sentences if sentence)
