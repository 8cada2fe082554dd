"""What a plan tries before it says how long a study takes."""

from __future__ import annotations

from pathlib import Path

from tests.studies import small
from tests.studies.test_execute import Told
from xeric.studies.preview import preview


def test_every_line_that_costs_its_own_is_tried_once(tasks: Path, base: Path, tmp_path: Path) -> None:
    grids = (
        "grids={settings: {methods: [lora], settings: [zero-shot, few-shot]}, sizes: {methods: [lora, alike], n_train: [40, 50]}}"
    )
    methods = "methods={lora: {name: lora, rank: 2}, alike: {like: lora, method: {rank: 4}}}"
    told = Told()
    found = preview(
        small.study(tasks, base, grids, methods, "tuning=null", "seeds=[0]"), tmp_path / "out", progress=told
    ).estimate
    assert found is not None
    assert len(told.begun) == 4
    keys = [(line.key.method, line.key.setting, line.key.n_train) for line in found.lines]
    assert keys == [
        ("none", "zero-shot", None),
        ("none", "few-shot", None),
        ("lora", "instruction", 40),
        ("lora", "instruction", None),
        ("alike", "instruction", 40),
        ("alike", "instruction", None),
    ]
    trainable = [line.trainable for line in found.lines]
    assert trainable[:2] == [0, 0]
    assert trainable[2] == trainable[3] > 0
    assert trainable[4] == trainable[5] == 2 * trainable[2]
    assert not (tmp_path / "out").exists()
