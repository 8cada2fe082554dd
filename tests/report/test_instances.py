"""The browser's data: true scores, nothing that can leave its script element, an honest cut."""

from __future__ import annotations

import json

import pytest
from sacrebleu.metrics.chrf import CHRF

from tests.report.made import HOSTILE_TEXTS, results
from xeric.metrics import measure
from xeric.records import Prediction
from xeric.report.instances import LONGEST, browser, safe_json
from xeric.report.reading import ArmOutputs


def outputs(*rows: Prediction, arm: str = "lora") -> list[ArmOutputs]:
    return [ArmOutputs(arm, 0, rows, measure(rows, ["chrf"]).per_example("chrf") if rows else {})]


def row(
    number: int, prediction: str = "a", *, task: str = "poem_generation_en", language: str = "English", text: str = "in"
) -> Prediction:
    return Prediction(
        id=str(number), task=task, language=language, input=text, prediction=prediction, references=("a dry field",)
    )


@pytest.mark.parametrize("text", [*HOSTILE_TEXTS, "</SCRIPT>", "<!--<script>", "]]>", "\u2028\u2029\x00\x1b"])
def test_safe_json_cannot_leave_its_element_and_reads_back(text: str) -> None:
    safe = safe_json({"x": text, text: 1})
    assert not set(safe) & set("<>&\u2028\u2029")
    assert json.loads(safe) == {"x": text, text: 1}


def test_scores_are_sacrebleus_of_each_text_by_its_own_id() -> None:
    predictions = [("10", "a dry field"), ("9", "a dry"), ("b", ""), ("a", "dry dry field")]
    rows = [row(0, text).model_copy(update={"id": number}) for number, text in predictions]
    scorer = CHRF(word_order=2)
    scores = {instance["id"]: instance["outputs"][0][2] for instance in browser(results(), outputs(*rows)).data["instances"]}
    assert scores == {number: round(scorer.sentence_score(text, ["a dry field"]).score, 1) for number, text in predictions}


def test_lines_without_outputs_say_why_and_baselines_are_marked() -> None:
    given = [
        ArmOutputs("lora", 1, (row(1),)),
        ArmOutputs("prefix", None, why="failed"),
        ArmOutputs("baseline-copy_input", 0, (row(1, "in"),)),
    ]
    data = browser(results(), given).data
    assert [(arm["baseline"], arm["seed"], arm["why"]) for arm in data["arms"]] == [
        (False, 1, ""),
        (False, None, "failed"),
        (True, 0, ""),
    ]
    assert [(position, text) for position, text, _ in data["instances"][0]["outputs"]] == [(0, "a"), (2, "in")]


def test_a_budget_leaves_out_evenly_and_says_how_many() -> None:
    rows = [row(n, "word " * 40, task=task) for task in ("poem_generation_en", "summarization_en") for n in range(20)]
    whole = browser(results(), outputs(*rows))
    assert (whole.shown, whole.total) == (40, 40)
    size = len(safe_json(whole.data).encode())
    part = browser(results(), outputs(*rows), budget=size // 2)
    assert part.total == 40
    assert len(safe_json(part.data).encode()) < size * 0.6
    counts = [sum(instance["task"] == task for instance in part.data["instances"]) for task in (0, 1)]
    assert sum(counts) == part.shown
    assert min(counts) >= 5
    assert max(counts) - min(counts) <= 1
    places = [whole.data["instances"].index(instance) for instance in part.data["instances"]]
    assert places == sorted(places)  # in their own order
    assert places[: counts[0]] != list(range(counts[0]))  # and not simply the first


def test_what_is_left_out_does_not_depend_on_what_was_written() -> None:
    def kept(text: str) -> list[str]:
        rows = [row(n, text) for n in range(20)]
        return [instance["id"] for instance in browser(results(), outputs(*rows), budget=1500).data["instances"]]

    assert kept("good text") == kept("bad texts")
    assert 0 < len(kept("good text")) < 20


def test_very_long_texts_are_cut_and_say_so() -> None:
    instance = browser(results(), outputs(row(1, "x" * (LONGEST + 1234)))).data["instances"][0]
    text = instance["outputs"][0][1]
    assert text.startswith("x" * LONGEST + "…")
    assert "1,234 more characters" in text


@pytest.mark.parametrize(
    ("language", "reference", "code", "direction"),
    [
        ("Hindi", "सूखा खेत", "hi", "ltr"),
        ("Arabic", "حقل جاف", "ar", "rtl"),
        ("Urdu", "خشک کھیت", "ur", "rtl"),
        ("Hebrew", "שדה יבש", "he", "rtl"),
        ("Kurdish", "zevî", "ku", "ltr"),
    ],
)
def test_language_and_direction_of_a_task(language: str, reference: str, code: str, direction: str) -> None:
    prediction = Prediction(id="1", task="t", language=language, input="a dry field", prediction="x", references=(reference,))
    task = browser(results(), outputs(prediction)).data["tasks"][0]
    assert (task["language"], task["code"], task["dir"]) == (language, code, direction)
    # The input is English; calling it Hindi would have it read out wrongly.
    assert (task["inputCode"], task["inputDir"]) == ("ku" if code == "ku" else "und", "ltr")


def test_a_language_that_nobody_knows_is_shown_and_scored() -> None:
    made = results().model_copy(update={"tasks": {"t": "Nowherish"}})
    data = browser(made, outputs(row(1, task="t", language="Nowherish"))).data
    assert data["tasks"][0]["code"] == "und"
    assert data["instances"][0]["outputs"][0][2] is not None, "chrF++ needs to know no language"
