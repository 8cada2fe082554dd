"""What a metric cannot say it does not say: no score, a reason, and no part in means, tests or verdicts."""

from __future__ import annotations

import random

import pytest
from sacrebleu import corpus_bleu

import xeric
from xeric.analysis.claims import Chain, Judged, judge
from xeric.analysis.comparison import resample_arms
from xeric.metrics import compare_predictions, measure, quality_metrics, score_predictions
from xeric.records import Prediction
from xeric.studies.config import ArmKey, ClaimConfig

QUALITY = quality_metrics()


WORDS = [f"word{n}" for n in range(60)]
SHORT = "no reference has the four words that BLEU counts, so that a right answer would score 0"


def rows(task: str, length: int, *, count: int = 12, wrong: float = 0.0, seed: int = 0, language: str = "en") -> list[Prediction]:
    """Answers of a length in words; a share of the words is wrong."""
    texts, errors = random.Random(task), random.Random(f"{task}{seed}")
    made = []
    for number in range(count):
        words = texts.choices(WORDS, k=length)
        prediction = [errors.choice(WORDS) if errors.random() < wrong else word for word in words]
        common = {"id": str(number), "task": task, "language": language, "input": ""}
        made.append(Prediction(**common, prediction=" ".join(prediction), references=(" ".join(words),)))  # type: ignore[arg-type]
    return made


def test_python_users_are_told_too() -> None:
    with pytest.warns(UserWarning, match="bleu \\(t\\): no reference has the four words"):
        assert "bleu" not in xeric.score(rows("t", 2))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_bleu_of_short_answers_is_no_score(length: int) -> None:
    report = score_predictions(rows("t", length))
    assert "bleu" not in report.scores
    assert report.notes == {"bleu": {"t": SHORT}}
    assert report.scores["chrf"].score == report.scores["rouge_l"].score == pytest.approx(100)


def test_that_predictions_are_short_is_no_excuse() -> None:
    silent = [row.model_copy(update={"prediction": "a b"}) for row in rows("t", 6)]
    scores = score_predictions(silent, ["bleu"])
    assert (
        scores.scores["bleu"].score == corpus_bleu(["a b"] * 12, [[row.references[0] for row in silent]], force=True).score == 0
    )
    assert scores.notes == {}


@pytest.mark.parametrize(("language", "text"), [("zh", "今天天气"), ("th", "สวัสดี"), ("en", "it's, well, so")])
def test_words_are_those_of_the_tokenizer(language: str, text: str) -> None:
    row = Prediction(id="1", task="t", language=language, input="", prediction=text, references=(text, "x"))
    assert score_predictions([row], ["bleu"]).scores["bleu"].score == pytest.approx(100)


def test_a_few_long_answers_are_what_bleu_rests_on() -> None:
    """Right answers score 100 in every draw of rows, also in one without a long answer; a note says how few there are."""
    report = score_predictions(
        [*rows("t", 2, count=18), *[row.model_copy(update={"id": f"l{row.id}"}) for row in rows("t", 5, count=2)]]
    )
    bleu = report.scores["bleu"]
    assert (bleu.score, bleu.low, bleu.high) == pytest.approx((100, 100, 100))
    assert report.notes["bleu"] == {"t": "BLEU rests on the 2 of 20 rows that have a reference of four words or more"}


def test_a_mean_is_over_the_tasks_that_a_metric_says_something_on() -> None:
    short, long, other = rows("short", 2, wrong=0.2), rows("long", 8, wrong=0.2), rows("other", 9, wrong=0.4)
    report = score_predictions([*short, *long, *other], QUALITY)
    alone = [score_predictions(predictions, QUALITY).scores for predictions in (short, long, other)]
    assert report.scores["bleu"].score == pytest.approx((alone[1]["bleu"].score + alone[2]["bleu"].score) / 2)
    assert report.scores["chrf"].score == pytest.approx(sum(predictions["chrf"].score for predictions in alone) / 3)
    assert report.scores["bleu"].low is not None
    assert "macro:2 of 3 tasks" in report.scores["bleu"].signature
    assert "macro:3 tasks" in report.scores["chrf"].signature
    assert {task: "bleu" in scores for task, scores in report.tasks.items()} == {"short": False, "long": True, "other": True}
    two = score_predictions([*long, *other], QUALITY)
    assert (report.scores["bleu"].low, report.scores["bleu"].high) == (two.scores["bleu"].low, two.scores["bleu"].high)


def test_within_a_task_the_other_language_counts_whole() -> None:
    english = rows("t", 2)
    spanish = [row.model_copy(update={"id": f"s{row.id}", "language": "es"}) for row in rows("t", 8, wrong=0.3, count=4)]
    both, alone = (score_predictions(given, ["bleu", "chrf"]).scores for given in ([*english, *spanish], spanish))
    assert both["bleu"].score == pytest.approx(alone["bleu"].score)
    assert both["chrf"].score == pytest.approx(0.75 * 100 + 0.25 * alone["chrf"].score)


def test_it_is_not_compared_either() -> None:
    a, b = rows("short", 2, wrong=0.2), rows("short", 2, wrong=0.5, seed=1)
    assert set(compare_predictions(a, b).metrics) == set(QUALITY) - {"bleu"}
    long = rows("long", 8, wrong=0.2), rows("long", 8, wrong=0.3, seed=1)
    metrics = compare_predictions([*a, *long[0]], [*b, *long[1]], ["bleu", "chrf"]).metrics
    alone = compare_predictions(*long, ["bleu", "chrf"]).metrics
    own = ("difference", "low", "high", "p")
    assert [getattr(metrics["bleu"], key) for key in own] == pytest.approx([getattr(alone["bleu"], key) for key in own])
    assert metrics["chrf"].difference != alone["chrf"].difference


def test_a_script_that_nobody_knows_is_not_judged() -> None:
    report = score_predictions(rows("t", 5, language="Nowherish"))
    assert set(report.notes) == {"wrong_script_rate"}
    assert "wrong_script_rate" not in report.scores
    assert report.scores["bleu"].score == pytest.approx(100)


def test_a_verdict_goes_by_what_says_something() -> None:
    """Three lines on a task of short answers and one of long ones, then on short ones alone."""

    def lines_on(*tasks: tuple[str, int]) -> list[object]:
        made = {
            name: {
                seed: measure([r for t in tasks for r in rows(*t, wrong=wrong, seed=seed, count=30)], QUALITY)
                for seed in range(3)
            }
            for name, wrong in (("best", 0.1), ("worst", 0.6))
        }
        lines = resample_arms(made, draws=200)
        silent = tuple(name for name in QUALITY if not lines.says(name))
        keys = tuple(ArmKey(base="b", method=name) for name in made)
        claim = ClaimConfig(sentence="s", chain=keys, metrics=QUALITY)
        return [lines, *judge(lines, [Chain("c", claim, ("best", "worst"), (), silent)], Judged({"best": "B", "worst": "W"}))]

    lines, printed = lines_on(("short", 2), ("long", 8))
    assert printed.verdict == "holds"
    assert "bleu on those of them where it says anything" in printed.scope
    bleu = next(link for link in printed.links if link.metric == "bleu")
    long, _ = lines_on(("long", 8))
    assert bleu.difference.value == pytest.approx(long.difference("best", "worst", ["bleu"]).value)
    chrf = lines.difference("best", "worst", ["chrf"])
    both = lines.difference("best", "worst", ["bleu", "chrf"])
    assert both.value == pytest.approx((bleu.difference.value + chrf.value) / 2)
    assert not lines.says("bleu", lines.weights(task="short"))

    lines, printed = lines_on(("short", 2))
    assert printed.verdict == "holds"
    assert {link.metric for link in printed.links} == {"chrf+rouge_l+meteor", "chrf", "rouge_l", "meteor"}
    assert "without bleu, which says nothing on them" in printed.scope
