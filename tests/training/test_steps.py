"""Which rows a step takes, and how many of them are computed at once."""

from __future__ import annotations

from collections.abc import Callable

from tests import rows
from xeric.bases.base import Base
from xeric.training.options import TrainOptions
from xeric.training.steps import StepPlan


def test_every_row_is_taken_once_per_epoch_and_the_order_follows_the_seed(open_base: Callable[[str], Base]) -> None:
    task = rows.training_rows(open_base("llama"), rows.task("one"))
    plan, again, other = (StepPlan([task], TrainOptions(batch_size=3, epochs=2), seed, "shared") for seed in (0, 0, 1))

    def ids(plan: StepPlan, steps: range) -> list[str]:
        return [row.id for step in steps for batch in plan.batches(step) for _, row in batch]

    first, second = range(plan.per_epoch), range(plan.per_epoch, 2 * plan.per_epoch)
    assert sorted(ids(plan, first)) == sorted(ids(plan, second)) == sorted(row.id for row in task.rows)
    assert ids(plan, first) == ids(again, first)
    assert ids(plan, first) != ids(other, first)


def test_a_step_that_mixes_tasks_computes_fewer_rows_at_once_than_it_has(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    names = ("one", "two", "three", "four")
    tasks = [rows.training_rows(base, rows.task(name, seed=number)) for number, name in enumerate(names)]
    options = TrainOptions(batch_size=4, max_steps=6)
    plan, packed = (StepPlan(tasks, options, 0, batching) for batching in ("shared", "packed"))
    batches = [batch for step in range(6) for batch in plan.batches(step)]
    assert len(plan.largest()) >= max(map(len, batches))
    assert len(StepPlan(tasks[:1], options, 0, "shared").largest()) == 4
    assert StepPlan(tasks, TrainOptions(batch_size=4, max_steps=0), 0, "shared").largest() == []
    # Packed, a step is one micro-batch, of the same rows.
    for step in range(6):
        (together,) = packed.batches(step)
        assert {row.id for _, row in together} == {row.id for batch in plan.batches(step) for _, row in batch}
    assert len(packed.largest()) == 4


def test_what_batching_asks_of_the_rows_is_made_once(open_base: Callable[[str], Base]) -> None:
    """It is asked for at every row of every micro-batch: made anew, thousands of rows would take minutes."""
    made = StepPlan([rows.training_rows(open_base("llama"), rows.task("one"))], TrainOptions(), 0, "packed").rows
    assert made.groups is made.groups
    assert made.lengths is made.lengths
    assert made.prefix_lengths is made.prefix_lengths
