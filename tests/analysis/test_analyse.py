"""From a study's folder to its results."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from tests.made_study import STUDY, changed, predictions, write_study
from xeric.analysis.analyse import analyse, current_results
from xeric.analysis.rescore import rescore
from xeric.analysis.results import StudyResults
from xeric.cli import run as command
from xeric.errors import DataError, UserError
from xeric.json_io import write_jsonl
from xeric.metrics import score_predictions
from xeric.record_io import read_predictions
from xeric.report import summary
from xeric.report.markdown import report_markdown
from xeric.report.standard_tables import baseline_table
from xeric.studies.config import ArmKey, ClaimConfig, Grid, StudyConfig, TableConfig
from xeric.studies.folder import StudyFolder

SMALL: dict[str, object] = {
    "grids": {"table-1": Grid(bases=("multi",), methods=("full", "lora"))},
    "tables": {"table-1": TableConfig(title="Table 1", grids=("table-1",), metrics=("chrf",))},
    "figures": {},
    "claims": {
        "methods": ClaimConfig(
            sentence="full > LoRA", chain=(ArmKey(base="multi", method="full"), ArmKey(base="multi", method="lora"))
        )
    },
    "tuning": None,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("studies") / "made")


@pytest.fixture(scope="module")
def results(folder: Path) -> StudyResults:
    return analyse(folder)


def small(**fields: object) -> StudyConfig:
    return changed(**(SMALL | fields))


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


def test_results_are_made_again_where_what_they_were_made_from_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_study(tmp_path / "s", small(seeds=(0, 1)))
    kept = tmp_path / "kept"

    def seeds() -> dict[str, int]:
        assert current_results(root) == analyse(root)
        return {arm.id: arm.seeds for arm in current_results(root).arms if arm.key}

    assert seeds() == {"multi-full": 2, "multi-lora": 2}
    shutil.move(root / "runs" / "multi-lora-s1", kept)
    assert seeds() == {"multi-full": 2, "multi-lora": 1}, "a run that is gone"
    for path in (kept, *kept.iterdir()):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    shutil.move(kept, root / "runs" / "multi-lora-s1")
    assert seeds() == {"multi-full": 2, "multi-lora": 2}, "an old run that came back"
    shutil.rmtree(root / "baselines")
    seeds()
    assert not [arm.id for arm in current_results(root).arms if arm.baseline], "a whole folder that is gone"
    before = (root / "results.json").stat().st_mtime_ns
    current_results(root)
    assert (root / "results.json").stat().st_mtime_ns == before
    monkeypatch.setattr("xeric.analysis.analyse.__version__", "0.0.1")
    current_results(root)
    assert (root / "results.json").stat().st_mtime_ns > before, "another version"


def test_an_old_file_in_the_place_of_another_is_seen(tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", small(seeds=(0, 1)))
    current_results(root)
    record = root / "runs" / "multi-lora-s1" / "record.json"
    diverged = record.read_text(encoding="utf-8").replace('"status": "ok"', '"status": "diverged"')
    old = tmp_path / "record.json"
    old.write_text(diverged, encoding="utf-8")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    time.sleep(0.02)
    shutil.move(old, record)
    assert {run.id: run.status for run in current_results(root).runs}["multi-lora-s1"] == "diverged"


def test_a_copy_of_a_study_has_the_same_results_to_the_byte(tmp_path: Path) -> None:
    root = write_study(tmp_path / "one" / "s", small())
    shutil.copytree(root, tmp_path / "two" / "s", copy_function=shutil.copy)
    texts = []
    for parent in ("one", "two"):
        current_results(tmp_path / parent / "s")
        text = (tmp_path / parent / "s" / "results.json").read_text(encoding="utf-8")
        texts.append(text.replace(str(tmp_path / parent), ""))
    assert texts[0] == texts[1]


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
    assert "Not tuned: every method ran with its documented defaults." in notes
    assert "one run of (multi, lora)" in results.claims[0].scope
    (single,) = [note for note in notes if note.startswith("One run")]
    assert single == "One run of multi, lora: intervals are over test instances alone and do not cover other seeds."
    (every,) = [note for note in analyse(write_study(tmp_path / "one", small(seeds=(0,)))).tables[0].notes if "One run" in note]
    assert every.startswith("One run per method: ")


def test_lines_whose_texts_are_often_cut_off_are_named(results: StudyResults) -> None:
    shares = {arm.id: arm.at_limit for arm in results.arms if arm.key is not None}
    assert shares.pop("multi-zero-shot") == 0.5
    assert set(shares.values()) == {1 / 12}
    notes = [note for figure in results.figures for note in figure.notes if "limit" in note]
    # Figure 2 and the curve over sample sizes show the arm.
    assert notes == ["multi, zero-shot: 50% of its texts end at the limit of new tokens, unfinished (decode.max_new_tokens)."] * 2
    assert not any("limit" in note for table in results.tables for note in table.notes)


def test_what_a_study_file_sets_is_no_documented_default(tmp_path: Path) -> None:
    for number, entry in enumerate(({"name": "full"}, {"method": {"name": "full"}, "train": {"lr": 5e-4}})):
        study = small(methods=small().methods | {"full": entry})
        (note, *_) = analyse(write_study(tmp_path / str(number), study)).tables[0].notes
        assert ("apart from the training settings" in note) == bool(number)


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
    root = write_study(tmp_path / "s", changed(**(SMALL | {"tuning": STUDY.tuning})))
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


def test_recommend_says_what_to_take(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["recommend", str(folder), "--json"]) == 0
    chosen = json.loads(capsys.readouterr().out)
    assert chosen["arm"] == chosen["best"] == "multi-ours"
    assert "multi-lora-n50" not in chosen["dev"]
    assert command(["recommend", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("recommended: multi, ours\nwhy: the best on dev")
    assert "next: xeric train --config" in printed
    (folder / "runs" / "multi-ours-s2" / "adapter").mkdir()
    dev = predictions(STUDY.tasks, "dev 499", 6, 1.0, "")
    write_jsonl(folder / "runs" / "multi-ours-s2" / "dev_predictions.jsonl", dev)
    assert command(["recommend", str(folder)]) == 0
    assert f"next: xeric generate {folder / 'runs' / 'multi-ours-s2'} --input" in capsys.readouterr().out


def test_what_is_recommended_can_be_pasted_into_a_shell_for_every_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_study(tmp_path / "a $study; here", small(joint=False))
    chosen = analyse(root).recommendation
    assert chosen is not None
    commands = [shlex.split(line) for line in chosen.command.splitlines()]
    configs = [Path(words[words.index("--config") + 1]) for words in commands]
    assert [path.parent.name.split("-")[-1] for path in configs] == list(STUDY.tasks)
    assert {path.parent.parent for path in configs} == {root / "runs"}
    assert len({words[words.index("-o") + 1] for words in commands}) == len(STUDY.tasks), "no run in another's folder"
    (configs[0].parent / "adapter").mkdir()
    assert command(["recommend", str(root)]) == 0
    printed = capsys.readouterr().out
    first = printed[printed.index("next: ") :].splitlines()[0].removeprefix("next: ")
    assert shlex.split(first) == ["xeric", "generate", str(configs[0].parent), "--input", "TEXT"]
    assert printed.count("xeric train --config") == len(STUDY.tasks) - 1


def test_nothing_is_recommended_where_nothing_beats_the_baselines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_study(tmp_path / "s", small(), quality=dict.fromkeys(("full", "lora"), 0.0))
    results = analyse(root)
    bars = {arm.label: arm.scores["chrf"].value for arm in results.arms if arm.gates}
    best = max(bars, key=lambda label: bars[label])
    assert command(["recommend", str(root)]) == 0
    printed = capsys.readouterr().out
    for text in (printed.splitlines()[0], summary.findings(results).lower(), report_markdown(results, [], []).lower()):
        assert "nothing is recommended: no arm is shown to beat every trivial baseline" in text
        assert f"{best}, reaches chrf++ {bars[best]:.1f}" in text.lower()
        assert "recommended: multi" not in text
    assert "xeric train" not in printed
    assert "next: take a larger base or more examples" in printed
    assert command(["recommend", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recommended"] is False


def test_baselines_that_are_only_shown_stop_nothing(tmp_path: Path) -> None:
    """A baseline as good as perfect answers makes claims uninformative only where arms are judged against it."""
    root = write_study(tmp_path / "s", small())
    rows = read_predictions(root / "baselines" / "copy_input" / "0" / "predictions.jsonl")
    for name in ("copy_input", "cut_input"):
        perfect = [row.model_copy(update={"prediction": row.references[0]}) for row in rows]
        write_jsonl(root / "baselines" / name / "0" / "predictions.jsonl", perfect)
        results = analyse(root)
        gated = name == "cut_input"
        assert (results.claims[0].verdict == "uninformative") is gated
        assert {arm.beats_baselines for arm in results.arms if arm.key} == {not gated}
        assert results.recommendation is not None
        assert results.recommendation.recommended is not gated
        assert ("the best trivial baseline, cut input, reaches 100.0" in summary.findings(results)) is gated
    assert {arm.id: arm.gates for arm in results.arms} == {
        "multi-full": None,
        "multi-lora": None,
        "copy_input": False,
        "cut_input": True,
        "first_sentences": True,
        "random_training_output": True,
    }
    table = baseline_table(results)
    assert table is not None
    assert [(row[0], row[1]) for row in table.rows][:2] == [("copy input", "no, shown only"), ("cut input", "yes")]
    judged, cut = table.notes
    assert judged.startswith(
        "Arms are judged against: cut input, first sentences, random training output. Shown only: copy input ("
    )
    assert cut.startswith("Inputs and first sentences are cut to the mean length of the task's training targets, in words")
    assert cut.endswith(": mail_en 10, poem_es 10, title_hi 10.")


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


def test_a_choice_that_is_not_shown_to_be_useful_names_those_that_are(tmp_path: Path) -> None:
    """What is cheap and good on dev may be useless on test while another arm is not: no part of the choice, but said."""
    root = write_study(tmp_path / "s", small(), spread=0.0)
    for seed in (0, 1, 2):
        path = root / "runs" / f"multi-full-s{seed}"
        perfect = [
            row.model_copy(update={"prediction": row.references[0]}) for row in read_predictions(path / "dev_predictions.jsonl")
        ]
        write_jsonl(path / "dev_predictions.jsonl", perfect)
        useless = [row.model_copy(update={"prediction": ""}) for row in read_predictions(path / "predictions.jsonl")]
        write_jsonl(path / "predictions.jsonl", useless)
    chosen = analyse(root).recommendation
    assert chosen is not None
    assert (chosen.arm, chosen.recommended) == ("multi-full", True)
    assert chosen.caution == "on test it is not shown to beat every trivial baseline, and (multi, lora) is"


def test_recommend_without_anything_to_choose_by(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_study(tmp_path / "s", small())
    for path in root.glob("runs/*/dev_predictions.jsonl"):
        path.write_text("")
    assert command(["recommend", str(root)]) == 2
    printed = capsys.readouterr().err
    assert "no finished run with dev predictions" in printed
    assert "hint:" in printed
    assert command(["recommend", str(tmp_path)]) == 2


def test_markers_in_labels_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_study(tmp_path / "s", small())
    text = (root / "runs.json").read_text(encoding="utf-8")
    (root / "runs.json").write_text(text.replace("multi, full", "[bold]full[/bold]"), encoding="utf-8")
    assert command(["recommend", str(root)]) == 0
    assert "[bold]full[/bold]" in capsys.readouterr().out


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
