"""The sentences of a report: what was compared, what was found, what is missing. The same in Markdown and on the page."""

from __future__ import annotations

import functools
import importlib.resources
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath
from typing import get_args

from xeric import formatting
from xeric.analysis.results import ArmResult, ClaimResult, Recommendation, RunResult, StudyResults, Verdict
from xeric.report import wording
from xeric.statistics.decisions import ASSUMED_SEED_SD
from xeric.studies.config import OWN
from xeric.yaml_io import load_yaml

__all__ = [
    "VERDICTS",
    "adaptations",
    "baselines",
    "choice",
    "claims_title",
    "failures",
    "findings",
    "recommendation",
    "setup",
    "subtitle",
    "tuning_note",
]

_NAMED = 3
"""Largest number of arms that a sentence names; the notes below the tables name all."""

VERDICTS: dict[Verdict, str] = {
    "holds": "every link of the claim is above 0 (for closeness: above minus the margin), corrected for all tested together",
    "contradicted": "the corrected interval of a link lies wholly on the other side",
    "undecided": "neither is shown: the intervals allow both, or runs are missing or diverged",
    "uninformative": "no arm is shown to beat every trivial baseline, so there is nothing to compare",
}


def adaptations(results: StudyResults) -> list[ArmResult]:
    """Return the arms that are not trivial baselines."""
    return [arm for arm in results.arms if arm.baseline is None]


def baselines(results: StudyResults) -> list[ArmResult]:
    """Return the trivial baselines."""
    return [arm for arm in results.arms if arm.baseline is not None]


def failures(results: StudyResults) -> list[RunResult]:
    """Return the runs without scores."""
    return [run for run in results.runs if run.status != "ok"]


def claims_title(results: StudyResults) -> str:
    """Return the heading of the claims: "Claims of the paper" only where the bundled study of the paper makes them unchanged."""
    sentences = {claim.sentence for claim in results.claims}
    return "Claims of the paper" if results.name == "paper" and sentences <= _of_the_paper() else "Claims"


@functools.cache
def _of_the_paper() -> frozenset[str]:
    study = load_yaml(Path(str(importlib.resources.files("xeric"))) / "bundled" / "studies" / "paper.yaml")
    return frozenset(claim["sentence"] for claim in study["claims"].values())


def subtitle(results: StudyResults) -> str:
    """Return the size of the study in a few words."""
    languages = sorted(set(results.tasks.values()))
    seeds = len({run.seed for run in results.runs})
    parts = (
        _times(len(adaptations(results)), "arm"),
        _times(len(results.tasks or results.study.get("tasks", ())), "task"),
        wording.listed(languages),
        _times(seeds, "seed") if seeds else "",
    )
    return " \u00b7 ".join(part for part in parts if part)


def setup(results: StudyResults) -> str:
    """Return what was compared, in one sentence."""
    keys = [arm.key for arm in adaptations(results) if arm.key]
    bases, methods = {key.base for key in keys}, {key.method for key in keys} - {"none"}
    settings = {key.setting for key in keys} - {"instruction"}
    languages = sorted(set(results.tasks.values()))
    seeds = len({run.seed for run in results.runs})
    compared = [_times(len(methods), "way", "ways") + " of adapting"] if methods else []
    compared += [_times(len(settings), "untrained setting")] if settings else []
    prompts = {key.prompt for key in keys} - {OWN}
    compared += [_times(len(prompts), "other prompt")] if prompts else []
    text = f"This study compared {wording.listed(compared) or 'nothing yet'} on {_times(len(bases), 'base')}"
    text += _roles(results, bases)
    # Before the first run is done the results hold no tasks.
    text += f" and {_times(len(results.tasks or results.study.get('tasks', ())), 'task')}"
    text += f" in {wording.listed(languages)}" if languages else ""
    return f"{text}, with {_times(seeds, 'seed')}." if seeds else f"{text}."


def _roles(results: StudyResults, used: Collection[str]) -> str:
    """Return which base has which role, in brackets; roles with the name of their base are left out."""
    names = {}
    for role, base in results.study.get("bases", {}).items():
        name = base.get("name", "") if isinstance(base, Mapping) else str(base)
        # The last two parts identify a folder or a hub id well enough.
        names[role] = "/".join(PurePath(name).parts[-2:])
    roles = [f"{role}: {name}" for role, name in names.items() if role in used and name != role]
    return f" ({', '.join(roles)})" if roles else ""


def findings(results: StudyResults) -> str:
    """Return the main findings: the best arm, the best baseline, the verdicts, the detectable difference."""
    sentences = [_best(results), _verdicts(results.claims)]
    if results.detectable is not None:
        name = wording.metric_name(results.primary)
        smallest = formatting.number(results.detectable.value)
        detects = f"can detect differences of {smallest} {name} points or more (80% power, 5% level)"
        observed = any(arm.spread for arm in adaptations(results))
        spread = "the spread observed in it" if observed else f"a spread between seeds taken to be {ASSUMED_SEED_SD:g} point"
        sentences.append(f"A study of this size, with {spread}, {detects}.")
    if results.recommendation is not None:
        labels = [arm.label for arm in results.arms]
        sentences.append(wording.sentence(recommendation(results.recommendation), labels))
    sentences.append(_unfinished(results))
    failed = failures(results)
    if failed:
        sentences.append(f"{_times(len(failed), 'run')} of {len(results.runs)} gave no scores.")
    return " ".join(sentence for sentence in sentences if sentence)


def recommendation(chosen: Recommendation) -> str:
    """Return, as a clause, what is recommended, or that nothing is and the best baseline."""
    if chosen.recommended:
        return f"recommended: {chosen.label}"
    baseline = chosen.baseline
    if chosen.baseline_score is not None:
        baseline += f", reaches {wording.metric_name(chosen.metric)} {wording.estimate(chosen.baseline_score)} and"
    return f"nothing is recommended: no arm is shown to beat every trivial baseline on test. The best, {baseline} needs no model"


def choice(chosen: Recommendation) -> str:
    """Return which arm was chosen and why, as a clause."""
    return chosen.reason if chosen.recommended else f"among the arms the choice would be ({chosen.label}): {chosen.reason}"


def _best(results: StudyResults) -> str:
    metric, name = results.primary, wording.metric_name(results.primary)
    scored = [arm for arm in adaptations(results) if metric in arm.scores]
    if not scored:
        return "No arm has been scored yet."
    top = max(scored, key=lambda arm: arm.scores[metric].value)
    text = f"The highest mean {name} over tasks is {wording.estimate(top.scores[metric])} ({top.label})"
    trivial = [arm for arm in baselines(results) if metric in arm.scores and arm.gates is not False]
    if not trivial:
        return text + "."
    best_baseline = max(trivial, key=lambda arm: arm.scores[metric].value)
    text += f"; the best trivial baseline, {best_baseline.label}, reaches {wording.estimate(best_baseline.scores[metric])}"
    tested = [arm for arm in scored if arm.beats_baselines is not None]
    better = sum(bool(arm.beats_baselines) for arm in tested)
    if not tested:
        return text + "."
    shown = "are" if better > 1 else "is"
    return f"{text}, and {better or 'none'} of {_times(len(tested), 'arm')} {shown} shown to beat every baseline in {name}."


def _unfinished(results: StudyResults) -> str:
    """Return the arms whose texts of some task were often cut off at the limit of new tokens."""
    arms = [arm for arm in adaptations(results) if arm.cut_tasks and arm.at_limit is not None]
    if not arms:
        return ""
    named = f": {wording.listed([f'{arm.label} ({arm.at_limit:.0%})' for arm in arms])}" if len(arms) <= _NAMED else ""
    return f"In {_times(len(arms), 'arm')} more than a tenth of a task's texts end at the limit of new tokens, unfinished{named}."


def _verdicts(claims: Sequence[ClaimResult]) -> str:
    if not claims:
        return ""
    counted = Counter(claim.verdict for claim in claims)
    phrases = [
        f"{counted[verdict]} {_VERB_PHRASES[verdict][counted[verdict] > 1]}" for verdict in get_args(Verdict) if counted[verdict]
    ]
    return f"Of the {_times(len(claims), 'claim')} tested, {wording.listed(phrases)}."


_VERB_PHRASES: dict[Verdict, tuple[str, str]] = {
    "holds": ("holds", "hold"),
    "contradicted": ("is contradicted", "are contradicted"),
    "undecided": ("is undecided", "are undecided"),
    "uninformative": ("is uninformative", "are uninformative"),
}


def tuning_note(results: StudyResults) -> str:
    """Return what was tuned, in one sentence."""
    if not results.tuning:
        return "Nothing was tuned: documented defaults, apart from the settings that the study file gives."
    trials = sorted({len(tuning.trials) for tuning in results.tuning})
    spent = formatting.duration(sum(tuning.seconds for tuning in results.tuning))
    number = _times(trials[0], "trial") if len(trials) == 1 else f"{trials[0]} to {trials[-1]} trials"
    return f"Every method had {number} on development data, never on test data; together they took {spent}."


def _times(count: int, singular: str, plural: str = "") -> str:
    return f"{count} {singular if count == 1 else plural or singular + 's'}"
