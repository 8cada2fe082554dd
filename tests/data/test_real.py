"""The rules on real task files: all of them load, few instances are dropped, the known leak is found."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from xeric.data.cleaning import Cleaned, clean
from xeric.data.leaks import find_leaks
from xeric.data.splits import split
from xeric.data.tasks import load_task
from xeric.errors import DataError

DATA = Path(os.environ.get("XERIC_REAL_DATA", Path(__file__).parents[3] / "shared" / "data")) / "tasks"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not DATA.is_dir(), reason=f"there are no real task files in {DATA}; XERIC_REAL_DATA names their parent folder"
    ),
]

TARGETS = (
    "lr_poem_en_gutenberg_from_title",
    "task1355_sent_comp_summarization",
    "lr_email_en_enron_completion",
    "lr_poem_es_sonnets_completion",
    "lr_headline_es_mexican_news",
    "lr_email_es_support_completion",
    "lr_poem_hi_ghazal_completion",
    "lr_headline_hi_newspapers",
    "lr_letter_hi_completion",
)


@cache
def cleaned(name: str) -> Cleaned:
    """A task's first 500 instances, cleaned; enough to judge the rules by."""
    task = load_task(DATA / f"{name}.json")
    return clean(replace(task, instances=task.instances[:500]))


def test_every_file_loads_or_is_refused_in_one_line() -> None:
    paths = sorted(DATA.glob("*.json"))
    refused: dict[str, str] = {}
    for path in paths:
        try:
            load_task(path)
        except DataError as error:
            refused[path.stem] = str(error)
    assert len(paths) >= 200
    assert not refused


@pytest.mark.parametrize("name", TARGETS)
def test_targets_are_almost_free_of_noise_and_can_be_split(name: str) -> None:
    outcome = cleaned(name)
    assert sum(outcome.drops.values()) <= 0.02 * len(outcome.instances)
    parts = split(outcome)
    assert parts.ratio == pytest.approx(0.2, abs=0.005)
    assert parts.n_train == len(parts.pool) >= 200
    assert {i.language for i in (outcome.task,)} <= {"English", "Spanish", "Hindi"}


def test_half_of_the_sentence_compression_outputs_belong_to_another_input() -> None:
    # The wrong ones are the file's second half; `cleaned` sees the first.
    cleaned = clean(load_task(DATA / "task1355_sent_comp_summarization.json"))
    assert cleaned.drops["mismatched_output"] == pytest.approx(486, abs=5)
    assert "look at the source" in cleaned.notes[0]


def test_poems_keep_their_lines() -> None:
    for name in ("lr_poem_es_sonnets_completion", "lr_poem_hi_ghazal_completion"):
        with_lines = sum("\n" in output for i in cleaned(name).instances for output in i.outputs)
        assert with_lines > 0.9 * len(cleaned(name).instances)


def test_rules_that_meet_the_form_of_a_task_are_set_aside() -> None:
    for name, rule in (("task610_conllpp_ner", "output_equals_input"), ("task1342_amazon_us_reviews_title", "markup")):
        assert rule not in cleaned(name).drops
        assert cleaned(name).notes[0].startswith(rule)


def test_mails_that_a_source_task_shares_with_a_target_are_found() -> None:
    target = load_task(DATA / "lr_email_en_enron_completion.json")
    source = load_task(DATA / "lr_email_en_enron_subject.json")
    unrelated = load_task(DATA / "lr_story_en_novel_continuation.json").instances[:300]
    report = find_leaks({"target": target.instances}, {"source": source.instances, "unrelated": unrelated})
    assert len({leak.test_id for leak in report.leaks}) >= 25
    assert 40 <= len(report.instances("source")) < 0.05 * len(source.instances)
    assert report.instances("unrelated") == frozenset()
