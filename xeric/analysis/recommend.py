"""The recommended adaptation: the cheapest that is shown, on dev, to be not worse than the best by more than a margin.

"Shown" is non-inferiority: the lower end of the one-sided 95% interval of (arm - best) lies above minus the margin. The best on
dev is selected by its score, which is therefore biased upwards, to the disadvantage of the others: the choice errs towards the
best arm, never towards a cheap one. Test scores play no part in the choice; they are reported for the chosen arm.

Where no arm of the study is shown to beat every trivial baseline on test, nothing is recommended, and the best baseline is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from xeric.analysis.claims import bounded
from xeric.analysis.comparison import Arms, resample_arms
from xeric.analysis.outputs import Runs
from xeric.analysis.results import ArmResult, Interval, Recommendation
from xeric.formatting import duration
from xeric.metrics.measuring import Measured
from xeric.statistics.estimates import ALPHA

__all__ = ["Candidate", "judged", "not_worse", "recommend"]


@dataclass(frozen=True)
class Candidate:
    """An arm that can be recommended.

    Attributes:
        label: for people.
        seconds: of training, median over runs; 0 where nothing is trained.
        trainable: parameters.
        test: its mean on the test set.
    """

    label: str
    seconds: float
    trainable: int
    test: Interval | None = None

    @property
    def cost(self) -> tuple[float, int]:
        """The cost that "cheapest" compares: seconds to two digits (they vary between runs), then trainable parameters."""
        return float(f"{self.seconds:.2g}"), self.trainable


def recommend(
    candidates: Mapping[str, Candidate], dev: Runs, *, metric: str, margin: float, fixed: Sequence[str] = ()
) -> Recommendation | None:
    """Return the recommended arm, or None where no candidate has dev predictions.

    Arms can be compared where they have the same dev instances. Dev is a part of the training examples, so arms of another
    training size have others; the arms with most dev instances are compared.

    Args:
        candidates: by id.
        dev: their dev predictions, counted.
        metric: name of the metric to choose by.
        margin: in its points.
        fixed: arms whose outputs do not depend on a seed.
    """
    comparable = _comparable({name: dev[name] for name in candidates if name in dev})
    if not comparable:
        return None
    arms = resample_arms(comparable, fixed=fixed)
    scores = {name: arms.mean(name, [metric]) for name in comparable}
    sign = arms.sign([metric])
    best = max(scores, key=lambda name: sign * scores[name].value)
    acceptable = [best, *(name for name in scores if name != best and not_worse(arms, name, best, metric, margin))]
    chosen = min(acceptable, key=lambda name: (candidates[name].cost, -sign * scores[name].value))
    left_out = [candidates[name].label for name in candidates if name not in comparable]
    return Recommendation(
        arm=chosen,
        label=candidates[chosen].label,
        best=best,
        margin=margin,
        metric=metric,
        dev={name: bounded(metric, mean) for name, mean in scores.items()},
        test=candidates[chosen].test,
        reason=_reason(candidates, chosen, best, len(acceptable), margin, left_out),
    )


def judged(chosen: Recommendation, arms: Sequence[ArmResult], candidates: Collection[str] | None = None) -> Recommendation:
    """Return a choice after comparing it with the trivial baselines: whether it is recommended, and with what caution.

    Args:
        chosen: of :func:`recommend`, with its command.
        arms: of the study, trivial baselines among them, with their scores on test.
        candidates: ids of those that can be recommended; None for all.
    """
    useful = {arm.id: arm.label for arm in arms if arm.beats_baselines and (candidates is None or arm.id in candidates)}
    gating = [arm for arm in arms if arm.gates and chosen.metric in arm.scores]
    if not gating or all(arm.beats_baselines is None for arm in arms):
        return chosen
    best = max(gating, key=lambda arm: arm.scores[chosen.metric].value)
    changes: dict[str, object] = {"baseline": best.label, "baseline_score": best.scores[chosen.metric]}
    if not useful:
        changes |= {"recommended": False, "command": ""}
    elif chosen.arm not in useful:
        others = " and ".join(f"({label})" for label in useful.values())
        are = "is" if len(useful) == 1 else "are"
        changes["caution"] = f"on test it is not shown to beat every trivial baseline, and {others} {are}"
    return chosen.model_copy(update=changes)


def not_worse(arms: Arms, name: str, best: str, metric: str, margin: float) -> bool:
    """Return whether an arm is shown to be not worse than another by more than a margin (one-sided, 5%)."""
    interval = arms.difference(name, best, [metric]).interval(2 * ALPHA)
    return interval is not None and interval[0] > -margin


def _comparable(dev: Runs) -> Runs:
    """Return the runs on the largest dev set that arms share; of two equally large ones the first in the plan."""
    shared: defaultdict[frozenset[object], Runs] = defaultdict(dict)
    for name, by_seed in dev.items():
        for seed, measured in by_seed.items():
            shared[_identity(measured)].setdefault(name, {})[seed] = measured
    return max(shared.items(), key=lambda item: len(item[0]))[1] if shared else {}


def _identity(measured: Measured) -> frozenset[object]:
    return frozenset(measured.rows.items())


def _reason(
    candidates: Mapping[str, Candidate], chosen: str, best: str, acceptable: int, margin: float, left_out: Sequence[str]
) -> str:
    within = f"{margin:g} point" + ("" if margin == 1 else "s")
    if chosen != best:
        reason = f"the cheapest of {acceptable} that are not worse than the best, {candidates[best].label}, by more than {within}"
    elif acceptable > 1:
        reason = f"the best on dev, and the cheapest of {acceptable} that are not worse by more than {within}"
    else:
        reason = f"the best on dev; nothing cheaper is shown to be within {within} of it"
    cost = candidates[chosen]
    trained = f"{duration(cost.seconds)} of training, {cost.trainable:,} trainable parameters"
    untrained = f"{duration(cost.seconds)} of training in stage 1, none on the task" if cost.seconds else "nothing is trained"
    spent = trained if cost.trainable else untrained
    labels = " ".join(f"({label})" for label in left_out)
    others = f"; not compared, because their dev instances are others: {labels}" if left_out else ""
    return f"{reason} ({spent}; cost is training time, then trainable parameters){others}"
