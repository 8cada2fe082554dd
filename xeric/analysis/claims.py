"""Tests of claims: each link of a chain of arms, corrected for all links of its family.

A link is the difference between two arms on the mean of the claim's metrics, macro mean over tasks and runs, turned so that it
is positive where the first is better (on a metric that is better low it is the second minus the first). The verdict follows
from corrected intervals alone: a claim ``holds`` when every link lies above its null value (0, or minus the margin of a claim of
closeness), is ``contradicted`` when a link lies below it, and is ``undecided`` otherwise. Where no arm of the claim beats the
trivial baselines on the claim's metrics there is nothing to compare, and it is ``uninformative``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from xeric import formatting
from xeric.analysis.comparison import Arms
from xeric.analysis.results import ClaimResult, Interval, LinkResult, Verdict
from xeric.metrics import METRICS
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
    """

    name: str
    claim: ClaimConfig
    arms: tuple[str, ...]
    missing: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics whose mean is tested."""
        return tuple(name for name in self.claim.metrics if name not in self.silent)

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
        labels: for people, by arm.
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
    """Return, for each arm, whether its runs beat every baseline, corrected for all these comparisons together.

    The question is whether these runs have learned anything: the runs are fixed, and only the test instances vary.
    """
    pairs = [(name, baseline) for name in names for baseline in baselines]
    differences = [arms.difference(*pair, metrics, given_runs=True) for pair in pairs]
    beaten = dict.fromkeys(names, True)
    for (name, _), decision in zip(pairs, decide_together([(difference, 0.0) for difference in differences]), strict=True):
        beaten[name] &= decision is not None and decision.p_corrected <= ALPHA and decision.low > 0
    return beaten


def estimate(mean: Estimate, interval: tuple[float, float] | None = None) -> Interval:
    """Return an estimate as it is stored, with its own interval unless another is passed."""
    low, high = interval or mean.interval() or (None, None)
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
    return ClaimResult(
        name=chain.name,
        sentence=chain.claim.sentence,
        verdict=verdict,
        scope=_scope(arms, chain, context),
        reason=reason,
        links=tuple(links),
        controls=tuple(controls),
        controls_note=_controls_note(controls, chain.claim.margin, context),
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
    if not controls:
        return ""

    def described(links: Sequence[LinkResult]) -> str:
        return "; ".join(f"{context.labels[link.worse]} {link.difference.value:+.1f}{_bounds(link)}" for link in links)

    ends = [(link, link.corrected.low, link.corrected.high) for link in controls if link.corrected]
    matters = [link for link, low, _ in ends if low is not None and low > 0]
    if len(matters) == len(controls):
        return f"the instruction itself matters: every arm with a wrong or missing one is worse ({described(controls)})"
    if better := [link for link, _, high in ends if high is not None and high < 0]:
        return f"it is not the instruction that helps: with a wrong or missing one the arm is better ({described(better)})"
    same = [link for link, low, high in ends if low is not None and high is not None and -margin < low <= 0 <= high < margin]
    if same:
        return (
            "what is tested here is tuning, not the instruction: a wrong or missing one makes a difference of less than "
            f"{margin:g} points ({described(same)})"
        )
    unsure = [link for link in controls if link not in matters]
    return (
        "whether the instruction matters beside the tuning is not shown: the difference to an arm with a wrong or missing one "
        f"may be 0 or larger ({described(unsure)})"
    )


def _bounds(link: LinkResult) -> str:
    ends = link.corrected
    return f" [{ends.low:+.1f}, {ends.high:+.1f}]" if ends and ends.low is not None and ends.high is not None else ""


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
        corrected=estimate(estimated, (decision.low, decision.high)) if decision else None,
        instances=arms.instances,
        # An arm whose outputs do not depend on the seed has one run; it is complete.
        seeds=min((len(arm.seeds) for arm in (arms.arms[better], arms.arms[worse]) if arm.random), default=1),
    )


def _verdict(arms: Arms, chain: Chain, links: Sequence[LinkResult], context: Judged) -> tuple[Verdict, str]:
    if context.baselines and not any(beats_all(arms, chain.arms, context.baselines, chain.metrics).values()):
        return "uninformative", "none of these arms beats every trivial baseline, so there is nothing to compare"
    bounds = [(link, link.corrected.low, link.corrected.high) for link in links if link.corrected]
    below = [link for link, _, high in bounds if high is not None and high < chain.null]
    above = [link for link, low, _ in bounds if low is not None and low > chain.null]
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


def _reason(link: LinkResult, chain: Chain, context: Judged, *, smallest: bool = False) -> str:
    """Return the difference that a verdict is based on, in one sentence."""
    first, second = (link.worse, link.better) if link.lower else (link.better, link.worse)
    pair = f"({context.labels[first]}) minus ({context.labels[second]})"
    interval = link.corrected
    if interval is None or interval.low is None or interval.high is None:
        return f"{pair} is {link.difference.value:+.1f}, and one instance per task gives no interval"
    bounds = f"corrected interval {interval.low:+.1f} to {interval.high:+.1f}"
    margin = f"; the margin is {chain.claim.margin:g}" if chain.claim.kind == "close" else ""
    subject = f"the smallest link, {pair}," if smallest else pair
    return f"{subject} is {interval.value:+.1f} points ({bounds}{margin})"


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
    if any(arms.arms[name].random and len(arms.arms[name].seeds) == 1 for name in chain.arms):
        phrases.append(f"from one run, its spread between seeds taken to be {ASSUMED_SEED_SD:g} point")
    return ", ".join(phrases)
