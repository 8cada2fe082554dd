"""What a run has to compute, counted on rows that are given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests import small_study as small
from xeric.bases.loading import load_base
from xeric.data.rows import EncodedTask, InstanceRow, PrefixRow
from xeric.decoding import DecodeOptions
from xeric.execution.operations import (
    Parts,
    Row,
    Size,
    Speed,
    Work,
    batch_work,
    epoch_batches,
    reading_operations,
    training_operations,
)
from xeric.execution.probe import Shape
from xeric.execution.workload import Counts, counts_of, decoding_of, encoded_sample, training_of
from xeric.run.config import run_config
from xeric.run.execute import prepare_run
from xeric.studies.config import ArmKey
from xeric.studies.plan import arm_settings
from xeric.training.options import TrainOptions


def encoded(task: str, prefix: int, *rows: tuple[int, int]) -> EncodedTask:
    """A task of rows with so many tokens, and so many of them targets."""
    made = [InstanceRow(str(n), 0, (5,) * tokens, (3,) * tokens, tokens - targets) for n, (tokens, targets) in enumerate(rows)]
    return EncodedTask(task, (PrefixRow(task, (5,) * prefix, (1,) * prefix, 0),), tuple(made))


ENCODED = {"a": encoded("a", 10, (6, 2), (6, 2)), "b": encoded("b", 30, (8, 4))}
COUNTS = {"a": Counts(6, 3, 5), "b": Counts(2, 0, 40)}


def test_training_goes_through_all_rows_as_often_as_planned() -> None:
    options = TrainOptions(epochs=3, batch_size=4, micro_batch_size=2, select="loss")
    work = training_of(ENCODED, COUNTS, options, batching="shared")
    assert work is not None
    rows = [Row("a", 10, 6, 2)] * 6 + [Row("b", 30, 8, 4)] * 2
    batches = epoch_batches(rows, batch_size=4, micro_batch_size=2, batching="shared")
    epoch = sum((batch_work(batch, "shared") for batch in batches), Work())
    assert work.steps == 3 * 2
    assert work.step == epoch * 0.5
    assert work.looks == 3, "once per epoch"
    assert work.look == batch_work([Row("a", 10, 6, 2)] * 3, "shared")
    assert list(work.largest) in batches
    assert work.shape == Shape(prefix=15, rows=round(8 / epoch.batches), tokens=6, targets=2)
    assert training_of(ENCODED, COUNTS, TrainOptions(max_steps=0), batching="shared") is None
    nothing = {"a": Counts(0, 0, 5), "b": Counts(0, 0, 5)}
    assert training_of(ENCODED, nothing, options, batching="shared") is None


def test_what_settings_change_in_training() -> None:
    def of(**options: object) -> object:
        return training_of(ENCODED, COUNTS, TrainOptions(max_steps=8, batch_size=4, **options), batching="packed")  # type: ignore[arg-type]

    usual = of()
    plain = training_of(ENCODED, COUNTS, TrainOptions(max_steps=8, batch_size=4), batching="plain")
    assert usual.step.tokens < plain.step.tokens  # type: ignore[attr-defined, union-attr]
    assert (of(select="loss", dev_every=3).looks, of(select="loss").looks, usual.looks) == (3, 4, 0)  # type: ignore[attr-defined]


def test_texts_are_decoded_in_batches_of_a_task() -> None:
    work = decoding_of(ENCODED, {"a": 5, "b": 40}, DecodeOptions(batch_size=32), context=256, shared=True)
    reads = batch_work([Row("a", 10, 4, 1)] * 5, "shared") + batch_work([Row("b", 30, 4, 1)] * 40, "shared")
    assert (work.prompts, work.batches, work.sequences, work.new) == (reads, 1 + 2, 15.0, 4)
    speed, size = Speed(reading=0.001, writing=0.2, together=32), Size(100, 50, 3)
    expected = 0.001 * reading_operations(size, reads) + 3 * 4 * 0.2
    assert work.seconds(speed, size, Parts()) == pytest.approx(expected)
    assert decoding_of(ENCODED, {"a": 0, "b": 0}, DecodeOptions(), context=256, shared=True).seconds(speed, size, Parts()) == 0


def test_candidates_and_beams_are_sequences_of_their_own() -> None:
    mbr = decoding_of(ENCODED, {"a": 8}, DecodeOptions(strategy="mbr", candidates=4, batch_size=16), context=256, shared=True)
    assert (mbr.batches, mbr.sequences) == (2, 16)
    beam = decoding_of(ENCODED, {"a": 8}, DecodeOptions(strategy="beam", beams=3, batch_size=4), context=256, shared=True)
    assert (beam.batches, beam.sequences) == (2, 12)
    limited = decoding_of(ENCODED, {"a": 8}, DecodeOptions(max_new_tokens=50), context=256, shared=True)
    assert limited.new == 50


def test_a_run_takes_its_steps_and_the_optimiser() -> None:
    work = training_of(ENCODED, COUNTS, TrainOptions(max_steps=6, batch_size=4), batching="shared")
    assert work is not None
    size, parts = Size(100, 50, 3), Parts(added=10)
    speed = Speed(batch=0.5, operation=0.001, parameter=0.01)
    step = 0.5 * work.step.batches + 0.001 * training_operations(size, work.step, parts) + 0.01 * 70
    assert work.seconds(speed, size, parts, 70, recomputing=False) == pytest.approx(6 * step)


def test_rows_are_those_of_an_arm_prompts_and_sizes(tasks: Path, base: Path) -> None:
    study = small.study(tasks, base)
    opened = load_base(str(base), device="cpu", precision="fp32")
    config, _ = run_config(arm_settings(study, ArmKey(base="tiny", method="lora"), study.tasks))
    data = prepare_run(config)
    lengths = {}
    for setting in ("zero-shot", "few-shot", "instruction"):
        key = (
            ArmKey(base="tiny", method="none", setting=setting)
            if setting != "instruction"
            else ArmKey(base="tiny", method="lora")
        )
        asked, _ = run_config(arm_settings(study, key, study.tasks))
        made = encoded_sample(opened, asked, data)
        assert set(made) == {"one", "two"}
        lengths[setting] = len(made["one"].prefix_of(made["one"].rows[0]).ids)
    assert lengths["zero-shot"] < lengths["few-shot"] == lengths["instruction"]
    (one, two) = data.tasks
    assert counts_of(one, None) == Counts(40, 10, 6)
    assert counts_of(one, 25) == Counts(25, 0, 6), "no dev below 50 examples"
    assert counts_of(two, 60) == Counts(48, 12, 6)
    untrained = replace(one, train=(), dev=())
    assert counts_of(untrained, None) == Counts(0, 0, 6)
    assert encoded_sample(opened, asked, replace(data, tasks=(untrained,)))["one"].rows, "counted on test inputs"
