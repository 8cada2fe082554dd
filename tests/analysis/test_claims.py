"""Verdicts on arms whose scores are given as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from tests.analysis.points import run
from tests.made_study import changed, predictions
from xeric.analysis.claims import Chain, Judged, beats_all, judge
from xeric.analysis.comparison import Arms, resample_arms
from xeric.analysis.results import ClaimResult
from xeric.errors import ConfigError
from xeric.metrics import METRICS
from xeric.metrics.measuring import Measured, measure
from xeric.records import Prediction
from xeric.studies.config import ArmKey, ClaimConfig
from xeric.studies.validation import check_study

INSTANCES = 60
POINTS = ("chrf",)
"""Points under the name of a metric of quality, on which arms are compared with the baselines."""


def runs(mean: float, *, seeds: int = 3, name: str = "", spread: float = 0.3) -> dict[int, Measured]:
    """Runs of one method on two tasks; what is hard for one method is hard for all."""
    hard = np.random.default_rng(0).normal(0, 15, size=(2, INSTANCES))
    own = np.random.default_rng([1, *name.encode()])
    points = [hard + mean + own.normal(0, spread) + own.normal(0, 2, size=hard.shape) for _ in range(seeds)]
    return {seed: run(*both, names=POINTS) for seed, both in enumerate(points)}


def arms_of(made: Mapping[str, dict[int, Measured]], fixed: tuple[str, ...] = ("copy",)) -> Arms:
    return resample_arms(made, fixed=[name for name in fixed if name in made], draws=300)


def chain(*arms: str, name: str = "claim", kind: str = "better", missing: tuple[str, ...] = (), **fields: object) -> Chain:
    keys = tuple(ArmKey(base="b", method=arm) for arm in arms)
    claim = ClaimConfig(sentence="as the paper says", chain=keys, metrics=POINTS, kind=kind, **fields)  # type: ignore[arg-type]
    return Chain(name, claim, arms, missing)


def verdict(arms: Arms | None, *chains: Chain, baselines: tuple[str, ...] = ("copy",), **known: object) -> ClaimResult:
    labels = {name: name for chain in chains for name in chain.arms} | {name: name for name in baselines}
    return judge(arms, chains, Judged(labels, baselines, **known))[0]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def arms() -> Arms:
    better = {"best": 40.0, "good": 34.0, "fair": 28.0}
    made = {name: runs(mean, name=name) for name, mean in better.items()}
    made["twin"] = made["good"]
    made["empty"] = {seed: run(*np.zeros((2, INSTANCES)), names=POINTS) for seed in range(3)}
    made["copy"] = runs(10.0, seeds=1, name="copy")
    return arms_of(made)


def test_a_chain_holds_where_every_link_does(arms: Arms) -> None:
    judged = verdict(arms, chain("best", "good", "fair"))
    assert judged.verdict == "holds"
    assert [(link.better, link.worse) for link in judged.links] == [("best", "good"), ("good", "fair")]
    for link in judged.links:
        assert link.difference.value == pytest.approx(6, abs=1.5)
        assert link.corrected is not None
        assert link.corrected.low is not None
        assert link.difference.low is not None
        assert 0 < link.corrected.low <= link.difference.low
        assert (link.instances, link.seeds, link.metric) == (2 * INSTANCES, 3, "chrf")


def test_one_link_the_other_way_contradicts(arms: Arms) -> None:
    judged = verdict(arms, chain("best", "fair", "good"))
    assert judged.verdict == "contradicted"
    assert "(fair) minus (good)" in judged.reason


def test_the_same_method_under_two_names_is_undecided(arms: Arms) -> None:
    judged = verdict(arms, chain("good", "twin"))
    assert judged.verdict == "undecided"
    assert judged.links[0].difference.value == 0
    assert judged.links[0].p == judged.links[0].p_corrected == 1
    assert verdict(arms, chain("best", "good", "twin")).verdict == "undecided"


def test_the_empty_answer_loses(arms: Arms) -> None:
    assert verdict(arms, chain("fair", "empty")).verdict == "holds"
    assert verdict(arms, chain("empty", "fair")).verdict == "contradicted"


def test_nothing_to_compare_where_nothing_beats_the_baselines(arms: Arms) -> None:
    poor = arms_of({"copy": runs(50.0, seeds=1, name="copy"), "best": runs(40.0, name="best"), "fair": runs(28.0, name="fair")})
    assert verdict(poor, chain("best", "fair")).verdict == "uninformative"
    assert verdict(poor, chain("best", "fair"), baselines=()).verdict == "holds"
    # One arm above the baseline is enough to have something to compare.
    assert verdict(arms, chain("empty", "fair")).verdict == "contradicted"


def test_every_baseline_must_be_beaten(arms: Arms) -> None:
    assert beats_all(arms, ["best", "fair", "empty"], ["copy"], POINTS) == {"best": True, "fair": True, "empty": False}
    assert beats_all(arms, ["good"], ["copy", "best"], POINTS) == {"good": False}
    assert beats_all(arms, ["good"], ["twin"], POINTS) == {"good": False}


def unsure_arms(margin: float, arms: int = 1, baselines: int = 3) -> tuple[Arms, list[str], list[str]]:
    """Arms that are better than each baseline by about as much as the test instances allow to see."""
    rng = np.random.default_rng(0)
    hard = rng.normal(40, 10, size=60)
    noise = rng.normal(0, 1, size=60)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * np.sqrt(60)  # the standard error of the difference is 1
    names, copies = [f"arm {n}" for n in range(arms)], [f"copy {n}" for n in range(baselines)]
    made = {name: {0: run(hard + noise + margin, names=POINTS)} for name in names}
    made |= {name: {0: run(hard - number / 10, names=POINTS)} for number, name in enumerate(copies)}
    return resample_arms(made, fixed=list(made), draws=1000), names, copies


def test_an_arm_pays_for_the_arms_beside_it_and_not_for_the_baselines() -> None:
    """To beat every baseline it has to beat each: that is no choice of the luckiest of three (intersection-union test)."""
    arms, names, copies = unsure_arms(2.2)
    assert beats_all(arms, names, copies, POINTS) == {"arm 0": True}
    arms, names, copies = unsure_arms(2.2, arms=4)
    assert not any(beats_all(arms, names, copies, POINTS).values()), "p is about 3% for each of four"
    arms, names, copies = unsure_arms(1.5)
    assert beats_all(arms, names, copies, POINTS) == {"arm 0": False}


def test_what_is_not_shown_is_not_said_to_be_absent() -> None:
    arms, names, copies = unsure_arms(2.2, arms=4)
    judged = verdict(arms, chain(*names), baselines=tuple(copies))
    assert judged.verdict == "uninformative"
    told, _, closest = judged.reason.partition("; the closest, ")
    assert told == "none of these arms is shown to beat every trivial baseline, so there is nothing to compare"
    assert closest.startswith("(arm 0) minus (copy 0), is +2.2 points (corrected interval -0.")
    poor = arms_of({"copy": runs(50.0, seeds=1, name="copy"), "best": runs(40.0, name="best"), "fair": runs(28.0, name="fair")})
    assert "; the closest, (best) minus (copy), is -9.8 points" in verdict(poor, chain("fair", "best")).reason


def test_a_claim_on_no_metric_of_quality_is_gated_on_the_primary_one() -> None:
    """A baseline that copies writes the right script always: no arm can beat it there."""
    rng = np.random.default_rng(0)
    words = ["यह", "एक", "अच्छा", "दिन", "है", "और", "हम", "घर", "जा", "रहे", "थे", "कल", "शाम", "को", "बारिश", "हुई"]
    references = [" ".join(rng.choice(words, 6)) for _ in range(60)]

    def answers(texts: list[str], metrics: tuple[str, ...] = ("wrong_script_rate", "chrf")) -> Measured:
        rows = [
            Prediction(id=f"{number:02}", task="t", language="Hindi", input="x", prediction=text, references=(reference,))
            for number, (text, reference) in enumerate(zip(texts, references, strict=True))
        ]
        return measure(rows, metrics)

    copied = [" ".join(rng.choice(words, 6)) for _ in references]
    other = [text if number % 3 else "this is English" for number, text in enumerate(copied)]
    own = ClaimConfig(sentence="s", chain=claim_on("chrf").chain, metrics=("wrong_script_rate",))
    for trained, expected in ((references, "holds"), (copied, "uninformative")):
        made = {"trained": {0: answers(trained)}, "prompted": {0: answers(other)}, "copy": {0: answers(copied)}}
        judged = verdict(resample_arms(made, fixed=list(made), draws=300), Chain("c", own, ("trained", "prompted")))
        assert judged.verdict == expected
    assert "(trained) minus (copy), is +0.0 points of chrF++ (" in judged.reason


def test_close_is_not_worse_by_more_than_the_margin() -> None:
    made = {"full": runs(40, name="full", spread=0.05), "lora": runs(39.7, name="lora", spread=0.05)}
    close = arms_of(made)
    for margin, expected in ((2.0, "holds"), (0.3, "undecided")):
        judged = verdict(close, chain("lora", "full", kind="close", margin=margin), baselines=())
        assert judged.verdict == expected, judged.reason
    far = arms_of({"full": runs(40, name="full"), "lora": runs(30, name="lora")})
    assert verdict(far, chain("lora", "full", kind="close", margin=2.0), baselines=()).verdict == "contradicted"
    # Being better is close enough.
    assert verdict(far, chain("full", "lora", kind="close", margin=2.0), baselines=()).verdict == "holds"


def test_claims_of_one_family_are_corrected_together(arms: Arms) -> None:
    single = chain("good", "fair")
    others = [chain("best", "good", name=f"other {number}") for number in range(9)]
    apart = [chain("best", "good", name=f"other {number}", family="other") for number in range(9)]
    alone, together, separate = (verdict(arms, single, *more).links[0] for more in ([], others, apart))
    assert alone.p_corrected == alone.p == together.p == separate.p_corrected
    assert together.p_corrected is not None
    assert alone.p is not None
    assert together.p_corrected > alone.p


def test_each_metric_is_reported_and_only_their_mean_is_tested() -> None:
    made = {
        name: {s: run([mean + s, mean - 1, mean + 3] * 2, names=["bleu", "meteor"]) for s in range(3)}
        for name, mean in (("a", 9), ("b", 3))
    }
    keys = (ArmKey(base="b", method="a"), ArmKey(base="b", method="b"))
    claim = ClaimConfig(sentence="s", chain=keys, metrics=("bleu", "meteor"))
    judged = verdict(resample_arms(made, draws=100), Chain("c", claim, ("a", "b")), baselines=())
    assert [link.metric for link in judged.links] == ["bleu+meteor", "bleu", "meteor"]
    assert [link.p_corrected is None for link in judged.links] == [False, True, True]
    assert all(link.p is not None and link.difference.low is not None for link in judged.links)


def test_what_was_not_run_cannot_be_judged(arms: Arms) -> None:
    judged = verdict(arms, chain("best", "gone", missing=("gone has no scores",)), chain("best", "good"))
    assert (judged.verdict, judged.reason, judged.links) == ("undecided", "gone has no scores", ())
    assert verdict(None, chain("best", "good")).reason == "no run is done yet"


def test_runs_that_diverged_do_not_help_a_claim(arms: Arms) -> None:
    judged = verdict(arms, chain("best", "good"), diverged={"best": [1]})
    assert judged.verdict == "undecided"
    assert "diverged with seed 1" in judged.reason
    assert verdict(arms, chain("best", "good"), diverged={"good": [1]}).verdict == "holds"


def test_the_scope_says_what_was_not_varied() -> None:
    single = arms_of({"a": runs(40, seeds=1, name="a"), "b": runs(20, seeds=1, name="b")})
    judged = verdict(single, chain("a", "b"), baselines=(), sizes={"a": 5_300_000, "b": 5_310_000}, stage_one=frozenset("a"))
    assert judged.verdict == "holds"
    assert judged.scope.startswith("at 5.3M parameters, on these two tasks, from one stage-1 model, from one run")
    mixed = arms_of({"a": runs(40, name="a"), "b": runs(20, seeds=1, name="b")})
    assert "from one run of (b), its spread" in verdict(mixed, chain("a", "b"), baselines=()).scope
    near = arms_of({"a": runs(32, seeds=1, name="a"), "b": runs(30, seeds=1, name="b")})
    assert verdict(near, chain("a", "b"), baselines=()).verdict == "undecided"


def unclaimable(metric: str) -> str:
    """Why no claim can be made on a metric, or nothing: neither direction is better, or it is a measure of whole sets."""
    measure = METRICS.get(metric)()
    return "neither direction is better" if measure.better is None else "" if measure.resampled else "no intervals and no tests"


def claim_on(*metrics: str) -> ClaimConfig:
    chain_ = (ArmKey(base="multi", method="full"), ArmKey(base="multi", method="lora"))
    return ClaimConfig(sentence="full > LoRA", chain=chain_, metrics=metrics)


@pytest.mark.parametrize("metric", METRICS.names())
def test_a_claim_on_any_metric_is_refused_in_time_or_never_against_a_perfect_system(metric: str) -> None:
    study = changed(claims={"c": claim_on(metric)})
    if why := unclaimable(metric):
        with pytest.raises(ConfigError, match=why) as caught:
            check_study(study)
        assert caught.value.where == "claims.c.metrics"
        assert "chrf" in str(caught.value.hint)
        assert metric not in str(caught.value.hint)
        return
    check_study(study)
    rows = predictions(study.tasks, "test", 12, 1.0, "")
    answers = {
        "perfect": [row.references[0] for row in rows],
        "empty": ["" for _ in rows],
        "strange": ["чужие слова, которых никто не ждал" for _ in rows],
        "turned": [row.references[0] for row in reversed(rows)],
    }
    made = {
        name: {0: measure([row.model_copy(update={"prediction": text}) for row, text in zip(rows, texts, strict=True)], [metric])}
        for name, texts in answers.items()
    }
    arms = resample_arms(made, fixed=list(made), draws=300)
    keys = claim_on(metric)
    verdicts = {}
    for bad in ("empty", "strange", "turned"):
        chains = [Chain("c", keys, pair) for pair in (("perfect", bad), (bad, "perfect"))]
        labels = {name: name for name in made}
        verdicts[bad] = [judge(arms, [chain], Judged(labels))[0] for chain in chains]
        assert verdicts[bad][0].verdict in ("holds", "undecided")
        assert verdicts[bad][1].verdict in ("contradicted", "undecided")
    strange = verdicts["strange"]
    assert [member.verdict for member in strange] == ["holds", "contradicted"], (
        "every metric tells a strange script from the right answer"
    )
    (link,) = strange[0].links
    assert link.difference.value == pytest.approx(100, abs=1.5)
    first, second = ("strange", "perfect") if METRICS.get(metric)().better == "lower" else ("perfect", "strange")
    assert strange[0].reason.startswith(f"({first}) minus ({second}) is +")


def test_a_mean_of_metrics_with_two_directions_is_refused() -> None:
    with pytest.raises(ConfigError, match="better high and of metrics that are better low") as caught:
        check_study(changed(claims={"c": claim_on("chrf", "wrong_script_rate")}))
    assert caught.value.where == "claims.c.metrics"
    with pytest.raises(ConfigError, match="names no metric"):
        check_study(changed(claims={"c": claim_on()}))


def test_controls_say_whether_a_claim_is_about_instructions(arms: Arms) -> None:
    def judged(*controls: str, margin: float = 1.0) -> ClaimResult:
        made = replace(chain("good", "fair", margin=margin), controls=controls)
        labels = {name: name for name in ("good", "fair", "copy", *controls)}
        return judge(arms, [made], Judged(labels, ("copy",)))[0]

    assert judged().controls_note == ""
    matters = judged("empty", "copy")
    assert matters.verdict == "holds"
    assert matters.controls_note.startswith("the instruction itself matters: every arm")
    assert [(link.better, link.worse) for link in matters.controls] == [("good", "empty"), ("good", "copy")]
    tuning = judged("twin")
    assert tuning.verdict == "holds", "controls explain a verdict, they do not make one"
    assert tuning.controls_note.startswith("what is tested here is tuning, not the instruction")
    assert "less than 1 point (twin +0.0 [" in tuning.controls_note
    # The same intervals, where a thousandth of a point counts: too wide for saying that there is no difference.
    unsure = judged("twin", margin=0.001)
    assert unsure.controls_note.startswith("whether the instruction matters beside the tuning is not shown")
    assert judged("best").controls_note.startswith("it is not the instruction that helps")


def test_a_control_without_scores_is_named(arms: Arms) -> None:
    made = replace(chain("good", "fair"), controls=("empty",), unscored=("other definition",))
    labels = {name: name for name in ("good", "fair", "copy", "empty")}
    assert judge(arms, [made], Judged(labels, ("copy",)))[0].controls_note.endswith("; without scores: other definition")


def test_controls_that_differ_decide_nothing_and_are_all_named(arms: Arms) -> None:
    def note(*controls: str, margin: float = 1.0) -> str:
        made = replace(chain("good", "fair", margin=margin), controls=controls)
        return judge(arms, [made], Judged({name: name for name in arms.arms}, ("copy",)))[0].controls_note

    everything = note("empty", "twin", "best")
    groups = ["worse with a wrong or missing instruction (empty +", "better with one (best -", "than 1 point (twin +0.0 ["]
    assert everything.startswith("the controls differ: ")
    assert all(group in everything for group in groups)
    assert "tuning" not in everything
    assert "not shown either way (twin +0.0 [" in note("empty", "twin", margin=0.001)
