"""Numbers as people read them, at the edges where rounding misleads."""

from __future__ import annotations

import pytest

from xeric.analysis.results import Interval
from xeric.report import quantities


@pytest.mark.parametrize(
    ("value", "said"), [(-0.04, "0.0"), (0.0, "0.0"), (-0.05001, "−0.1"), (99.96, "100.0"), (-12.34, "−12.3")]
)
def test_number_is_never_minus_zero(value: float, said: str) -> None:
    assert quantities.number(value) == said


def test_signed_gives_a_sign_only_to_what_is_seen() -> None:
    assert [quantities.signed(v) for v in (0.04, 0.05001, -0.3)] == ["0.0", "+0.1", "−0.3"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, ""),
        (0.0, "0 s"),
        (0.04, "< 0.1 s"),
        (0.44, "0.4 s"),
        (2.0, "2 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (60.0, "1 min"),
        (605.0, "10 min 5 s"),
        (3599.7, "1 h"),
        (3600.0, "1 h"),
        (86_399.0, "24 h"),
    ],
)
def test_duration(seconds: float | None, said: str) -> None:
    assert quantities.duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, ""), (0, "0"), (812, "812"), (999.9, "1k"), (118_000, "118k"), (999_950, "1M"), (5_120_000, "5.12M")],
)
def test_count(value: float | None, said: str) -> None:
    assert quantities.count(value) == said


def test_interval_needs_both_ends() -> None:
    assert quantities.estimate(Interval(value=1.0)) == "1.0"
    assert quantities.estimate(Interval(value=1.0, low=-0.5)) == "1.0"
    assert quantities.estimate(Interval(value=1.0, low=-0.5, high=2.0)) == "1.0 [−0.5, 2.0]"


def test_p_value_is_never_0() -> None:
    assert [quantities.p_value(p) for p in (0.0, 0.0009, 0.05, 1.0)] == ["< 0.001", "< 0.001", "0.050", "1.000"]


def test_flat_keeps_zero_and_false_and_drops_the_empty() -> None:
    values = {"a": {"b": 0, "c": None, "d": []}, "e": False, "f": [1, 2.5], "g": [{"x": 1}, {"x": 2}]}
    assert quantities.flat(values) == [("a.b", "0"), ("e", "no"), ("f", "1, 2.5"), ("g.1.x", "1"), ("g.2.x", "2")]


def test_a_sentence_leaves_a_name_at_its_beginning_alone() -> None:
    assert quantities.sentence("the smallest link  is 0") == "The smallest link is 0."
    assert quantities.sentence("multi, ours has no scores", ["mono", "multi, ours"]) == "multi, ours has no scores."
    assert quantities.sentence("Done.") == "Done."
    assert quantities.sentence("") == ""


def test_metric_names() -> None:
    assert quantities.metric_name("bleu+rouge_l") == "mean of BLEU and ROUGE-L"
    assert quantities.with_metrics("Hindi, chrf") == "Hindi, chrF++"
    assert quantities.with_metrics("chrf_like, x") == "chrf_like, x"
