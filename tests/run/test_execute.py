"""A run from config to record: what it leaves, that it repeats, and that its folder is its own."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from xeric.data.baselines import baseline_predictions
from xeric.errors import ConfigError, DataError, UserError
from xeric.metrics import METRICS, score_predictions
from xeric.record_io import read_predictions, read_record
from xeric.records import TrivialScores
from xeric.run import baselines, finishing, task_session
from xeric.run.adapted import open_adapted
from xeric.run.config import run_config
from xeric.run.execute import Run, execute, prepare_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    tiny.write_task(folder, "one", instances=100)
    tiny.write_task(folder, "two", instances=60, language="Hindi")
    return folder


@pytest.fixture
def settings(tasks: Path, base_folder: Callable[[str], Path]) -> dict[str, Any]:
    return {
        "tasks": ["one"],
        "tasks_dirs": [str(tasks)],
        "base": str(base_folder("llama")),
        "method": {"name": "lora", "rank": 4},
        "data": {"n_train": 60},
        "prompt": {"demonstrations": 1},
        "train": {"max_steps": 6, "checkpoint_seconds": 0.0},
        "decode": {"max_new_tokens": 8},
        "metrics": ["chrf", "rouge_l"],
        "device": "cpu",
    }


def go(settings: dict[str, Any], folder: Path, **more: Any) -> Run:
    config, _ = run_config({**settings, **more})
    return execute(config, folder)


def contents(folder: Path) -> dict[str, Any]:
    """Every byte of a run folder, ``cost`` and times apart."""
    there = [p for p in folder.rglob("*") if p.is_file() and p.name != "times.jsonl"]
    files: dict[str, Any] = {str(p.relative_to(folder)): p.read_bytes() for p in there}
    record = json.loads(files["record.json"])
    assert record.pop("cost")
    return {**files, "record.json": record}


def test_a_run_leaves_what_the_contract_names(settings: dict[str, Any], tmp_path: Path) -> None:
    run = go(settings, tmp_path / "run")
    logs = {"log.jsonl", "times.jsonl"}
    assert {p.name for p in run.folder.iterdir()} == {
        "config.yaml",
        "record.json",
        "predictions.jsonl",
        "predictions.statistics.npz",
        "adapter",
        *logs,
    }
    raw = json.loads((run.folder / "record.json").read_text())
    assert raw["status"] == "ok"
    assert (raw["planned_steps"], raw["done_steps"]) == (6, 6)
    assert set(raw["scores"]) == {"chrf", "rouge_l"}
    assert set(raw["scores"]["chrf"]) == {"score", "low", "high", "signature"}
    assert set(raw["tasks"]["one"]["scores"]) == {"chrf", "rouge_l"}
    assert 0 < raw["parameters"]["trainable"] < raw["parameters"]["total"]
    assert set(raw["seeds"]) >= {"split", "init", "order", "dropout"}
    assert set(raw["cost"]["seconds"]) >= {"train", "dev", "test"}
    data = raw["tasks"]["one"]["data"]
    assert (data["train"], data["dev"], data["test"]) == (50, 10, 20)
    rows = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 20
    assert all(list(row) == ["id", "task", "language", "input", "prediction", "references"] for row in rows)
    assert run.record == read_record(run.folder)


def test_the_record_keeps_what_needs_no_model(settings: dict[str, Any], tmp_path: Path) -> None:
    """The task says the input's words backwards: targets are as long as inputs, so the whole input is what a run must beat."""
    given = {**settings, "tasks": ["one", "two"], "data": {}, "metrics": ["chrf", "bleu", "length_ratio"]}
    baselines = go(given, tmp_path / "run").record.baselines
    assert list(baselines) == ["copy_input", "first_sentences", "copy_demonstration", "random_training_output"]
    config, _ = run_config(given)
    data = prepare_run(config)
    for name, baseline in baselines.items():
        report = score_predictions(baseline_predictions(name, data, "test", 0), ["chrf", "bleu"], seed=0)
        assert baseline == TrivialScores(scores=report.scores, tasks=report.tasks)
    assert baselines["copy_input"].scores["chrf"].low is not None
    assert (
        baselines["random_training_output"]
        != go({**given, "seed": 1}, tmp_path / "other").record.baselines["random_training_output"]
    )
    assert go({**given, "metrics": ["copy_rate"]}, tmp_path / "third").record.baselines == {}


def test_runs_that_share_data_score_it_once(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    made = baselines.baseline_predictions
    monkeypatch.setattr(baselines, "baseline_predictions", lambda *given: (asked.append((given[0], given[3])), made(*given))[1])
    computed: dict[tuple[object, ...], TrivialScores] = {}
    for seed in (0, 1):
        config, _ = run_config({**settings, "seed": seed})
        execute(config, tmp_path / str(seed), baseline_scores=computed)
    assert sorted(asked) == [
        ("copy_demonstration", 0),
        ("copy_input", 0),
        ("first_sentences", 0),
        ("random_training_output", 0),
        ("random_training_output", 1),
    ]


def test_the_same_run_twice_has_the_same_bytes(settings: dict[str, Any], tmp_path: Path) -> None:
    first, second = (go({**settings, "tasks": ["one", "two"], "data": {}}, tmp_path / name) for name in "ab")
    assert contents(first.folder) == contents(second.folder)
    assert first.record.scores["chrf"].score == pytest.approx(
        sum(task.scores["chrf"].score for task in first.record.tasks.values()) / 2
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process cannot let its peak start anew")
def test_peak_memory_is_that_of_the_run_not_of_the_process(settings: dict[str, Any], tmp_path: Path) -> None:
    large = 2**30
    held = bytearray(large)  # zeros that are written: resident
    for position in range(0, large, 4096):
        held[position] = 1
    during = go(settings, tmp_path / "first").record.cost["peak_memory_bytes"]
    del held
    after = go(settings, tmp_path / "second").record.cost["peak_memory_bytes"]
    assert during > large
    assert 2**20 < after < during - large // 2


def test_a_finished_run_is_not_computed_again(settings: dict[str, Any], tmp_path: Path) -> None:
    run = go(settings, tmp_path / "run")
    (run.folder / "predictions.jsonl").write_text("touched")
    again = go(settings, tmp_path / "run")
    assert run.fresh
    assert not again.fresh
    assert (run.folder / "predictions.jsonl").read_text() == "touched"


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"train": {"max_steps": 5}}, {"method": "full"}, {"data": {"n_train": 59}}, {"data": {"split_seed": 1}}],
)
def test_a_folder_belongs_to_one_run(change: dict[str, Any], settings: dict[str, Any], tmp_path: Path) -> None:
    run = go(settings, tmp_path / "run")
    with pytest.raises(UserError, match="another run") as caught:
        go(settings, tmp_path / "run", **change)
    assert caught.value.exit_code == 2
    assert read_record(run.folder) == run.record


def test_folders_that_are_no_run_are_left_alone(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        go(settings, tmp_path)
    with pytest.raises(UserError, match="not a folder"):
        go(settings, tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_identity_goes_by_contents_not_by_places(settings: dict[str, Any], tmp_path: Path) -> None:
    here = go(settings, tmp_path / "here")
    moved = tmp_path / "elsewhere"
    shutil.copytree(settings["tasks_dirs"][0], moved / "tasks")
    shutil.copytree(settings["base"], moved / "base")
    there = go(settings, tmp_path / "there", tasks_dirs=[str(moved / "tasks")], base=str(moved / "base"))
    assert there.record.run_id == here.record.run_id
    path = moved / "tasks" / "one.json"
    data = json.loads(path.read_text())
    data["Definition"] = ["Say it backwards."]
    path.write_text(json.dumps(data))
    other = go(settings, tmp_path / "other", tasks_dirs=[str(moved / "tasks")])
    assert other.record.run_id != here.record.run_id
    weights = tiny.write_base(moved / "weights", seed=1)
    assert go(settings, tmp_path / "weights", base=str(weights)).record.run_id != here.record.run_id


def test_killed_at_any_moment_and_started_again_ends_with_the_same_bytes(settings: dict[str, Any], tmp_path: Path) -> None:
    """A real process, really killed, twice: once it has a checkpoint, and again a little later."""
    settings = {**settings, "train": {"max_steps": 40, "checkpoint_seconds": 0.0, "dev_every": 5}}
    undisturbed = go(settings, tmp_path / "a")
    code = (
        "import sys, json; from pathlib import Path; from xeric.run.config import run_config;"
        "from xeric.run.execute import execute;"
        "execute(run_config(json.loads(sys.argv[1]))[0], Path(sys.argv[2]))"
    )
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", code, json.dumps(settings), str(tmp_path / "b")], cwd=ROOT)
        before = (tmp_path / "b" / "log.jsonl").stat().st_size if (tmp_path / "b" / "log.jsonl").exists() else 0
        checkpoint = tmp_path / "b" / "checkpoint" / "training.safetensors"
        log = tmp_path / "b" / "log.jsonl"
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if checkpoint.exists() and log.exists() and log.stat().st_size > before + 900:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert read_record(tmp_path / "b") is None
        with pytest.raises(DataError, match="no finished run"):
            open_adapted(tmp_path / "b")
    resumed = go(settings, tmp_path / "b")
    assert resumed.fresh
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert undisturbed.record.run_id == resumed.record.run_id


def test_an_untrained_setting_trains_nothing_and_says_so(settings: dict[str, Any], tmp_path: Path) -> None:
    scores = {}
    for setting in ("zero-shot", "few-shot"):
        config, remarks = run_config({**settings, "prompt": {"setting": setting}})
        assert any("untrained" in remark for remark in remarks)
        record = execute(config, tmp_path / setting).record
        assert (record.method, record.planned_steps, record.done_steps) == ("none", 0, 0)
        assert record.parameters["trainable"] == 0
        scores[setting] = record.tasks["one"].data["demonstrations"]
    assert scores == {"zero-shot": 0, "few-shot": 2}


MARKERS = ["\nInput:", "\nOutput:"]


@pytest.mark.parametrize(
    ("change", "stop"),
    [
        ({"prompt": {"setting": "zero-shot"}}, MARKERS),
        ({"prompt": {"setting": "few-shot"}}, MARKERS),
        ({"method": "none"}, MARKERS),
        ({"prompt": {"setting": "few-shot"}, "decode": {"max_new_tokens": 8, "stop": []}}, []),
        ({}, []),
        ({"decode": {"max_new_tokens": 8, "stop": ["\n"]}}, ["\n"]),
    ],
)
def test_stop_texts_are_the_layouts_own_where_nothing_is_trained(
    change: dict[str, Any], stop: list[str], settings: dict[str, Any], tmp_path: Path
) -> None:
    run = go(settings, tmp_path / "run", **change)
    assert run.record.resolved["decode.stop"] == stop
    assert run.record.resolved["decode.max_new_tokens"] == 8
    assert open_adapted(run.folder).options.stop == tuple(stop)


def test_a_run_cuts_its_texts_at_stop_texts_and_counts_how_they_ended(settings: dict[str, Any], tmp_path: Path) -> None:
    settings = {**settings, "prompt": {"setting": "few-shot"}, "tasks": ["one", "two"], "predict": ["test", "dev"], "data": {}}
    free = go(settings, tmp_path / "free", decode={"max_new_tokens": 8, "stop": []})
    texts = {(row.task, row.id): row.prediction for row in read_predictions(free.folder / "predictions.jsonl")}
    counted = {name: task.data["ended"] for name, task in free.record.tasks.items()}
    assert {name: set(parts) for name, parts in counted.items()} == {"one": {"test", "dev"}, "two": {"test"}}, (
        "two has no dev set"
    )
    assert {name: sum(parts["test"].values()) for name, parts in counted.items()} == {"one": 20, "two": 12}
    assert sum(parts["test"]["stop"] for parts in counted.values()) == 0

    stops = sorted({text.split()[-1] for text in texts.values() if len(text.split()) > 1})[:6]
    cut = go(settings, tmp_path / "cut", decode={"max_new_tokens": 8, "stop": stops})
    rows = read_predictions(cut.folder / "predictions.jsonl")

    def expected(text: str) -> str:
        return text[: min([position for stop in stops if (position := text.find(stop)) >= 0], default=len(text))].strip()

    assert [row.prediction for row in rows] == [expected(texts[row.task, row.id]) for row in rows]
    for name, task in cut.record.tasks.items():
        own = [texts[row.task, row.id] for row in rows if row.task == name]
        ended = task.data["ended"]["test"]
        assert ended["stop"] == sum(any(stop in text for stop in stops) for text in own) > 0
        assert sum(ended.values()) == len(own)
    adapted = open_adapted(cut.folder)
    for name in ("one", "two"):
        own_rows = [row for row in rows if row.task == name]
        assert adapted.generate([row.input for row in own_rows], task=name) == [row.prediction for row in own_rows]
    assert cut.record.run_id != free.record.run_id


def test_an_adaptation_saved_before_there_were_stop_texts_generates_as_it_did(settings: dict[str, Any], tmp_path: Path) -> None:
    run = go(settings, tmp_path / "run", prompt={"setting": "few-shot"}, decode={"max_new_tokens": 8, "stop": []})
    path = run.folder / "adapter" / "adapted.json"
    description = json.loads(path.read_text())
    del description["decode"]["stop"]
    for prompt in description["prompts"].values():
        del prompt["stop"]
    path.write_text(json.dumps(description))
    rows = read_predictions(run.folder / "predictions.jsonl")
    assert open_adapted(run.folder).generate([row.input for row in rows]) == [row.prediction for row in rows]


@pytest.mark.parametrize("what", ["generate_rows", "score_measured"])
def test_what_was_trained_is_saved_before_it_is_decoded_and_scored(
    what: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    whole = go(settings, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(task_session if what == "generate_rows" else finishing, what, fails)
        with pytest.raises(OSError, match="disk full"):
            go(settings, tmp_path / "run")
    assert not (tmp_path / "run" / "record.json").exists()
    rows = read_predictions(whole.folder / "predictions.jsonl")[:4]
    assert open_adapted(tmp_path / "run").generate([row.input for row in rows]) == [row.prediction for row in rows]
    assert contents(go(settings, tmp_path / "run").folder) == contents(whole.folder)


@pytest.mark.parametrize(
    ("language", "left_out"),
    [("Guarani", set()), ("en-US", set()), ("Nowherish", {"wrong_script_rate"}), ("kas", {"wrong_script_rate"})],
)
def test_a_run_in_any_language_is_scored(language: str, left_out: set[str], settings: dict[str, Any], tmp_path: Path) -> None:
    data = tiny.task_data("other", instances=40)
    data["Output_language"] = [language]
    (tmp_path / "other.json").write_text(json.dumps(data), encoding="utf-8")
    own = {"tasks": ["other"], "tasks_dirs": [str(tmp_path)], "data": {"n_train": 20}, "metrics": []}
    record = go({**settings, **own}, tmp_path / "run").record
    assert set(METRICS.names()) - set(record.scores) == left_out
    assert set(record.score_notes) == left_out


def test_an_empty_answer_scores_0(settings: dict[str, Any], tmp_path: Path) -> None:
    stops = [chr(code) for code in range(32, 127)] + ["\n", "\ufffd"]
    run = go(settings, tmp_path / "run", prompt={"setting": "few-shot"}, decode={"max_new_tokens": 8, "stop": stops})
    rows = read_predictions(run.folder / "predictions.jsonl")
    empty = [row for row in rows if not row.prediction]
    assert len(empty) > len(rows) // 2
    assert score_predictions(empty, ["chrf", "rouge_l"]).scores["chrf"].score == 0.0
    assert run.record.tasks["one"].data["test"] == len(rows) == 20


def test_divergence_is_a_result_without_scores(settings: dict[str, Any], tmp_path: Path) -> None:
    run = go(settings, tmp_path / "run", train={"max_steps": 8, "lr": 1e30, "warmup": 0.0, "clip": 0.0})
    assert run.record.status == "diverged"
    assert run.record.scores == {}
    assert run.record.done_steps < run.record.planned_steps
    assert not (run.folder / "predictions.jsonl").exists()
    assert not go(settings, tmp_path / "run", train={"max_steps": 8, "lr": 1e30, "warmup": 0.0, "clip": 0.0}).fresh


def test_selection_by_chrf_and_small_sets_without_dev(settings: dict[str, Any], tmp_path: Path) -> None:
    by_chrf = go(settings, tmp_path / "chrf", train={"max_steps": 8, "select": "chrf", "dev_every": 4})
    assert by_chrf.record.best_step in (4, 8)
    small = go(settings, tmp_path / "small", data={"n_train": 20})
    assert small.record.tasks["one"].data["dev"] == 0
    assert (small.record.best_step, small.record.done_steps) == (None, 6)


def test_a_finished_run_generates_what_it_predicted(settings: dict[str, Any], tmp_path: Path) -> None:
    run = go({**settings, "tasks": ["one", "two"], "data": {}}, tmp_path / "run")
    adapted = open_adapted(run.folder)
    for task in ("one", "two"):
        rows = [row for row in read_predictions(run.folder / "predictions.jsonl") if row.task == task]
        assert adapted.generate([row.input for row in rows], task=task) == [row.prediction for row in rows]
    with pytest.raises(UserError, match="2 tasks"):
        adapted.generate(["x"])
    with pytest.raises(UserError, match="unknown task"):
        adapted.generate(["x"], task="tow")


def test_a_run_refuses_a_base_with_other_weights(settings: dict[str, Any], tmp_path: Path) -> None:
    run = go(settings, tmp_path / "run")
    other = tiny.write_base(tmp_path / "base", seed=3)
    with pytest.raises(DataError, match="other weights"):
        open_adapted(run.folder, base=str(other))


def test_an_open_base_is_left_as_it_was_found(settings: dict[str, Any], tmp_path: Path, open_base: Callable[[str], Any]) -> None:
    base = open_base("llama")
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    for method in ("full", "lora"):
        config, _ = run_config({**settings, "method": method})
        execute(config, tmp_path / method, base=base)
        after = base.model.state_dict()
        assert set(after) == set(before)
        assert all((after[name] == before[name]).all() for name in before)


def test_settings_that_no_run_can_have(settings: dict[str, Any], tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"method": {"name": "lora", "rnk": 3}}, "method.rnk"),
        ({"method": {"name": "lroa"}}, "unknown method"),
        ({"method": {"name": "lora", "rank": 0}}, "method.rank"),
        ({"train": {"lr": "fast"}}, "train.lr"),
        ({"train": {"max_step": 3}}, "train.max_step"),
        ({"prompt": {"setting": "instrution"}}, "prompt.setting"),
        ({"metrics": ["rouge"]}, "unknown metric"),
        ({"precision": "fp8"}, "precision"),
        ({"tasks": []}, "tasks"),
        ({"device": "gpu"}, "unknown device"),
        ({"seed": True}, "seed"),
    ]
    for change, expected in cases:
        with pytest.raises(UserError, match=expected.replace(".", r"\.")):
            run_config({**settings, **change})
    with pytest.raises(DataError, match="no room for an input"):
        go(settings, tmp_path / "x", decode={"max_new_tokens": 250})


def test_groups_named_by_a_column_stay_on_one_side(settings: dict[str, Any], tmp_path: Path) -> None:
    data = tiny.task_data("grouped", instances=90)
    for number, instance in enumerate(data["Instances"]):
        instance["customer"] = f"c{number % 12}"
    (tmp_path / "grouped.json").write_text(json.dumps(data))
    config, _ = run_config(
        {**settings, "tasks": ["grouped"], "tasks_dirs": [str(tmp_path)], "data": {"group_column": "customer"}}
    )
    (task,) = prepare_run(config).tasks
    customers = {i["id"]: i["customer"] for i in data["Instances"]}
    sides = [{customers[i.id] for i in side} for side in (task.train, task.dev, task.test)]
    assert all(sides)
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert not sides[0] & sides[1]
    # The files of `tasks import` hold groups under another key than the table did.
    config, _ = run_config({**settings, "tasks": ["grouped"], "tasks_dirs": [str(tmp_path)], "data": {"group_column": "client"}})
    with pytest.raises(ConfigError, match="no instance has the key 'client'") as caught:
        prepare_run(config)
    assert "'group'" in (caught.value.hint or "")


def test_a_run_keeps_its_id_when_settings_are_added_to_xeric() -> None:
    """The id that version 5 of results gives these settings, with or without newer ones; folders are found by it."""
    from xeric.run.config import run_config, run_id

    settings = {"tasks": ["one"], "base": "x", "method": {"name": "lora"}, "device": "cpu", "precision": "fp32"}
    config, _ = run_config(settings | {"stages": [{"tasks": ["two"], "method": {"name": "full"}}]})
    assert run_id(config, "data", {"weights": "w"}, ["s"]) == "1e4036266e983953"
    timed, _ = run_config(settings | {"train": {"seconds": 60.0}})
    assert run_id(timed, "data", {}) != run_id(run_config(settings)[0], "data", {})
