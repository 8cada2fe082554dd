"""Every engine of the speed bench that can run here, on a tiny base: the same losses, the same texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.speed import decoding, rows, scoring, study, training
from bench.speed.design import STUDY, Cell
from tests import tiny

TASK = "reversal"
CELL = {"demonstrations": 1, "batch": 4, "rows": "short"}
STEPS = 4


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("speed")
    base = tiny.write_base(folder / "base", "llama", max_position_embeddings=512)
    tiny.write_task(folder / "tasks", TASK)
    job = {
        "base": str(base),
        "task": TASK,
        "tasks_dir": [str(folder / "tasks")],
        "training": [CELL, {**CELL, "rows": "long"}],
        "decoding": [{"demonstrations": 1, "batch": 3, "rows": "short"}],
        "steps": STEPS,
        "texts": 5,
        "new": 6,
        "study": [TASK],
        "gguf": "",
        "lora": str(folder / "lora.safetensors"),
    }
    result = rows.prepare(job)
    return {**result, "base": str(base), "lora": job["lora"], "tasks_dir": job["tasks_dir"]}


def job_of(prepared: dict[str, Any], engine: str, **more: Any) -> dict[str, Any]:
    common = {key: prepared[key] for key in ("base", "folder", "eos", "pad", "lora", "tasks_dir")}
    return {**common, "engine": engine, "precision": "fp32", "threads": 1, **more}


def test_a_row_is_in_as_many_steps_as_any_other_and_long_rows_are_longer(prepared: dict[str, Any]) -> None:
    short, long = prepared["training"]
    assert Cell(**CELL).label == "1 demonstrations, batch 4, short rows"
    assert all(len(step) == CELL["batch"] for made in (short, long) for step in made["order"])
    assert len({row for step in short["order"] for row in step}) == STEPS * 4
    assert short["prefix"] == long["prefix"]
    mean = [sum(len(ids) for ids, _ in made["rows"]) / len(made["rows"]) for made in (short, long)]
    assert 2 < mean[1] / mean[0] < 3


@pytest.mark.parametrize("engine", [name for name in training.ENGINES if name != "ours"])
def test_every_engine_trains_on_the_same_rows_from_the_same_weights(
    prepared: dict[str, Any], engine: str, tmp_path: Path
) -> None:
    if engine.startswith("TRL"):
        pytest.importorskip("trl", reason="the extra `bench` is not installed")
    given = {**prepared["training"][0], "batch": CELL["batch"], "output": str(tmp_path)}
    ours = training.train(job_of(prepared, "ours", **given))
    theirs = training.train(job_of(prepared, engine, **given))
    assert len(ours["losses"]) == len(ours["seconds"]) == len(theirs["losses"]) == len(theirs["seconds"]) == STEPS
    assert ours["losses"][-1] != pytest.approx(ours["losses"][0], abs=1e-3)
    assert theirs["losses"] == pytest.approx(ours["losses"], abs=1e-4)


@pytest.mark.parametrize("engine", [*(name for name in decoding.ENGINES if name.startswith("generate")), "continuous batching"])
def test_transformers_writes_what_ours_writes(prepared: dict[str, Any], engine: str) -> None:
    given = {**prepared["decoding"][0], "batch": 3, "new": 6}
    ours = decoding.decode(job_of(prepared, "ours", **given))
    assert len(set(ours["texts"])) > 1
    assert decoding.decode(job_of(prepared, engine, **given))["texts"] == ours["texts"]


def test_a_text_ends_before_its_end_token() -> None:
    assert decoding.up_to_end([5, 6, 2, 7], [2]) == [5, 6]
    assert decoding.up_to_end([5, 6], [2]) == [5, 6]


def test_the_study_gets_the_texts_that_ours_uses(prepared: dict[str, Any]) -> None:
    (task,) = prepared["study"]
    assert (len(task["train"]), len(task["test"])) == (24, 12)
    assert len(task["demonstrations"]) == 2
    assert not {given for given, _ in task["train"]} & {given for given, _ in task["test"]}


@pytest.mark.parametrize("engine", ["ours", "script"])
def test_a_study_trains_decodes_and_scores_every_method_on_every_task(
    prepared: dict[str, Any], engine: str, tmp_path: Path
) -> None:
    job = job_of(prepared, engine, study=prepared["study"], output=str(tmp_path / "out"))
    assert study.carry_out(job) == {"runs": len(STUDY["methods"]), "texts": len(STUDY["methods"]) * STUDY["max_test"]}


def test_plain_calls_and_ours_count_alike() -> None:
    given = {"task": "summarization_en", "tasks_dir": [], "pairs": 40}
    ours, plain = (scoring.score({**given, "engine": engine})["scores"] for engine in ("ours", "plain"))
    assert list(ours) == list(plain) == list(scoring.METRICS)
    for metric in ("bleu", "chrf"):
        assert plain[metric] == pytest.approx(ours[metric], abs=1e-6)
    # rouge-score takes its mean over resamples, and METEOR here reads words between spaces.
    assert plain["rouge_l"] == pytest.approx(ours["rouge_l"], abs=3)
    assert plain["meteor"] == pytest.approx(ours["meteor"], abs=6)
