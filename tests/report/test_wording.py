"""How a report words metrics, settings and sentences."""

from __future__ import annotations

from xeric.report import wording


def test_flat_keeps_zero_and_false_and_drops_the_empty() -> None:
    values = {"a": {"b": 0, "c": None, "d": []}, "e": False, "f": [1, 2.5], "g": [{"x": 1}, {"x": 2}]}
    assert wording.flat(values) == [("a.b", "0"), ("e", "no"), ("f", "1, 2.5"), ("g.1.x", "1"), ("g.2.x", "2")]


def test_a_sentence_leaves_a_name_at_its_beginning_alone() -> None:
    assert wording.sentence("the smallest link  is 0") == "The smallest link is 0."
    assert wording.sentence("multi, ours has no scores", ["mono", "multi, ours"]) == "multi, ours has no scores."
    assert wording.sentence("Done.") == "Done."
    assert wording.sentence("") == ""


def test_metric_names() -> None:
    assert wording.metric_name("bleu+rouge_l") == "mean of BLEU and ROUGE-L"
    assert wording.with_metrics("Hindi, chrf") == "Hindi, chrF++"
    assert wording.with_metrics("chrf_like, x") == "chrf_like, x"
    assert wording.metric_name("of_a_package_now_gone") == "of a package now gone"
