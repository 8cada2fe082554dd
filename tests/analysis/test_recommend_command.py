"""What a study recommends, from its folder to what is printed."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Literal

import pytest

from tests.made_study import STUDY, predictions, small, write_study
from xeric.analysis.analyse import analyse
from xeric.cli import run as command
from xeric.json_io import write_jsonl
from xeric.record_io import read_predictions
from xeric.report import summary
from xeric.report.markdown import report_markdown
from xeric.report.standard_tables import baseline_table
from xeric.studies.config import ArmKey, ClaimConfig, Grid


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("studies") / "made")


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


def test_a_control_that_beats_the_baselines_makes_nothing_else_useful(tmp_path: Path) -> None:
    study = small(
        methods={"lora": {"name": "lora"}, "full": {"method": {"name": "full"}, "prompt": {"definition": "shuffled"}}},
        grids={"table-1": Grid(bases=("multi",), methods=("full", "lora"))},
        claims={},
    )
    results = analyse(write_study(tmp_path / "s", study, quality={"lora": 0.0}))
    assert {arm.label: arm.beats_baselines for arm in results.arms if arm.key} == {"multi, full": True, "multi, lora": False}
    assert results.recommendation is not None
    assert results.recommendation.recommended is False


def test_what_a_choice_could_not_be_compared_with_is_named(tmp_path: Path) -> None:
    missing = [("full", 0), ("full", 1), ("full", 2), ("lora", 2)]
    chosen = analyse(write_study(tmp_path / "s", small(), broken=dict.fromkeys(missing, "missing"))).recommendation
    assert chosen is not None
    assert chosen.arm == "multi-lora"
    assert "not all of its runs came to an end (seed 2)" in chosen.caution
    assert "not compared, as they have no scores on dev: (multi, full)" in chosen.caution


def test_a_definition_searched_for_on_dev_is_no_surer_for_its_score_there(tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", small(prompts={"searched": {"search": {}}}))
    runs = json.loads((root / "runs.json").read_text())
    for run in runs:
        if run["arm"]["id"] == "multi-full":
            run["arm"]["key"]["prompt"] = "searched"
    (root / "runs.json").write_text(json.dumps(runs))
    chosen = analyse(root).recommendation
    assert chosen is not None
    assert chosen.arm == "multi-full"
    assert chosen.caution == "its definitions were searched for on the same development data, which flatters its score there"


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


def test_a_task_too_small_for_a_dev_set_takes_no_recommendation_away(tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", small(joint=False))
    for path in root.glob("runs/*-poem_es/dev_predictions.jsonl"):
        path.write_bytes(b"")
    assert analyse(root).recommendation is not None
    shutil.rmtree(root / "runs" / "multi-full-s1-poem_es")
    chosen = analyse(root).recommendation
    assert chosen is not None
    assert set(chosen.dev) == {"multi-full", "multi-lora"}


@pytest.mark.parametrize("why", ["failed", "diverged"])
def test_an_arm_of_lost_runs_is_recommended_with_a_caution(why: Literal["failed", "diverged"], tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", small(), broken={("full", 1): why}, quality={"full": 0.9, "lora": 0.3})
    chosen = analyse(root).recommendation
    assert chosen is not None
    assert chosen.arm == "multi-full"
    assert "not all of its runs came to an end (seed 1)" in chosen.caution


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ({"definition": False}, True),
        ({"definition": "shuffled"}, False),
        ({"definition": "other"}, False),
        ({"demonstration_outputs": "swapped"}, False),
        ({"pictures": "blank"}, False),
    ],
)
def test_a_control_is_never_recommended(prompt: dict[str, object], named: bool, tmp_path: Path) -> None:
    methods = STUDY.methods | {"twin": {"like": "lora", "prompt": prompt}}
    grids = {"table-1": Grid(bases=("multi",), methods=("full", "lora", "twin"))}
    chain = (ArmKey(base="multi", method="full"), ArmKey(base="multi", method="lora"))
    controls = (ArmKey(base="multi", method="twin"),) if named else ()
    claims = {"c": ClaimConfig(sentence="s", chain=chain, controls=controls)}
    root = write_study(tmp_path / "s", small(methods=methods, grids=grids, claims=claims), quality={"full": 0.2, "lora": 0.8})
    chosen = analyse(root).recommendation
    assert chosen is not None
    assert "multi-twin" in {arm.id for arm in analyse(root).arms}
    assert "multi-twin" not in chosen.dev
    assert chosen.arm == "multi-lora"
