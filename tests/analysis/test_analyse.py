"""From a study's folder to its results."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.made_study import STUDY, small, write_study
from xeric.analysis.analyse import analyse, current_results
from xeric.analysis.rescore import rescore
from xeric.analysis.results import StudyResults
from xeric.errors import DataError, UserError
from xeric.json_io import read_json, write_json, write_jsonl
from xeric.metrics import score_predictions
from xeric.record_io import read_predictions
from xeric.studies.config import ArmKey, ClaimConfig, Grid
from xeric.studies.folder import StudyFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("studies") / "made")


@pytest.fixture(scope="module")
def results(folder: Path) -> StudyResults:
    return analyse(folder)


def test_an_arm_is_the_mean_of_its_runs_scores(folder: Path, results: StudyResults) -> None:
    arm = next(arm for arm in results.arms if arm.id == "multi-lora")
    reports = [
        score_predictions(read_predictions(folder / "runs" / f"multi-lora-s{seed}" / "predictions.jsonl"), resamples=0)
        for seed in STUDY.seeds
    ]
    for metric in ("bleu", "chrf", "meteor", "distinct_2", "copy_rate"):
        scores = [report.scores[metric].score for report in reports]
        assert arm.scores[metric].value == pytest.approx(np.mean(scores))
        hindi = [report.tasks["title_hi"][metric].score for report in reports]
        assert arm.tasks["title_hi"][metric].value == pytest.approx(np.mean(hindi))
        assert arm.languages["Hindi"][metric].value == pytest.approx(np.mean(hindi))
    chrf = arm.scores["chrf"]
    assert chrf.low is not None
    assert chrf.high is not None
    assert chrf.low < chrf.value < chrf.high
    assert arm.scores["distinct_2"].low is None
    assert arm.spread["chrf"] == pytest.approx(np.std([r.scores["chrf"].score for r in reports], ddof=1))
    assert (arm.seeds, arm.trainable, arm.seconds, arm.memory) == (3, 20_000, 21.0, 2**28)


def test_every_arm_and_run_is_there(results: StudyResults) -> None:
    ids = [arm.id for arm in results.arms]
    assert ids[-4:] == ["copy_input", "cut_input", "first_sentences", "random_training_output"]
    assert len(set(ids)) == len(ids) == 13
    assert {arm.id for arm in results.arms if arm.seeds == 1} == {
        "multi-zero-shot",
        "multi-few-shot",
        "copy_input",
        "cut_input",
        "first_sentences",
    }
    assert {run.status for run in results.runs} == {"ok"}
    assert results.tasks == {"mail_en": "English", "poem_es": "Spanish", "title_hi": "Hindi"}
    beaten = {arm.id: arm.beats_baselines for arm in results.arms}
    assert beaten["multi-ours"] is True
    assert beaten["copy_input"] is None


def test_the_planted_order_is_found(results: StudyResults) -> None:
    verdicts = {claim.name: claim.verdict for claim in results.claims}
    assert verdicts["settings"] == verdicts["bases"] == "holds"
    assert verdicts["close"] == "contradicted"
    assert all(claim.scope == "at 5.3M parameters, on these three tasks" for claim in results.claims)
    assert results.detectable is not None
    assert 1 < results.detectable.value < 20


def test_tables(results: StudyResults) -> None:
    tables = {table.name: table for table in results.tables}
    assert [row.label for row in tables["table-1"].rows] == ["multi, full", "multi, lora", "multi, adapter", "multi, ours"]
    assert tables["table-1"].rows[0].published["bleu"] == 32.8
    assert [(row.group, row.arm) for row in tables["languages"].rows][:2] == [
        ("English", "multi-ours"),
        ("English", "mono-ours"),
    ]
    assert tables["tasks"].rows[0].cells["distinct_2"].low is None
    assert any("2 trials" in note for note in tables["table-1"].notes)


def test_figures(results: StudyResults) -> None:
    figures = {figure.name: figure for figure in results.figures}
    few_shot = next(series for series in figures["figure-2"].series if series.label == "multi, few-shot")
    assert [(point.x, point.published) for point in few_shot.points] == [("bleu", None), ("rouge_l", 37.6)]
    assert [point.x for point in figures["figure-3"].series[0].points] == ["English", "Spanish", "Hindi"]
    curves = {series.label: [point.x for point in series.points] for series in figures["sizes"].series}
    assert curves == {label: [50.0, 200.0, 499.0] for label in ("multi, lora", "multi, zero-shot", "multi, few-shot")}
    cost = {series.arm: series.points[0].x for series in figures["cost"].series}
    assert cost["multi-adapter"] == 16.0


def test_provenance_and_tuning(results: StudyResults) -> None:
    provenance = results.provenance
    assert provenance["versions"]["torch"] == "2.9.0"
    assert set(provenance["bases"]) == {"multi", "mono"}
    assert provenance["hosts"] == ["a-host"]
    assert provenance["seconds"] > 500
    assert [(tuning_result.method, tuning_result.chosen) for tuning_result in results.tuning] == [
        ("full", {"train.lr": 1e-3}),
        ("lora", {"train.lr": 1e-3}),
    ]
    assert results.stability["seeds"]["multi-lora"]["chrf"]["seeds"] == 3
    assert "multi-few-shot" not in results.stability["seeds"]


def test_results_are_the_same_again_and_survive_the_file(folder: Path, results: StudyResults, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(folder, copy)
    again = current_results(copy)
    left_out = {"recommendation": {"command"}}  # it names the folder
    assert again.model_dump(exclude=left_out) == results.model_dump(exclude=left_out)
    assert StudyResults.model_validate_json((copy / "results.json").read_bytes()) == again
    before = (copy / "results.json").stat().st_mtime_ns
    assert current_results(copy) == again
    assert (copy / "results.json").stat().st_mtime_ns == before


def test_what_failed_is_shown_and_the_rest_goes_on(tmp_path: Path) -> None:
    broken = {("lora", 1): "failed", ("lora", 2): "diverged", ("full", 0): "missing"}
    results = analyse(write_study(tmp_path / "s", small(), broken=broken))  # type: ignore[arg-type]
    states = {run.id: (run.status, run.error) for run in results.runs if run.status != "ok"}
    assert states == {
        "multi-lora-s1": ("failed", "the machine ran out of memory"),
        "multi-lora-s2": ("diverged", "the loss was no longer finite after 100 of 100 steps"),
        "multi-full-s0": ("missing", None),
    }
    assert {arm.id: arm.seeds for arm in results.arms if arm.key} == {"multi-full": 2, "multi-lora": 1}
    notes = results.tables[0].notes
    assert "multi, lora: 1 of 3 planned runs (failed: seed 1; diverged: seed 2)." in notes
    assert "multi, full: 2 of 3 planned runs (not done: seed 0)." in notes
    assert "Not tuned: every method ran with its documented defaults, apart from the settings that the study file gives." in notes
    assert "one run of (multi, lora)" in results.claims[0].scope
    (single,) = [note for note in notes if note.startswith("One run")]
    assert single == "One run of multi, lora: intervals are over test instances alone and do not cover other seeds."
    (every,) = [note for note in analyse(write_study(tmp_path / "one", small(seeds=(0,)))).tables[0].notes if "One run" in note]
    assert every.startswith("One run per method: ")


def test_a_task_whose_texts_are_cut_off_is_named_where_others_are_short(tmp_path: Path) -> None:
    """The limit fits the targets of all tasks together: those of one long task among many short ones may be beyond it."""
    root = write_study(tmp_path / "s", small())
    for path in root.glob("runs/multi-lora-*/record.json"):
        record = read_json(path)
        for number, task in enumerate(record["tasks"].values()):
            task["data"]["ended"]["test"] = (
                {"eos": 9, "stop": 0, "length": 3} if number == 0 else {"eos": 12, "stop": 0, "length": 0}
            )
        write_json(path, record)
    arm = next(arm for arm in analyse(root).arms if arm.id == "multi-lora")
    assert arm.at_limit == pytest.approx(3 / 36)
    assert arm.cut_tasks == {"mail_en": 0.25}
    notes = [note for table in analyse(root).tables for note in table.notes if "limit" in note]
    assert notes == [
        "multi, lora: 8% of its texts end at the limit of new tokens, unfinished (decode.max_new_tokens; 25% of mail_en)."
    ]


def test_lines_whose_texts_are_often_cut_off_are_named(results: StudyResults) -> None:
    shares = {arm.id: arm.at_limit for arm in results.arms if arm.key is not None}
    assert shares.pop("multi-zero-shot") == 0.5
    assert set(shares.values()) == {1 / 12}
    notes = [note for figure in results.figures for note in figure.notes if "limit" in note]
    # Figure 2 and the curve over sample sizes show the arm.
    by_task = "; ".join(f"50% of {task}" for task in STUDY.tasks)
    cut = f"50% of its texts end at the limit of new tokens, unfinished (decode.max_new_tokens; {by_task})."
    assert notes == [f"multi, zero-shot: {cut}"] * 2
    assert not any("limit" in note for table in results.tables for note in table.notes)


def test_a_study_of_which_nothing_is_done(tmp_path: Path) -> None:
    broken = {(name, seed): "missing" for name in ("full", "lora") for seed in (0, 1, 2)}
    results = analyse(write_study(tmp_path / "s", small(), broken=broken))  # type: ignore[arg-type]
    assert {run.status for run in results.runs} == {"missing"}
    assert [claim.verdict for claim in results.claims] == ["undecided"]
    assert "no scores (not done: seeds 0, 1, 2)" in results.claims[0].reason
    assert results.recommendation is None
    assert results.tables[0].rows[0].cells == {}


def test_twins_are_undecided_and_the_empty_answer_loses(tmp_path: Path) -> None:
    chains = {"twins": ("lora", "twin"), "turned": ("twin", "lora"), "empty": ("lora", "empty"), "lost": ("empty", "lora")}
    study = small(
        methods={name: {"name": "lora"} for name in ("lora", "twin", "empty")},
        grids={"table-1": Grid(bases=("multi",))},
        claims={
            name: ClaimConfig(sentence=name, chain=tuple(ArmKey(base="multi", method=method) for method in chain))
            for name, chain in chains.items()
        },
    )
    verdicts = {claim.name: claim.verdict for claim in analyse(write_study(tmp_path / "s", study)).claims}
    assert verdicts == {"twins": "undecided", "turned": "undecided", "empty": "holds", "lost": "contradicted"}


def test_one_run_a_task_is_the_same_as_one_over_all(tmp_path: Path) -> None:
    joint = analyse(write_study(tmp_path / "joint", small()))
    apart = analyse(write_study(tmp_path / "apart", small(joint=False)))
    assert len(apart.runs) == 3 * len(joint.runs)
    for one, other in zip(joint.arms, apart.arms, strict=True):
        assert (one.scores, one.tasks, one.seeds) == (other.scores, other.tasks, other.seeds)
    lost = write_study(tmp_path / "lost", small(joint=False))
    shutil.rmtree(lost / "runs" / "multi-lora-s1-poem_es")
    assert {arm.id: arm.seeds for arm in analyse(lost).arms if arm.key} == {"multi-full": 3, "multi-lora": 2}


def test_runs_on_other_instances_are_a_users_error(tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", small())
    path = root / "runs" / "multi-lora-s1" / "predictions.jsonl"
    write_jsonl(path, read_predictions(path)[1:])
    with pytest.raises(DataError, match=r"cannot be compared: .*no prediction for the id") as caught:
        analyse(root)
    assert caught.value.where == str(root)


def test_broken_files_are_users_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no study"):
        analyse(tmp_path)
    root = write_study(tmp_path / "s", small(tuning=STUDY.tuning))
    (root / "tuning" / "multi-full" / "tuning.json").write_text('{"method": 3}')
    with pytest.raises(DataError, match="not the result of tuning"):
        analyse(root)
    (root / "tuning" / "multi-full" / "tuning.json").unlink()
    for name in ("predictions.jsonl", "predictions.statistics.npz"):
        (root / "runs" / "multi-lora-s1" / name).unlink(missing_ok=True)
    lost = next(run for run in analyse(root).runs if run.id == "multi-lora-s1")
    assert (lost.status, lost.error) == ("missing", "its predictions are gone")
    (root / "runs" / "multi-lora-s0" / "predictions.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match="line 1"):
        analyse(root)


def test_a_claim_is_gated_on_its_own_metrics(tmp_path: Path) -> None:
    """The right words in the wrong order: a high chrF++, and hardly any BLEU."""
    chain = (ArmKey(base="multi", method="full"), ArmKey(base="multi", method="lora"))
    claims = {metric: ClaimConfig(sentence=metric, chain=chain, metrics=(metric,)) for metric in ("bleu", "chrf")}
    root = write_study(tmp_path / "s", small(claims=claims), quality={"full": 0.6, "lora": 0.3})
    path = root / "baselines" / "cut_input" / "0" / "predictions.jsonl"
    turned = [
        row.model_copy(update={"prediction": " ".join(reversed(row.references[0].split()))}) for row in read_predictions(path)
    ]
    write_jsonl(path, turned)
    results = analyse(root)
    assert {claim.name: claim.verdict for claim in results.claims} == {"bleu": "holds", "chrf": "uninformative"}
    assert {arm.beats_baselines for arm in results.arms if arm.key} == {False}, "in the primary metric, that is"
    assert results.recommendation is not None
    assert not results.recommendation.recommended


def test_rescoring_counts_everything_again_dev_included(tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", small())
    before = analyse(root)
    files = sorted(root.rglob("*.statistics.npz"))
    assert any(path.name == "dev_predictions.statistics.npz" for path in files)
    for path in files:
        path.write_bytes(b"of another time")
    rescore(StudyFolder(root))
    assert not [path for path in files if path.read_bytes() == b"of another time"]
    assert [arm.scores["chrf"] for arm in analyse(root).arms] == [arm.scores["chrf"] for arm in before.arms]


def test_what_a_stage_took_is_a_part_of_an_arms_training(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", small())
    before = {arm.id: arm.seconds for arm in analyse(study).arms if arm.trainable}
    assert before
    for path in study.glob("runs/*/record.json"):
        record = read_json(path)
        record["cost"]["stages"] = {"a": {"seconds": {"train": 9.0, "dev": 1.0, "load": 5.0}}}
        write_json(path, record)
    after = {arm.id: arm.seconds for arm in analyse(study).arms if arm.trainable}
    assert after == {name: pytest.approx((seconds or 0.0) + 10.0) for name, seconds in before.items()}


def test_a_stage_of_runs_by_task_counts_once_and_a_disturbed_run_does_not_count_double(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", small(joint=False))
    before = {arm.id: arm.seconds for arm in analyse(study).arms if arm.trainable}
    for path in study.glob("runs/*/record.json"):
        record = read_json(path)
        record["cost"]["stages"] = {"a": {"seconds": {"train": 3600.0}}}
        if "-s0" in path.parent.name:
            record["cost"]["seconds"]["train"] *= 9
        write_json(path, record)
    after = {arm.id: arm.seconds for arm in analyse(study).arms if arm.trainable}
    tasks = len(STUDY.tasks)
    # Of the seeds 0, 1 and 2 the second's seconds are the median; with the first disturbed it is the third's.
    assert after == {name: pytest.approx((seconds or 0.0) + tasks + 3600.0) for name, seconds in before.items()}


@pytest.mark.parametrize("rows", [None, slice(3)])
def test_rescoring_touches_nothing_where_a_run_has_no_texts_or_others(rows: slice | None, tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", small())
    analyse(root)
    last = sorted(root.glob("runs/*/predictions.jsonl"))[-1]
    texts = read_predictions(last)
    last.unlink()
    if rows is not None:
        write_jsonl(last, texts[rows])  # of one task of three
    before = {path: path.read_bytes() for path in root.glob("runs/*/record.json")}
    with pytest.raises(UserError, match="keeps no predictions to score" if rows is None else "of other tasks than the record"):
        rescore(StudyFolder(root), ["chrf", "bleu", "length_ratio"])
    assert {path: path.read_bytes() for path in root.glob("runs/*/record.json")} == before


def test_what_a_study_file_sets_is_no_documented_default(tmp_path: Path) -> None:
    plain = {**STUDY.methods, "lora": {"name": "lora"}}
    by_hand = (
        {"methods": plain, "run": {"train": {"lr": 0.01}}},
        {"methods": {**plain, "lora": {"name": "lora", "rank": 64}}},
        {"methods": {**plain, "full": {"method": {"name": "full"}, "train": {"lr": 5e-4}}}},
    )
    for number, fields in enumerate(({"methods": plain}, *by_hand)):
        notes = analyse(write_study(tmp_path / str(number), small(**fields))).tables[0].notes
        (note,) = [note for note in notes if note.startswith("Not tuned")]
        assert note.endswith("apart from the settings that the study file gives.") == bool(number)


def test_draws_for_seeds_that_the_study_no_longer_has_do_not_count(tmp_path: Path) -> None:
    whole, fewer = (write_study(tmp_path / name, small(seeds=(0, 1))) for name in ("whole", "fewer"))
    path = fewer / "baselines" / "random_training_output" / "7" / "predictions.jsonl"
    path.parent.mkdir()
    rows = read_predictions(fewer / "baselines" / "random_training_output" / "0" / "predictions.jsonl")
    write_jsonl(path, [row.model_copy(update={"prediction": row.references[0]}) for row in rows])
    drawn = [next(arm for arm in analyse(root).arms if arm.id == "random_training_output") for root in (whole, fewer)]
    assert drawn[0].seeds == drawn[1].seeds == 2
    assert drawn[0].scores["chrf"] == drawn[1].scores["chrf"]
