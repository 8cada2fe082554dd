"""A published study holds no text, and everything that its tables and verdicts are made from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import small_study as small
from tests.made_study import changed, write_study
from xeric.analysis.analyse import analyse
from xeric.analysis.rescore import rescore
from xeric.api import run_study
from xeric.cli import run as command
from xeric.errors import StorageError, UserError
from xeric.json_io import read_json, write_json
from xeric.record_io import read_predictions
from xeric.report import write_report
from xeric.studies.config import Grid
from xeric.studies.folder import StudyFolder
from xeric.studies.publishing import publish
from xeric.yaml_io import load_yaml


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = changed(
        grids={"one": Grid(bases=("multi",), methods=("lora", "full"))}, tables={}, figures={}, claims={}, seeds=(0, 1)
    )
    return write_study(tmp_path_factory.mktemp("made") / "study", study, instances=6)


def test_the_same_results_without_any_text(made: Path, tmp_path: Path) -> None:
    publish(StudyFolder(made), tmp_path / "out")
    whole, published = analyse(made), analyse(tmp_path / "out")
    for name in ("arms", "tables", "figures", "claims", "tuning", "stability", "detectable"):
        assert getattr(published, name) == getattr(whole, name)
    assert [run.scores for run in published.runs] == [run.scores for run in whole.runs]
    assert published.recommendation is not None
    assert published.recommendation.dev == (whole.recommendation and whole.recommendation.dev)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    rows = [row for path in made.glob("runs/*/predictions.jsonl") for row in read_predictions(path)]
    assert rows
    for row in rows:
        assert row.input.encode() not in everything
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix == ".jsonl" or path.name == "adapter"]
    written = write_report(tmp_path / "out")
    assert written.total == 0
    assert b"its outputs were not kept" in written.files[0].read_bytes() or written.shown == 0


def test_a_study_goes_on_from_what_was_published(undisturbed: Path, tasks: Path, base: Path, tmp_path: Path) -> None:
    publish(StudyFolder(undisturbed), tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.yaml"):
        assert str(tasks) not in path.read_text()
        assert str(base.parent) not in path.read_text()
    assert load_yaml(tmp_path / "out" / "study.yaml")["bases"] == {"tiny": base.name}
    study = small.study(tasks, base)
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("record.json")}
    done, results = run_study(study, tmp_path / "out")
    assert done.with_status("ok") == [run.id for run in done.plan.runs]
    assert records == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("record.json")}
    assert results is not None
    assert [arm.scores for arm in results.arms] == [arm.scores for arm in analyse(undisturbed).arms]


def test_what_went_on_from_a_published_study_is_published_whole(made: Path, tmp_path: Path) -> None:
    """Runs without texts keep their statistics, beside a run that has its texts."""
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    publish(StudyFolder(made), first)
    shutil.copytree(first, second)
    computed = next(path for path in sorted(made.glob("runs/*/predictions.jsonl")) if path.stat().st_size)
    shutil.copy(computed, second / computed.relative_to(made))
    publish(StudyFolder(second), third)
    published = {path.relative_to(third): path.read_bytes() for path in third.rglob("*") if path.is_file()}
    assert published == {path.relative_to(first): path.read_bytes() for path in first.rglob("*") if path.is_file()}
    assert [run.scores for run in analyse(third).runs] == [run.scores for run in analyse(made).runs]


def test_shared_texts_of_leaks_and_full_paths_stay_here(made: Path, tmp_path: Path) -> None:
    study = shutil.copytree(made, tmp_path / "study")
    run, failed = sorted(study.glob("runs/*/record.json"))[:2]
    leaks = {
        "leaks": 1,
        "between": [{"test_task": "one", "examples": [{"test_id": "1", "training_id": "2", "shared": "secret"}]}],
    }
    record = read_json(run)
    record["leaks"], record["stages"] = leaks, [{"hash": "a", "leaks": leaks}]
    record["cost"]["stages"] = {"a": {"seconds": {"train": 1.0}, "host": "secret", "platform": "secret"}}
    write_json(run, record)
    write_json(
        failed.with_name("failure.json"), {"error": "/data/of/me/one.json: cannot be read", "hint": "see https://a.org/b/c"}
    )
    publish(StudyFolder(study), tmp_path / "public")
    published = read_json(tmp_path / "public" / run.relative_to(study))
    assert published["cost"]["stages"] == {"a": {"seconds": {"train": 1.0}}}
    assert published["leaks"]["between"][0]["examples"] == [{"test_id": "1", "training_id": "2"}]
    assert "secret" not in "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "public").rglob("*.json"))
    failure = read_json(tmp_path / "public" / failed.with_name("failure.json").relative_to(study))
    assert failure == {"error": "one.json: cannot be read", "hint": "see https://a.org/b/c"}


def test_what_cannot_be_published_is_said(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="holds no study"):
        publish(StudyFolder(tmp_path), tmp_path / "out")
    publish(StudyFolder(made), tmp_path / "published")
    with pytest.raises(UserError, match="keeps no predictions to score"):
        rescore(StudyFolder(tmp_path / "published"))
    with pytest.raises(UserError, match="own folder"):
        publish(StudyFolder(made), made)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "study.yaml").write_text("# study fedcba9876543210\n")
    with pytest.raises(UserError, match="holds another study"):
        publish(StudyFolder(made), tmp_path / "other")
    assert command(["study", "publish", str(made), "--to", str(tmp_path / "out")]) == 0
    assert "files in" in capsys.readouterr().out


def test_a_study_that_cannot_be_written_to_can_be_published(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(StudyFolder(made), tmp_path / "expected")
    expected = {path.relative_to(tmp_path / "expected"): path.read_bytes() for path in (tmp_path / "expected").rglob("*.npz")}
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    for path in copy.rglob("*.statistics.npz"):
        path.unlink()

    def refuse(path: Path, _: object) -> None:
        raise StorageError("cannot be written: Read-only file system", where=str(path))

    monkeypatch.setattr("xeric.metrics.stored.write_atomically", refuse)
    publish(StudyFolder(copy), tmp_path / "out")
    assert expected
    assert {path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*.npz")} == expected
