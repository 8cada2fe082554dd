"""What follows from a base that was timed once, on made-up sizes and a made-up machine."""

from __future__ import annotations

import pytest

from xeric.execution.operations import (
    Parts,
    Row,
    Size,
    Speed,
    Work,
    batch_work,
    epoch_batches,
    fitted,
    reading_operations,
    training_operations,
)

SIZE = Size(body=100, head=50, attention=3)
LORA, FULL, NORMS = Parts(added=10), Parts(own=200), Parts(own=7)


def test_a_shared_prefix_is_computed_once_and_seen_by_every_row() -> None:
    rows = [Row("a", 10, 3, 1), Row("a", 10, 5, 3)]
    assert batch_work(rows, "shared") == Work(10 + 2 * 5, 10 * 10 + 2 * 5 * (10 + 5), 4, 1, 2 * 10)
    assert batch_work(rows, "plain") == Work(2 * 15, 2 * 15 * 15, 4, 1)
    # A learned prefix of keys and values is attended to and not computed.
    assert batch_work(rows, "shared", learned=2) == Work(20, 10 * 12 + 10 * 17, 4, 1, 2 * 12)


def test_packed_rows_of_several_tasks_are_not_padded() -> None:
    rows = [Row("a", 10, 3, 1), Row("a", 10, 5, 3), Row("b", 20, 7, 2)]
    pairs = 10 * 12 + 20 * 22 + 3 * 15 + 5 * 17 + 7 * 29
    assert batch_work(rows, "packed", learned=2) == Work(10 + 20 + 3 + 5 + 7, pairs, 6, 1, 12 + 12 + 22)


def test_an_epoch_is_all_its_micro_batches() -> None:
    a, b = Row("a", 10, 5, 2), Row("b", 20, 7, 3)
    batches = epoch_batches([a, a, a, b], batch_size=4, micro_batch_size=2, batching="shared")
    assert sorted(batches) == [[a], [a, a], [b]], "a prefix is computed again for each micro-batch"
    (packed,) = epoch_batches([a, a, a, b], batch_size=4, micro_batch_size=4, batching="packed")
    assert sorted(packed) == [a, a, a, b]


def test_operations_by_hand() -> None:
    work = Work(tokens=20, pairs=250, outputs=4, batches=1)
    reading = 2 * 100 * 20 + 4 * 3 * 250 + 2 * 50 * 4
    assert reading_operations(SIZE, work) == reading == 7400
    assert training_operations(SIZE, work, LORA) == 2 * (reading + 2 * 10 * 20) + 2 * 10 * 20
    # Full fine-tuning makes gradients of every weight, those of the output layer too; norms alone hardly any.
    assert training_operations(SIZE, work, FULL) == 2 * reading + 2 * 100 * 20 + 2 * 50 * 4
    assert training_operations(SIZE, work, NORMS) == 2 * reading + 2 * 7 * 20
    assert training_operations(SIZE, work, LORA, recomputing=True) == training_operations(SIZE, work, LORA) + reading + 400


@pytest.mark.parametrize("tried", [LORA, FULL])
def test_what_was_timed_by_one_method_says_how_long_the_others_take(tried: Parts) -> None:
    """A machine of 0.5 s a micro-batch and 2 ms an operation."""

    def seconds(work: Work, parts: Parts) -> float:
        return 0.5 * work.batches + 0.002 * training_operations(SIZE, work, parts)

    small, large = batch_work([Row("a", 5, 4, 1)], "shared"), batch_work([Row("a", 20, 9, 2)] * 4, "shared")
    points = [(training_operations(SIZE, work, tried), seconds(work, tried)) for work in (small, large)]
    speed = Speed(*fitted(points))
    batches = epoch_batches([Row("a", 30, 12, 5)] * 9, batch_size=4, micro_batch_size=2, batching="shared")
    epoch = sum((batch_work(batch, "shared") for batch in batches), Work())
    for parts in (LORA, FULL, NORMS):
        assert speed.training(SIZE, epoch, parts) == pytest.approx(seconds(epoch, parts))
    assert speed.evaluating(SIZE, epoch, LORA) == pytest.approx(0.25 * 5 + 0.002 * reading_operations(SIZE, epoch, 10))


def test_a_probe_that_was_disturbed_goes_by_the_large_micro_batch() -> None:
    assert fitted([(100.0, 1.0), (1000.0, 5.5)]) == pytest.approx((0.5, 0.005))
    assert fitted([(1000.0, 5.0)]) == (0.0, 0.005)
    # The small one longer than the large one, or quicker than its share: no arm of that kind goes through both.
    assert fitted([(100.0, 9.0), (1000.0, 5.0)]) == (0.0, 0.005)
    assert fitted([(100.0, 0.1), (1000.0, 5.0)]) == (0.0, 0.005)


def test_tokens_are_written_for_all_sequences_at_once() -> None:
    speed = Speed(writing=0.3, together=8)
    assert speed.token(SIZE, Parts(), 8) == speed.token(SIZE, Parts(), 3) == 0.3, "the weights are read all the same"
    assert speed.token(SIZE, Parts(), 32) == pytest.approx(1.2)
    assert speed.token(SIZE, Parts(added=15), 8) == pytest.approx(0.3 * 1.1)
