"""The sentences at the top of a report say what its numbers say, no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import xeric
from tests.report.made import results
from xeric.analysis.results import Interval, StudyResults
from xeric.report import summary


def changed(**fields: Any) -> StudyResults:
    return results(hostile=False).model_copy(update=fields)


def test_only_the_papers_own_study_makes_claims_of_the_paper() -> None:
    paper = yaml.safe_load((Path(xeric.__file__).parent / "bundled" / "studies" / "paper.yaml").read_text())
    sentences = [claim["sentence"] for claim in paper["claims"].values()]
    own = changed().claims[0]
    of_paper = tuple(own.model_copy(update={"sentence": sentence}) for sentence in sentences)
    assert summary.claims_title(changed(name="paper", claims=of_paper)) == "Claims of the paper"
    assert summary.claims_title(changed(name="paper", claims=of_paper[:2])) == "Claims of the paper"
    assert summary.claims_title(changed(name="paper", claims=(*of_paper, own))) == "Claims"
    assert summary.claims_title(changed(name="mine", claims=of_paper)) == "Claims"
    assert summary.claims_title(changed()) == "Claims"


def test_setup_counts_what_differs() -> None:
    sentence = summary.setup(results())
    assert sentence == (
        "This study compared 5 ways of adapting and 2 untrained settings on 2 bases (multilingual: gemma-3-270m, "
        "english: smollm2-135m) and 9 tasks in English, Hindi and Spanish, with 2 seeds."
    )


def test_best_arm_and_best_baseline_are_named_with_their_scores() -> None:
    made = results(hostile=False)
    by_score = sorted((arm for arm in made.arms if "chrf" in arm.scores), key=lambda arm: arm.scores["chrf"].value)
    best = next(arm for arm in reversed(by_score) if arm.baseline is None)
    trivial = next(arm for arm in reversed(by_score) if arm.baseline and arm.gates)
    sentences = summary.findings(made)
    assert f"{best.scores['chrf'].value:.1f} [" in sentences
    assert f"({best.label})" in sentences
    assert f"the best trivial baseline, {trivial.label}, reaches {trivial.scores['chrf'].value:.1f}" in sentences
    assert "6 of 9 arms are shown to beat every baseline in chrF++" in sentences


@pytest.mark.parametrize(
    ("beating", "sentence"), [(0, "none of 9 arms is shown to"), (1, "1 of 9 arms is shown to"), (9, "9 of 9 arms are shown to")]
)
def test_how_many_arms_beat_the_baselines(beating: int, sentence: str) -> None:
    arms, left = [], beating
    for arm in results().arms:
        judged = arm.baseline is None and bool(arm.scores)
        arms.append(arm.model_copy(update={"beats_baselines": left > 0} if judged else {}))
        left -= judged
    assert sentence in summary.findings(changed(arms=tuple(arms)))


def test_verdicts_are_counted() -> None:
    claims = results().claims
    assert "1 holds, 1 is contradicted, 1 is undecided and 1 is uninformative" in summary.findings(changed(claims=claims))
    assert "Of the 2 claims tested, 2 are undecided." in summary.findings(changed(claims=(claims[0], claims[0])))
    assert "claims" not in summary.findings(changed(claims=()))


def test_what_verdicts_mean_is_true_of_every_claim_that_has_them() -> None:
    meanings = summary.VERDICTS
    assert "minus the margin" in meanings["holds"], "a claim of closeness holds below 0"
    assert "missing" in meanings["undecided"], "claims that were not run are undecided, too"
    assert "no arm is shown to beat every trivial baseline" in meanings["uninformative"], "not shown is not absent"


def test_lines_whose_texts_are_cut_off_are_named_where_they_are_few() -> None:
    arms = [arm for arm in results().arms if arm.baseline is None]
    assert "limit" not in summary.findings(changed(arms=tuple(arms)))
    cut = [
        arm.model_copy(update={"at_limit": 0.05, "cut_tasks": {"poem_generation_en": 0.4} if number < 2 else {}})
        for number, arm in enumerate(arms)
    ]
    named = f"unfinished: {arms[0].label} (5%) and {arms[1].label} (5%)."
    assert f"In 2 arms more than a tenth of a task's texts end at the limit of new tokens, {named}" in summary.findings(
        changed(arms=tuple(cut))
    )
    every = [arm.model_copy(update={"at_limit": 1.0, "cut_tasks": {"poem_generation_en": 1.0}}) for arm in arms]
    found = summary.findings(changed(arms=tuple(every)))
    assert f"In {len(arms)} arms more than a tenth of a task's texts end at the limit of new tokens, unfinished." in found


def test_what_could_not_be_seen_and_what_failed_is_said() -> None:
    sentences = summary.findings(changed(detectable=Interval(value=2.34)))
    assert "differences of 2.3 chrF++ points or more" in sentences
    assert "2 runs of 20 gave no scores." in sentences
    whole = changed(runs=tuple(run for run in results().runs if run.status == "ok"))
    assert "gave no scores" not in summary.findings(whole)


def test_tuning_says_when_nothing_was_tuned() -> None:
    assert "documented defaults" in summary.tuning_note(changed(tuning=()))
    assert summary.tuning_note(results()) == (
        "Every method had 4 trials on development data, never on test data; together they took 17 min."
    )
