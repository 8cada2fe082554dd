"""How often a difference is called: a seeded run of bench/verdict_rates.py in small; full table: docs/concepts/statistics.md."""

from __future__ import annotations

from types import ModuleType

import pytest
import scipy.stats

from tests.scripts import load_script

STUDIES = 200
SIZE = dict(studies=STUDIES, draws=100, tasks=3, instances=30)


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load_script("bench/verdict_rates.py")


def most(rate: float) -> float:
    """The share of calls that a procedure with this rate exceeds once in ten thousand simulations."""
    return float(scipy.stats.binom.ppf(0.9999, STUDIES, rate)) / STUDIES


@pytest.mark.parametrize(
    "world",
    [
        {},
        {"spread": (3.0, 3.0)},
        {"spread": (3.0, 0.3)},
        {"seeds": (3, 0), "spread": (2.0, 0.0)},
        {"seeds": (2, 2), "spread": (2.0, 2.0)},
        {"seeds": (1, 1), "spread": (1.0, 1.0)},
        {"ratio": True},
    ],
)
def test_no_difference_is_called_at_no_more_than_the_nominal_rate(bench: ModuleType, world: dict[str, object]) -> None:
    ours, _, _ = bench.rates(bench.World("null", **world), **SIZE)
    assert ours <= most(0.05)


def test_the_percentile_bootstrap_would_not_pass(bench: ModuleType) -> None:
    _, percentile, _ = bench.rates(bench.World("null", spread=(3.0, 3.0)), **SIZE)
    assert percentile > most(0.05)


def test_a_planted_difference_is_found(bench: ModuleType) -> None:
    ours, _, _ = bench.rates(bench.World("planted", difference=6.0), **SIZE)
    assert ours > 0.8


def test_four_methods_alike_are_rarely_ranked(bench: ModuleType) -> None:
    rates = bench.field_rates(bench.FIELDS[0], **(SIZE | {"studies": 60}))
    assert rates["any link of the chain called wrongly"] <= most(0.05)
    assert rates["whole chain called"] == 0
