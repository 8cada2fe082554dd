"""A report is made from a folder alone: whole, again the same, without torch, and only where there is a study."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.made_study import changed, write_study
from tests.report.made import HOSTILE, NEWEST, make_study, results, settle
from xeric.analysis.results import StudyResults
from xeric.cli.main import run
from xeric.errors import UserError
from xeric.json_io import write_json, write_jsonl
from xeric.record_io import read_predictions
from xeric.report import Written, write_report
from xeric.report.reading import read_outputs, read_results

ROOT = Path(__file__).parents[2]


def content(folder: Path, files: tuple[Path, ...]) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_everything_is_written_and_twice_the_same(written: Written, folder: Path, tmp_path: Path) -> None:
    make_study(tmp_path)
    again = write_report(tmp_path)
    first, second = content(folder, written.files), content(tmp_path, again.files)
    assert first == second
    assert list(first)[:2] == ["report.html", "report.md"]
    assert {f"tables/table-1.{ending}" for ending in ("md", "csv", "tex")} | {"figures/figure-2.svg", "tables/claims.csv"} <= set(
        first
    )
    assert not list(folder.rglob("*.part"))


def test_markdown_has_every_part_and_no_raw_markup(folder: Path) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    for heading in (
        "Claims",
        "Tables",
        "Figures",
        "Recommendation",
        "Trivial baselines",
        "Tuning",
        "Stability",
        "Failed runs",
        "Provenance",
    ):
        assert f"## {heading}\n" in text
    assert "<b " not in text
    assert "prefix-s0" in text
    assert "0 beside dev, 44 too long" in text
    for arm in text.splitlines():
        if arm.startswith("!["):
            assert (folder / arm.rpartition("(")[2].rstrip(")")).is_file()


def test_texts_come_from_the_first_finished_seed(tmp_path: Path) -> None:
    make_study(tmp_path, instances=2, hostile=False)
    made = read_results(tmp_path)
    runs = [run.model_copy(update={"status": "diverged"}) if run.id == "lora-s0" else run for run in made.runs]
    by_arm = {output.arm: output for output in read_outputs(tmp_path, made.model_copy(update={"runs": tuple(runs)}))}
    assert by_arm["lora"].seed == 1
    assert list(by_arm["lora"].predictions) == read_predictions(tmp_path / "runs" / "lora-s1" / "predictions.jsonl")
    assert by_arm["full"].seed == 0
    assert by_arm["prefix"].predictions == ()
    assert "diverged, failed" in by_arm["prefix"].why


def test_runs_of_single_tasks_are_one_arm(tmp_path: Path) -> None:
    make_study(tmp_path, instances=2, hostile=False)
    made = read_results(tmp_path)
    whole = read_predictions(tmp_path / "runs" / "lora-s0" / "predictions.jsonl")
    runs = []
    for task in {row.task for row in whole}:
        write_jsonl(tmp_path / "runs" / f"lora-s0-{task}" / "predictions.jsonl", [row for row in whole if row.task == task])
        runs.append(next(run for run in made.runs if run.id == "lora-s0").model_copy(update={"id": f"lora-s0-{task}"}))
    by_arm = {output.arm: output for output in read_outputs(tmp_path, made.model_copy(update={"runs": tuple(runs)}))}
    assert sorted(by_arm["lora"].predictions, key=lambda row: row.id) == sorted(whole, key=lambda row: row.id)


def test_results_are_made_where_they_are_missing_old_or_broken(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", changed(tables={}, figures={}, claims={}, tuning=None), instances=4)
    made = read_results(study)
    path = study / "results.json"
    assert StudyResults.model_validate_json(path.read_bytes()) == made
    write_json(path, made.model_copy(update={"title": "by hand"}))
    settle(study)
    assert read_results(study).title == "by hand"
    record = next(study.glob("runs/*/record.json"))
    os.utime(record, (NEWEST + 9, NEWEST + 9))
    assert read_results(study) == made
    path.write_text('{"name": 3}', encoding="utf-8")
    os.utime(path, (NEWEST + 10, NEWEST + 10))
    assert read_results(study) == made


def test_a_study_as_the_statistics_leave_it_becomes_a_report(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", instances=4, broken={("full", 1): "failed"})
    written = write_report(study)
    assert (written.shown, written.total) == (12, 12)
    text = (study / "report.md").read_text(encoding="utf-8")
    assert "the machine ran out of memory" in text
    assert "mean of BLEU, ROUGE-L and METEOR" in text
    rows = list(csv.DictReader(io.StringIO((study / "tables" / "claims.csv").read_text(encoding="utf-8"))))
    assert {row["claim"] for row in rows} == {"methods", "settings", "bases", "close"}
    assert "rouge_l" not in (study / "figures" / "figure-2.svg").read_text(encoding="utf-8")
    page = (study / "report.html").read_text(encoding="utf-8")
    assert "The same by metric, not corrected" in page
    assert "seeds.multi-lora" not in page  # the spread stands in its table, not as dotted paths


def test_names_of_a_study_file_never_leave_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "study"
    made = make_study(folder, instances=1)
    level = made.figures[1].model_copy(update={"series": made.figures[1].series[2:]})
    names = ["../../escape", "A B", "a b", "निबंध", "tuning"]
    tables = [made.tables[0].model_copy(update={"name": name}) for name in names]
    figures = [level.model_copy(update={"name": name}) for name in names]
    write_json(
        folder / "results.json", made.model_copy(update={"tables": tuple(tables), "figures": tuple(figures), "tuning": ()})
    )
    settle(folder)
    written = write_report(folder)
    assert len(set(written.files)) == len(written.files)
    assert {path.parent for path in written.files} == {folder, folder / "tables", folder / "figures"}
    drawn = {path.name for path in (folder / "figures").iterdir()} - {"all-costs.svg"}
    assert drawn == {"escape.svg", "a-b.svg", "a-b-2.svg", "unnamed.svg", "tuning.svg"}
    assert not list(tmp_path.glob("escape*"))


def test_a_study_with_nothing_but_a_plan_has_a_report(tmp_path: Path) -> None:
    made = results().model_dump() | {"arms": (), "runs": (), "tables": (), "figures": (), "claims": (), "tuning": ()}
    made |= {"recommendation": None, "stability": {}, "detectable": None, "provenance": {}}
    (tmp_path / "study.yaml").write_text("# study x\n", encoding="utf-8")
    write_json(tmp_path / "results.json", made)
    settle(tmp_path)
    written = write_report(tmp_path)
    assert (written.shown, written.total) == (0, 0)
    page = written.files[0].read_text(encoding="utf-8")
    assert "No arm has been scored yet." in page
    assert "<script" not in page


def test_no_study_is_one_sentence_and_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path)]) == 2
    complaint = capsys.readouterr().err.splitlines()
    assert complaint[0].endswith("holds no study")
    assert complaint[1].startswith("hint: ")
    assert len(complaint) == 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError):
        write_report(tmp_path / "nowhere")


def test_the_command_names_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(tmp_path, instances=1, figures=False)
    assert run(["report", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "report.html") in out
    assert "contradicted" in out
    assert run(["report", str(tmp_path), "--json"]) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert (parsed["shown"], parsed["instances"]) == (9, 9)
    assert all(Path(path).is_file() for path in parsed["files"])


def test_no_torch_is_loaded(tmp_path: Path) -> None:
    make_study(tmp_path, instances=1, figures=False)
    code = (
        "import sys; from pathlib import Path; from xeric.report import write_report; write_report(Path(sys.argv[1]));"
        "print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert ran.stdout.strip() == "[]"


def test_hostile_texts_are_never_markup_in_any_file(written: Written) -> None:
    for path in written.files:
        text = path.read_text(encoding="utf-8")
        assert HOSTILE not in text, path
        # In CSV a text is data as it stands.
        assert path.suffix == ".csv" or "<b onmouseover" not in text, path
