"""Tests of claims: each link of a chain of arms, corrected for all links of its family.

A link is the difference between two arms on the mean of the claim's metrics, macro mean over tasks and runs, turned so that it
is positive where the first is better (on a metric that is better low it is the second minus the first). The verdict follows
from corrected intervals alone: a claim ``holds`` when every link lies above its null value (0, or minus the margin of a claim of
closeness), is ``contradicted`` when a link lies below it, and is ``undecided`` otherwise. Where no arm of the claim is shown to
beat every trivial baseline (:attr:`Chain.gate`) there is nothing to compare, and it is ``uninformative``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from xeric import formatting
from xeric.analysis.comparison import Arms
from xeric.analysis.results import ClaimResult, Interval, LinkResult, Verdict
from xeric.metrics import METRICS, PRIMARY, quality_metrics
from xeric.metrics.scoring import within_scale
from xeric.statistics.decisions import ASSUMED_SEED_SD, Decision, decide_together
from xeric.statistics.estimates import ALPHA, Estimate
from xeric.studies.config import ClaimConfig

__all__ = ["Chain", "Judged", "beats_all", "bounded", "estimate", "judge"]


@dataclass(frozen=True)
class Chain:
    """A claim and its arms.

    Attributes:
        name: of the claim.
        claim: as in the study file.
        arms: ids of the chain's arms, best first.
        missing: reasons why the claim cannot be tested: missing arms.
        silent: the claim's metrics that are undefined on the study's tasks; it is tested on the others.
        controls: ids of its controls that have scores.
        unscored: labels of its controls that have none.
    """

    name: str
    claim: ClaimConfig
    arms: tuple[str, ...]
    missing: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    unscored: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics whose mean is tested."""
        return tuple(name for name in self.claim.metrics if name not in self.silent)

    @property
    def gate(self) -> tuple[str, ...]:
        """Metrics on whose mean an arm has to beat the trivial baselines: those of quality, or the primary one without any."""
        return tuple(name for name in self.metrics if name in quality_metrics()) or (PRIMARY,)

    @property
    def metric(self) -> str:
        """Name of what is tested: one metric, or the mean of several."""
        return "+".join(self.metrics)

    @property
    def null(self) -> float:
        """The difference that a link must exceed."""
        return -self.claim.margin if self.claim.kind == "close" else 0.0


@dataclass(frozen=True)
class Judged:
    """What verdicts need to know of the arms beside their scores.

    Attributes:
        labels: for people, by arm and baseline.
        baselines: ids of the trivial baselines that arms are compared with.
        diverged: seeds whose run diverged, by arm.
        sizes: parameters of the base, by arm.
        stage_one: arms that start from the stage-1 model.
    """

    labels: Mapping[str, str]
    baselines: Sequence[str] = ()
    diverged: Mapping[str, Sequence[int]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    stage_one: frozenset[str] = frozenset()


def judge(arms: Arms | None, chains: Sequence[Chain], context: Judged) -> list[ClaimResult]:
    """Return the verdict on every claim, in order.

    Args:
        arms: all arms and baselines, resampled together; None where no run is done.
        chains: the claims.
        context: what verdicts need beside scores.
    """
    families: defaultdict[str, list[tuple[Estimate, float]]] = defaultdict(list)
    for chain in chains:
        if arms is not None and not chain.missing:
            for better, worse in pairwise(chain.arms):
                families[chain.claim.family].append((arms.difference(better, worse, chain.metrics), chain.null))
    decided = {family: iter(decide_together(links)) for family, links in families.items()}
    results = []
    for chain in chains:
        if arms is None or chain.missing:
            results.append(_untested(chain))
        else:
            decisions = [next(decided[chain.claim.family]) for _ in pairwise(chain.arms)]
            results.append(_tested(arms, chain, decisions, context))
    return results


def beats_all(arms: Arms, names: Sequence[str], baselines: Sequence[str], metrics: Sequence[str]) -> dict[str, bool]:
    """Return, for each arm, whether its runs are shown to beat every baseline, corrected for the number of arms.

    The question is whether these runs have learned anything: the runs are fixed, and only the test instances vary. "Every
    baseline" is an intersection-union test (Berger 1982, "Multiparameter hypothesis testing and acceptance sampling",
    Technometrics 24): an arm has to pass the test against each of them, so its p value is the largest, without a correction.
    """
    return {name: against.beaten for name, against in _hardest(arms, names, baselines, metrics).items()}


class _Against(NamedTuple):
    """An arm and the baseline that it is least surely better than."""

    baseline: str
    difference: Estimate
    decision: Decision | None

    @property
    def doubt(self) -> tuple[bool, float, float]:
        """What orders such differences, the surest first."""
        return _doubt(self.difference)

    @property
    def beaten(self) -> bool:
        decision = self.decision
        return decision is not None and decision.p_corrected <= ALPHA and decision.low is not None and decision.low > 0


def _hardest(arms: Arms, names: Sequence[str], baselines: Sequence[str], metrics: Sequence[str]) -> dict[str, _Against]:
    hardest = {}
    for name in names:
        differences = {baseline: arms.difference(name, baseline, metrics, given_runs=True) for baseline in baselines}
        hardest[name] = max(differences.items(), key=lambda item: _doubt(item[1]))
    decisions = decide_together([(difference, _not_above(difference)) for _, difference in hardest.values()])
    return {name: _Against(*against, decision) for (name, against), decision in zip(hardest.items(), decisions, strict=True)}


def _not_above(difference: Estimate) -> float:
    """Return the null value: of all differences up to 0 the nearest to the estimate, so that p is 1 where it is not above 0."""
    return min(difference.value, 0.0)


def _doubt(difference: Estimate) -> tuple[bool, float, float]:
    p = difference.p(_not_above(difference))
    return p is None, p or 0.0, -difference.value


def estimate(mean: Estimate) -> Interval:
    """Return an estimate as it is stored, with its interval."""
    low, high = mean.interval() or (None, None)
    return Interval(value=mean.value, low=low, high=high)


def bounded(metric: str, mean: Estimate) -> Interval:
    """Return a mean as it is stored, its interval clipped to the metric's scale."""
    interval = estimate(mean)
    if interval.low is None or interval.high is None or metric not in METRICS:
        return interval
    low, high = within_scale(METRICS.get(metric)(), interval.value, interval.low, interval.high)
    return Interval(value=interval.value, low=low, high=high)


def _untested(chain: Chain) -> ClaimResult:
    reason = "; ".join(chain.missing) or "no run is done yet"
    return ClaimResult(
        name=chain.name, sentence=chain.claim.sentence, verdict="undecided", scope="nothing was compared", reason=reason
    )


def _tested(arms: Arms, chain: Chain, decisions: Sequence[Decision | None], context: Judged) -> ClaimResult:
    links: list[LinkResult] = []
    for (better, worse), decision in zip(pairwise(chain.arms), decisions, strict=True):
        links.append(_link(arms, better, worse, chain.metrics, chain.null, decision))
        if len(chain.metrics) > 1:
            links += [_link(arms, better, worse, (metric,), chain.null, None) for metric in chain.metrics]
    tested = [link for link in links if link.metric == chain.metric]
    verdict, reason = _verdict(arms, chain, tested, context)
    controls = _controls(arms, chain)
    notes = [_controls_note(controls, chain.claim.margin, context)] if controls else []
    if chain.unscored:
        notes.append(f"without scores: {', '.join(chain.unscored)}")
    return ClaimResult(
        name=chain.name,
        sentence=chain.claim.sentence,
        verdict=verdict,
        scope=_scope(arms, chain, context),
        reason=reason,
        links=tuple(links),
        controls=tuple(controls),
        controls_note="; ".join(notes),
    )


def _controls(arms: Arms, chain: Chain) -> list[LinkResult]:
    """Return the differences of the claim's first arm and each control, corrected for all controls of the claim."""
    differences = [(arms.difference(chain.arms[0], control, chain.metrics), 0.0) for control in chain.controls]
    decisions = decide_together(differences)
    return [
        _link(arms, chain.arms[0], control, chain.metrics, 0.0, decision)
        for control, decision in zip(chain.controls, decisions, strict=True)
    ]


def _controls_note(controls: Sequence[LinkResult], margin: float, context: Judged) -> str:
    """Return what the controls mean for a claim about instructions, in one sentence, as far as their intervals allow.

    Args:
        controls: differences of the claim's first arm and the arms with a wrong or missing instruction.
        margin: points within which a difference counts as none.
        context: of the claim.
    """

    def described(links: Sequence[LinkResult]) -> str:
        return "; ".join(f"{context.labels[link.worse]} {link.difference.value:+.1f}{_bounds(link)}" for link in links)

    ends = {link.worse: _ends(link) for link in controls}
    worse, better, same = (
        [link for link in controls if (bounds := ends[link.worse]) and holds(*bounds)]
        for holds in (lambda low, _: low > 0, lambda _, high: high < 0, lambda low, high: -margin < low and high < margin)
    )
    within = f"{margin:g} point" + ("" if margin == 1 else "s")
    if len(worse) == len(controls):
        return f"the instruction itself matters: every arm with a wrong or missing one is worse ({described(controls)})"
    if len(better) == len(controls):
        return f"it is not the instruction that helps: with a wrong or missing one the arm is better ({described(controls)})"
    if len(same) == len(controls):
        return (
            "what is tested here is tuning, not the instruction: a wrong or missing one makes a difference of less than "
            f"{within} ({described(controls)})"
        )
    same = [link for link in same if link not in worse and link not in better]
    unsure = [link for link in controls if link not in (*worse, *better, *same)]
    if len(unsure) == len(controls):
        return (
            "whether the instruction matters beside the tuning is not shown: the difference to an arm with a wrong or missing "
            f"one may be 0 or larger ({described(controls)})"
        )
    groups = {
        "worse with a wrong or missing instruction": worse,
        "better with one": better,
        f"a difference of less than {within}": same,
        "not shown either way": unsure,
    }
    return f"the controls differ: {'; '.join(f'{name} ({described(links)})' for name, links in groups.items() if links)}"


def _ends(link: LinkResult) -> tuple[float, float] | None:
    """Return both ends of a link's corrected interval, or None where it has none."""
    ends = link.corrected
    return None if ends is None or ends.low is None or ends.high is None else (ends.low, ends.high)


def _bounds(link: LinkResult) -> str:
    return f" [{ends[0]:+.1f}, {ends[1]:+.1f}]" if (ends := _ends(link)) else ""


def _link(arms: Arms, better: str, worse: str, metrics: Sequence[str], null: float, decision: Decision | None) -> LinkResult:
    estimated = arms.difference(better, worse, metrics)
    return LinkResult(
        better=better,
        worse=worse,
        metric="+".join(metrics),
        lower=arms.sign(metrics) < 0,
        difference=estimate(estimated),
        p=estimated.p(null),
        p_corrected=decision.p_corrected if decision else None,
        corrected=Interval(value=estimated.value, low=decision.low, high=decision.high) if decision else None,
        instances=arms.instances,
        # An arm whose outputs do not depend on the seed has one run; it is complete.
        seeds=min((len(arm.seeds) for arm in (arms.arms[better], arms.arms[worse]) if arm.random), default=1),
    )


def _verdict(arms: Arms, chain: Chain, links: Sequence[LinkResult], context: Judged) -> tuple[Verdict, str]:
    if context.baselines:
        against = _hardest(arms, chain.arms, context.baselines, chain.gate)
        if not any(hardest.beaten for hardest in against.values()):
            return "uninformative", _nothing_beaten(arms, chain, against, context)
    below = [link for link in links if (ends := _ends(link)) and ends[1] < chain.null]
    above = [link for link in links if (ends := _ends(link)) and ends[0] > chain.null]
    if below:
        return "contradicted", _reason(below[0], chain, context)
    open_links = [link for link in links if link not in above]
    if open_links:
        return "undecided", _reason(open_links[0], chain, context)
    diverging = [link.better for link in links if context.diverged.get(link.better)]
    if diverging:
        seeds = ", ".join(map(str, context.diverged[diverging[0]]))
        return (
            "undecided",
            f"it holds for the runs that did not diverge, but {context.labels[diverging[0]]} diverged with seed {seeds}",
        )
    return "holds", _reason(min(above, key=lambda link: link.difference.value), chain, context, smallest=len(above) > 1)


def _nothing_beaten(arms: Arms, chain: Chain, against: Mapping[str, _Against], context: Judged) -> str:
    """Return that no arm is shown to beat every baseline, and how far the arm that comes closest is from it."""
    name, closest = min(against.items(), key=lambda item: item[1].doubt)
    pair = _pair(name, closest.baseline, context, lower=arms.sign(chain.gate) < 0)
    points = "points"
    if chain.gate != chain.metrics:
        points += f" of {' and '.join(METRICS.get(metric)().title for metric in chain.gate)}"
    low, high = (closest.decision.low, closest.decision.high) if closest.decision else (None, None)
    bounds = "" if low is None or high is None else f" (corrected interval {low:+.1f} to {high:+.1f})"
    return (
        "none of these arms is shown to beat every trivial baseline, so there is nothing to compare; the closest, "
        f"{pair}, is {closest.difference.value:+.1f} {points}{bounds}"
    )


def _pair(better: str, worse: str, context: Judged, *, lower: bool) -> str:
    first, second = (worse, better) if lower else (better, worse)
    return f"({context.labels[first]}) minus ({context.labels[second]})"


def _reason(link: LinkResult, chain: Chain, context: Judged, *, smallest: bool = False) -> str:
    """Return the difference that a verdict is based on, in one sentence."""
    pair = _pair(link.better, link.worse, context, lower=link.lower)
    ends = _ends(link)
    if ends is None:
        return f"{pair} is {link.difference.value:+.1f}, and so few test instances give no interval"
    bounds = f"corrected interval {ends[0]:+.1f} to {ends[1]:+.1f}"
    margin = f"; the margin is {chain.claim.margin:g}" if chain.claim.kind == "close" else ""
    subject = f"the smallest link, {pair}," if smallest else pair
    return f"{subject} is {link.difference.value:+.1f} points ({bounds}{margin})"


_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def _scope(arms: Arms, chain: Chain, context: Judged) -> str:
    """Return the scope of a verdict: sizes of the bases, tasks, and what was not varied."""
    sizes = sorted({formatting.count(context.sizes[name], 2) for name in chain.arms if name in context.sizes})
    count = len({stratum.task for stratum in arms.strata})
    number = _NUMBERS[count] if count < len(_NUMBERS) else str(count)
    phrases = [f"at {' and '.join(sizes)} parameters"] if sizes else []
    phrases.append("on this task" if count == 1 else f"on these {number} tasks")
    phrases += [f"without {name}, which says nothing on them" for name in chain.silent]
    partly_silent = [name for name in chain.metrics if any(name == silent for silent, _ in arms.silent)]
    phrases += [f"{name} on those of them where it says anything" for name in partly_silent]
    if any(name in context.stage_one for name in chain.arms):
        phrases.append("from one stage-1 model")
    random = [name for name in chain.arms if arms.arms[name].random]
    if single := [name for name in random if len(arms.arms[name].seeds) == 1]:
        of = "" if single == random else f" of {' and of '.join(f'({context.labels[name]})' for name in single)}"
        phrases.append(f"from one run{of}, its spread between seeds taken to be {ASSUMED_SEED_SD:g} point")
    return ", ".join(phrases)
