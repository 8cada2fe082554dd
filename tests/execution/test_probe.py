"""A plan tries each base once in training and once in decoding, and derives the rest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import small_study as small
from tests.execution.test_run_study import Told
from xeric.bases.base import Base
from xeric.decoding import DecodeOptions
from xeric.errors import ConfigError
from xeric.execution import base_costs, probe
from xeric.execution.cost_estimate import UNSURE, CostEstimate
from xeric.execution.operations import Parts, Size, Speed
from xeric.execution.preview import estimated, preview
from xeric.execution.probe import Shape, parts_of, probe_decoding, probe_training, size_of
from xeric.execution.speeds import Measurement, keep_measurement, kept_measurement
from xeric.methods import METHODS
from xeric.methods.base import method_options

DEFINITIONS = {"one": "Say the words of the input in the reverse order."}


class Counting(Told):
    """Counts what was advanced, by phase."""

    def __init__(self) -> None:
        super().__init__()
        self.units: dict[str, int] = {}
        self.totals: dict[str, int] = {}
        self._phase = ""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        self._phase = phase
        self.totals[phase] = total

    def advance(self, units: int, loss: float | None = None) -> None:
        self.units[self._phase] = self.units.get(self._phase, 0) + units


def plan(tasks: Path, base: Path, out: Path, *overrides: str, told: Told | None = None) -> CostEstimate:
    told = told or Told()
    previewed = preview(small.study(tasks, base, *overrides), out, progress=told)
    assert previewed.estimate is None, "nothing is tried before it is asked for"
    cost = estimated(previewed, progress=told).estimate
    assert cost is not None
    return cost


def test_every_arm_is_estimated_from_one_probe_of_its_base(
    tasks: Path, base: Path, base_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    grids = (
        "grids={settings: {methods: [lora], settings: [zero-shot, few-shot]}, sizes: {methods: [lora, alike], n_train: [40, 50]}}"
    )
    methods = "methods={lora: {name: lora, rank: 2}, alike: {like: lora, method: {rank: 4}}}"
    bases = f"bases={{first: {base}, second: {base_folder('gpt2')}}}"
    told = Counting()
    cost = plan(tasks, base, tmp_path / "out", bases, grids, methods, "tuning=null", "seeds=[0]", told=told)
    keys = [(arm.key.method, arm.key.setting, arm.key.n_train) for arm in cost.arms]
    assert keys == 2 * [
        ("none", "zero-shot", None),
        ("none", "few-shot", None),
        ("lora", "instruction", 40),
        ("lora", "instruction", None),
        ("alike", "instruction", 40),
        ("alike", "instruction", None),
    ]
    trainable = [arm.trainable for arm in cost.arms][:6]
    assert trainable[:2] == [0, 0]
    assert trainable[2] == trainable[3] > 0
    assert trainable[4] == trainable[5] == 2 * trainable[2]
    assert all(arm.seconds > 0 and arm.memory > 2**20 for arm in cost.arms)
    assert [note for note in told.notes if "probing" in note] == [
        "probing first: training (lora)",
        "probing first: decoding",
        "probing second: training (lora)",
        "probing second: decoding",
    ]
    assert told.units["training"] == 2 * told.totals["training"]
    assert told.units["decoding"] == 2 * told.totals["decoding"]
    assert not (tmp_path / "out").exists()


def test_times_follow_from_the_speed_of_the_base(
    tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine where only the optimiser takes time, runs differ as their trainable parameters and steps do."""
    monkeypatch.setattr(base_costs, "probe_training", lambda *_: (Speed(parameter=1.0), 1.0))
    monkeypatch.setattr(base_costs, "probe_decoding", lambda *given: given[-2])
    grids = "grids={methods: {}, sizes: {methods: [full], n_train: [10]}}"
    cost = plan(tasks, base, tmp_path / "out", grids, "run.train={epochs: 2, batch_size: 8}", "run.metrics=[chrf]")
    lora, full, few = cost.arms
    # Two tasks of 40 training instances (10 of their 50 are dev): 10 steps per epoch; of 10 instances each: 3 steps.
    assert lora.seconds == pytest.approx(20 * lora.trainable, rel=1e-3)
    assert full.seconds == pytest.approx(20 * full.trainable, rel=1e-3)
    assert few.seconds == pytest.approx(6 * full.trainable, rel=1e-3)
    assert (lora.runs, full.runs) == (2, 2)
    assert cost.tuning == pytest.approx(2 * (lora.seconds + full.seconds), rel=1e-3)
    whole = 4 * (lora.seconds + full.seconds) + 2 * few.seconds
    assert cost.seconds == pytest.approx(whole, rel=1e-3)
    assert cost.range == (cost.seconds / UNSURE, cost.seconds * UNSURE)


def test_runs_of_single_tasks_are_estimated_by_themselves(
    tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_costs, "probe_training", lambda *_: (Speed(parameter=1.0), 1.0))
    monkeypatch.setattr(base_costs, "probe_decoding", lambda *given: given[-2])
    settings = ("tuning=null", "seeds=[0]", "run.train={epochs: 2, batch_size: 8}", "grids={methods: {methods: [full]}}")
    joint = plan(tasks, base, tmp_path / "joint", *settings)
    apart = plan(tasks, base, tmp_path / "apart", *settings, "joint=false")
    assert (joint.arms[0].runs, apart.arms[0].runs) == (1, 2)
    assert apart.seconds == pytest.approx(joint.seconds, rel=1e-3)


def test_a_stage_that_its_tasks_cannot_fill_is_refused_before_anything_is_tried(tasks: Path, base: Path, tmp_path: Path) -> None:
    told = Told()
    settings = ("tasks=[one]", "sources=[two]", "tuning=null", "stage.data={n_train: 400}", "grids={g: {starts: [stage-1]}}")
    with pytest.raises(ConfigError, match="asks for 400 training instances") as caught:
        plan(tasks, base, tmp_path / "out", *settings, told=told)
    assert caught.value.where == "stage.data.n_train"
    assert not [note for note in told.notes if "probing" in note]
    fitting = plan(tasks, base, tmp_path / "out", *settings[:3], "stage.data={n_train: 40}", settings[4])
    assert fitting.stages > 0


@pytest.mark.parametrize("name", ["lora", "full", "bottleneck", "prefix"])
def test_a_probe_leaves_the_base_as_it_was(name: str, open_base: Callable[[], Base]) -> None:
    base = open_base()
    own = {key for key, _ in base.model.named_parameters()}
    before = {key: value.clone() for key, value in base.model.state_dict().items()}
    size = size_of(base)
    adaptation = METHODS.get(name).attach(base, method_options(name), seed=0, definitions=DEFINITIONS)
    parts = parts_of(adaptation, own)
    told = Counting()
    speed, memory = probe_training(base, adaptation, size, parts, "one", Shape(12, 3, 9, 4), told)
    assert speed.operation > 0
    assert speed.parameter > 0
    assert memory >= 1
    assert all(parameter.grad is None for parameter in adaptation.trainable().values())
    adaptation.detach()
    after = base.model.state_dict()
    assert all(bool((after[key] == value).all()) for key, value in before.items())
    assert told.units == told.totals


def test_a_micro_batch_that_takes_long_enough_is_the_last_one(
    open_base: Callable[[], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine where a micro-batch of a tenth takes seconds, the usual one is not waited for."""
    base = open_base()
    adaptation = METHODS.get("lora").attach(base, method_options("lora"), seed=0, definitions=DEFINITIONS)
    parts = parts_of(adaptation, {key for key, _ in base.model.named_parameters()})
    rows: list[int] = []

    def step_loss(_: Base, batch: list[list[object]]) -> None:
        rows.append(sum(len(group) for group in batch))

    monkeypatch.setattr(probe, "step_loss", step_loss)
    monkeypatch.setattr(probe, "_seconds", lambda _, action: action() or 1.0 + rows[-1] * 0.5)
    speed, _ = probe_training(base, adaptation, size_of(base), parts, "one", Shape(12, 40, 9, 4), Told())
    # 40 rows: one to warm up, then 2, 5 and 10 of them. 5 take long enough, and 10 are the first that are thrice as many as 2.
    assert rows == [1, 2, 5, 10]
    # The second that does not depend on the number of rows is told apart from the half that each of them takes.
    assert speed.batch == pytest.approx(1.0, abs=0.2)
    assert speed.operation > 0


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the share of a core that the process seems to have, whatever else this machine does."""

    def set_share(share: float) -> None:
        monkeypatch.setattr(base_costs.time, "process_time", lambda: share * time.perf_counter())

    return set_share


def test_a_second_plan_takes_the_speed_of_the_first(
    tasks: Path, base: Path, tmp_path: Path, clocks: Callable[[float], None]
) -> None:
    clocks(1.0)
    settings = ("tuning=null", "seeds=[0]", "grids={methods: {methods: [lora]}}")
    first, again, other = Told(), Told(), Told()
    measured = plan(tasks, base, tmp_path / "out", *settings, told=first)
    kept = plan(tasks, base, tmp_path / "out", *settings, told=again)
    assert kept.arms[0].memory == pytest.approx(measured.arms[0].memory, rel=0.3)
    assert not [note for note in again.notes if "probing" in note]
    assert [note for note in again.notes if note.startswith("speed of tiny: as measured at ")]
    plan(tasks, base, tmp_path / "out", *settings, "run.decode.batch_size=4", told=other)
    assert [note for note in other.notes if "probing" in note], "decoded together by fours, it is another speed"


def test_a_speed_that_other_work_disturbed_is_said_to_be_and_not_kept(
    tasks: Path, base: Path, tmp_path: Path, clocks: Callable[[float], None]
) -> None:
    clocks(0.25)
    settings = ("tuning=null", "seeds=[0]", "grids={methods: {methods: [lora]}}")
    for told in (Told(), Told()):
        plan(tasks, base, tmp_path / "out", *settings, told=told)
        assert [note for note in told.notes if "other work left 25% of a core" in note]
        assert [note for note in told.notes if "probing" in note]


def test_a_kept_speed_is_measured_again_after_a_day_or_when_it_is_damaged(tmp_path: Path) -> None:
    what = {"base": "b"}
    measurement = Measurement(Speed(batch=0.5, together=4), 1.25)
    assert kept_measurement(what) is None
    keep_measurement(what, measurement)
    kept = kept_measurement(what)
    assert kept is not None
    assert kept[0] == measurement
    assert kept_measurement({"base": "c"}) is None
    (path,) = (tmp_path / "cache" / "speeds").iterdir()
    yesterday = time.time() - 25 * 3600
    os.utime(path, (yesterday, yesterday))
    assert kept_measurement(what) is None
    path.write_text("{}", encoding="utf-8")
    assert kept_measurement(what) is None


def test_what_a_method_adds_is_what_tokens_pass_through(open_base: Callable[[], Base]) -> None:
    base = open_base()
    own = {key for key, _ in base.model.named_parameters()}
    seconds = {}
    for name in ("full", "lora", "bottleneck", "prefix", "none"):
        adaptation = METHODS.get(name).attach(base, method_options(name), seed=0, definitions=DEFINITIONS)
        total = sum(parameter.numel() for parameter in adaptation.trainable().values())
        seconds[name] = parts_of(adaptation, own), total
        adaptation.detach()
    assert seconds["full"] == (Parts(own=base.parameters), base.parameters)
    for name in ("lora", "bottleneck"):
        assert seconds[name][0] == Parts(added=seconds[name][1])
    # Keys and values stand there; nothing is multiplied by them but what attention does anyway.
    assert seconds["prefix"][0] == Parts()
    assert seconds["prefix"][1] > 0
    assert seconds["none"] == (Parts(), 0)


def test_the_size_of_a_base(open_base: Callable[[str], Base]) -> None:
    """Two layers of width 32: four heads of 8, two of keys and values; 64 inside the feed-forward; 384 tokens, not tied."""
    layer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64 + 2 * 32
    assert size_of(open_base("llama")) == Size(body=2 * layer + 32, head=384 * 32, attention=2 * 32)
    tied = open_base("gpt2")
    assert size_of(tied).head == 384 * 32
    assert size_of(tied).body == tied.parameters - 384 * 32


@pytest.mark.parametrize(
    ("options", "together"),
    [
        (DecodeOptions(batch_size=4), 4),
        (DecodeOptions(strategy="mbr", candidates=2, batch_size=4), 4),
        (DecodeOptions(strategy="beam", beams=3, batch_size=2), 6),
    ],
)
def test_decoding_is_tried_as_the_study_decodes_and_no_text_ends_early(
    options: DecodeOptions, together: int, open_base: Callable[[], Base]
) -> None:
    base, told = open_base(), Counting()
    before = base.eos
    speed = probe_decoding(base, size_of(base), options, 7, Speed(batch=1.0), told)
    assert told.units == told.totals
    assert (speed.together, speed.batch, base.eos) == (together, 1.0, before)
    assert speed.reading > 0
    assert speed.writing > 0


def test_prompts_that_would_take_too_long_are_tried_on_fewer_texts(open_base: Callable[[], Base]) -> None:
    base = open_base()
    assert probe_decoding(base, size_of(base), DecodeOptions(batch_size=16), 7, Speed(operation=5e-6), Told()).together < 16
    assert probe_decoding(base, size_of(base), DecodeOptions(batch_size=16), 7, Speed(operation=1.0), Told()).together == 1


@pytest.mark.parametrize("shape", ["t5", "bart", "bert"])
def test_every_architecture_is_tried(shape: str, open_base: Callable[[str], Base]) -> None:
    base, told = open_base(shape), Counting()
    size = size_of(base)
    assert size.body + size.head <= base.parameters
    own = {key for key, _ in base.model.named_parameters()}
    adaptation = METHODS.get("lora").attach(base, method_options("lora"), seed=0)
    speed, _ = probe_training(base, adaptation, size, parts_of(adaptation, own), "one", Shape(12, 3, 9, 4), told)
    speed = probe_decoding(base, size, DecodeOptions(batch_size=4), 7, speed, told)
    assert told.units == {"training": 6, "decoding": 5}
    assert min(speed.operation, speed.reading, speed.writing) > 0
