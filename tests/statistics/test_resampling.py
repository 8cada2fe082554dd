"""Intervals, tests and corrections against other programs, direct computation and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from sacrebleu.metrics.bleu import BLEU

from xeric.errors import UserError
from xeric.metrics.bleu import Bleu
from xeric.statistics import resampling
from xeric.statistics.estimates import Estimate, VarianceComponent, of_instances
from xeric.statistics.resampling import (
    Sample,
    correct,
    paired,
    point,
    replicates,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def of(values: object, key: str = "") -> list[Sample]:
    return [Sample.of_values(values, key=key)]  # type: ignore[arg-type]


def interval_of(samples: list[Sample], **choices: int) -> tuple[float, float] | None:
    """The interval of a mean over one sample, as scores and comparisons have it."""
    (sample,) = samples
    variance = replicates(samples, **choices).var(ddof=1)
    component = of_instances(np.array([variance]), [len(sample.rows)]) if len(sample.rows) > 1 else None
    return Estimate(float(point(samples)), VarianceComponent(), component).interval()


def test_interval_of_a_mean_is_students(rng: np.random.Generator) -> None:
    values = rng.gamma(2.0, size=80)
    ours = interval_of(of(values), resamples=20_000)
    theirs = scipy.stats.ttest_1samp(values, 0.0).confidence_interval()
    noise = values.std() / np.sqrt(len(values)) * 0.05
    assert ours == pytest.approx((theirs.low, theirs.high), abs=noise)


def test_bleu_interval_is_that_of_bleu_on_rows_drawn_one_by_one(rng: np.random.Generator) -> None:
    words = ["a", "b", "c", "d", "e", "f"]
    references = [" ".join(rng.choice(words, 8)) for _ in range(40)]
    predictions = [" ".join(rng.choice(words, 4)) + " " + reference[8:] for reference in references]
    metric = Bleu()
    statistics = metric.statistics(predictions, [[reference] for reference in references], references, "en")
    sample = Sample(statistics.rows, metric.score_sums, key="t")
    scores = replicates([sample], resamples=50, seed=3)
    generator = resampling._generator("bootstrap", "t", 3)
    for score, drawn in zip(scores, generator.integers(40, size=(50, 40)), strict=True):
        expected = BLEU(force=True).corpus_score([predictions[i] for i in drawn], [[references[i] for i in drawn]]).score
        assert score == pytest.approx(expected, abs=1e-9)


def test_interval_covers_as_often_as_it_says(rng: np.random.Generator) -> None:
    hits = 0
    for trial in range(300):
        interval = interval_of(of(rng.normal(size=40)), resamples=300, seed=trial)
        assert interval is not None
        hits += bool(interval[0] <= 0 <= interval[1])
    assert 0.90 <= hits / 300 <= 0.98


def test_pairs_are_drawn_together(rng: np.random.Generator) -> None:
    b = rng.normal(size=200)
    a = b + 0.3 + rng.normal(scale=0.5, size=200)
    both, alone = interval_of(paired(of(a), of(b))), interval_of(of(a))
    assert both is not None
    assert alone is not None
    assert 0 < both[0] < 0.3 < both[1] + 0.1
    assert both[1] - both[0] < alone[1] - alone[0]
    assert interval_of(paired(of(a), of(a))) == (0, 0)


def test_samples_are_weighted_and_resampled_apart(rng: np.random.Generator) -> None:
    low, high = Sample.of_values([0.0] * 10, weight=3.0, key="low"), Sample.of_values([8.0] * 5, key="high")
    assert point([low, high]) == 2
    assert set(replicates([low, high], resamples=20).tolist()) == {2.0}
    varied = Sample.of_values(rng.normal(size=30), key="x")
    alone = replicates([varied], resamples=50, seed=1)
    beside = replicates([varied, low], resamples=50, seed=1)
    np.testing.assert_allclose(beside * 4, alone)  # its draws do not depend on what stands beside it


def test_seed_0_is_a_seed(rng: np.random.Generator) -> None:
    sample = of(rng.normal(size=30))
    first, again, other = (replicates(sample, resamples=20, seed=seed) for seed in (0, 0, 1))
    default = replicates(sample, resamples=20)
    assert (first == again).all()
    assert (first != other).any()
    assert (first != default).any()


def test_size_of_chunks_does_not_move_numbers(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    a, b = of(rng.normal(size=33)), of(rng.normal(size=33))
    before = replicates(a, resamples=100), replicates(paired(a, b), resamples=100)
    monkeypatch.setattr(resampling, "_CHUNK", 70)
    np.testing.assert_allclose(replicates(a, resamples=100), before[0])
    np.testing.assert_allclose(replicates(paired(a, b), resamples=100), before[1])


def test_what_cannot_be_resampled_is_refused() -> None:
    sample = of([1.0, 2.0])
    with pytest.raises(UserError, match="0 resamples"):
        replicates(sample, resamples=0)
    with pytest.raises(UserError, match="-1 is no seed"):
        replicates(sample, seed=-1)
    with pytest.raises(ValueError, match="not paired"):
        paired(sample, of([1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match="same key"):
        replicates(sample + sample)
    with pytest.raises(ValueError, match="no rows"):
        replicates([])


def test_corrections() -> None:
    assert correct([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # Holm by hand
    assert correct([0.01, 0.04, 0.03], "bonferroni") == pytest.approx([0.03, 0.12, 0.09])
    assert correct([0.9]) == [0.9]
    assert correct([]) == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        correct([float("nan")])
