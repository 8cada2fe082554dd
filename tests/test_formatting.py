"""Numbers as people read them, at the edges where rounding misleads."""

from __future__ import annotations

import pytest

from xeric import formatting


@pytest.mark.parametrize(
    ("value", "text"), [(-0.04, "0.0"), (0.0, "0.0"), (-0.05001, "−0.1"), (99.96, "100.0"), (-12.34, "−12.3")]
)
def test_number_is_never_minus_zero(value: float, text: str) -> None:
    assert formatting.number(value) == text


def test_signed_gives_a_sign_only_to_what_is_seen() -> None:
    assert [formatting.signed(v) for v in (0.04, 0.05001, -0.3)] == ["0.0", "+0.1", "−0.3"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "0 s"),
        (0.04, "< 0.1 s"),
        (0.44, "0.4 s"),
        (2.0, "2 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (60.0, "1 min"),
        (125.4, "2 min 5 s"),
        (599.6, "10 min"),
        (605.0, "10 min"),
        (3599.7, "1 h"),
        (3600.0, "1 h"),
        (11_100, "3 h 5 min"),
        (86_399.0, "24 h"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0, "0"), (812, "812"), (999.9, "1k"), (118_000, "118k"), (999_950, "1M"), (5_120_000, "5.12M")],
)
def test_count(value: float | None, text: str) -> None:
    assert formatting.count(value) == text


def test_count_to_two_figures_makes_bases_of_nearly_one_size_one() -> None:
    assert [formatting.count(size, 2) for size in (5_300_000, 5_310_000, 268_098_176, 994_900)] == [
        "5.3M",
        "5.3M",
        "268M",
        "995k",
    ]


def test_interval_needs_both_ends() -> None:
    assert formatting.estimate(1.0, None, None) == "1.0"
    assert formatting.estimate(1.0, -0.5, None) == "1.0"
    assert formatting.estimate(1.0, -0.5, 2.0) == "1.0 [−0.5, 2.0]"


def test_p_value_is_never_0() -> None:
    assert [formatting.p_value(p) for p in (0.0, 0.0009, 0.05, 1.0)] == ["< 0.001", "< 0.001", "0.050", "1.000"]


@pytest.mark.parametrize(("size", "text"), [(None, ""), (0, "0 MiB"), (300 * 2**20, "300 MiB"), (3 * 2**29, "1.5 GiB")])
def test_data_size(size: float | None, text: str) -> None:
    assert formatting.data_size(size) == text
