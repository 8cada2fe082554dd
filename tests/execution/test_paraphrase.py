"""Other paraphrases of the definitions: decoded from what was trained, never trained for, and their spread."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import small_study as small
from tests.execution.test_run_study import Told
from xeric.analysis.analyse import analyse
from xeric.analysis.rescore import rescore
from xeric.bases.base import Base
from xeric.data.catalog import Catalog
from xeric.data.prompts import build_prompt
from xeric.execution import paraphrase
from xeric.execution.computing import LocalComputer
from xeric.execution.cost_estimate import CostEstimate
from xeric.execution.executor import RunExecutor
from xeric.execution.opening import identify
from xeric.execution.preview import estimated, preview
from xeric.execution.run_study import StudyRun, run_study
from xeric.json_io import write_jsonl
from xeric.locks import acquire
from xeric.record_io import read_predictions
from xeric.records import Prediction
from xeric.run.adapted import Adapted, adapted_on, open_adapted
from xeric.run.config import run_config
from xeric.run.execute import prepare_run
from xeric.run.stage_store import StageStore
from xeric.studies.folder import PlannedRun, StudyFolder
from xeric.studies.paraphrases import paraphrases_of, prediction_files
from xeric.studies.plan import plan_study
from xeric.studies.status import study_status

QUICK = (
    "tuning=null",
    "run.metrics=[chrf]",
    "baselines=false",
    "grids={g: {methods: [lora], settings: [instruction, few-shot]}}",
)
OTHER = {"one": ["Say it again, dawn by dawn.", "Shuffle."], "two": ["नदी के साथ चलो।", "What comes next?"]}


def worded(paraphrases: Mapping[str, list[str]]) -> str:
    return f"paraphrases={json.dumps(paraphrases, ensure_ascii=False)}"


def definitions(tasks: Path) -> dict[str, str]:
    return {name: Catalog.of([str(tasks)]).load(name).definition for name in ("one", "two")}


def files(done: StudyRun) -> dict[str, list[Path]]:
    """Every file of predictions under other paraphrases, by run."""
    by_run = {run.id: sorted((done.folder.run_folder(run.id) / "paraphrases").glob("*.jsonl")) for run in done.plan.runs}
    return {run: paths for run, paths in by_run.items() if paths}


def first_cells(done: StudyRun) -> list[PlannedRun]:
    return [run for run in done.plan.runs if run.seed == 0]


def stamps(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("study.yaml", "results.json")
    }


@pytest.fixture(scope="module")
def done(tasks: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """A study that was finished and then grew by two paraphrases; not to be changed."""
    return run_study(small.study(tasks, base, *QUICK, worded(OTHER)), tmp_path_factory.mktemp("worded") / "study")


def test_predictions_are_those_of_the_run_with_other_definitions(done: StudyRun, tasks: Path) -> None:
    """Made again from the task files by what trained the run: data prepared, prompt built, adaptation opened."""
    for run in first_cells(done):
        run_folder = done.folder.run_folder(run.id)
        adapted = open_adapted(run_folder)
        config, _ = run_config(done.plan.settings(run))
        for number, path in enumerate(prediction_files(run_folder, paraphrases_of(done.plan.study, run))):
            expected = []
            for prepared in prepare_run(config).tasks:
                task = replace(prepared.task, definition=OTHER[prepared.name][number])
                prompt = build_prompt(task, prepared.demonstrations, config.prompt)
                model = replace(adapted, prompts={prepared.name: prompt})
                texts = model.generate([i.input for i in prepared.test])
                expected += [
                    Prediction(
                        id=i.id,
                        task=prepared.name,
                        language=prepared.language,
                        input=i.input,
                        prediction=text,
                        references=i.outputs,
                    )
                    for i, text in zip(prepared.test, texts, strict=True)
                ]
            predictions = read_predictions(path)
            assert predictions == expected
            own = read_predictions(run_folder / "predictions.jsonl")
            assert [row.prediction for row in predictions] != [row.prediction for row in own], (
                "a paraphrase that says nothing tests nothing"
            )


def test_a_definition_in_its_own_words_changes_nothing(tasks: Path, base: Path, tmp_path: Path) -> None:
    """The same text, broken into lines otherwise as YAML does it, gives the same predictions and a spread of 0."""
    same = {name: [f"  {text}\n"] for name, text in definitions(tasks).items()}
    methods = "methods={lora: {name: combined, prefix: {start: instruction, scope: task, length: 4}}}"
    finished = run_study(small.study(tasks, base, *QUICK, methods, worded(same)), tmp_path / "out")
    assert set(analyse(finished.folder.root).stability["definitions"]) == {run.arm.id for run in first_cells(finished)}
    for run in first_cells(finished):
        (path,) = files(finished)[run.id]
        assert path.read_bytes() == (finished.folder.run_folder(run.id) / "predictions.jsonl").read_bytes()
        chrf = analyse(finished.folder.root).stability["definitions"][run.arm.id]["chrf"]
        assert chrf == {"sd": pytest.approx(0), "low": pytest.approx(0), "high": pytest.approx(0), "paraphrases": 2}


def test_a_study_grows_by_paraphrases_and_trains_nothing_again(done: StudyRun, tasks: Path, base: Path, tmp_path: Path) -> None:
    plain, grown = small.study(tasks, base, *QUICK), small.study(tasks, base, *QUICK, worded(OTHER))
    assert identify(plain) == identify(grown)
    assert [run.id for run in plan_study(plain).runs] == [run.id for run in plan_study(grown).runs]
    run_study(plain, tmp_path / "out")
    before = stamps(tmp_path / "out")
    folder = StudyFolder(tmp_path / "out")
    assert study_status(folder).paraphrases == (0, 0)
    told = Told()
    again = run_study(grown, tmp_path / "out", progress=told)
    assert study_status(folder).paraphrases == (4, 4), "two arms, two paraphrases"
    file = files(again)[again.plan.runs[0].id][0]
    file.rename(tmp_path / "away")
    assert study_status(folder).paraphrases == (3, 4)
    (tmp_path / "away").rename(file)
    after = stamps(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert told.begun == [run.id for run in first_cells(again)]
    assert small.contents(tmp_path / "out") == small.contents(done.folder.root), "as if it had had them from the beginning"
    told = Told()
    run_study(grown, tmp_path / "out", progress=told)
    assert told.begun == []
    assert stamps(tmp_path / "out") == after
    assert rescore(again.folder), "what stands beside a run's predictions is in nobody's way"


class _KilledError(BaseException):
    """Stands for a signal: no part of the program catches it."""


def test_a_study_killed_between_two_paraphrases_resumes_with_the_second(
    done: StudyRun, tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, calls = small.study(tasks, base, *QUICK, worded(OTHER), "keep=none"), []

    def write(path: Path, rows: Any) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise _KilledError
        write_jsonl(path, rows)

    with monkeypatch.context() as patch:
        patch.setattr(paraphrase, "write_jsonl", write)
        with pytest.raises(_KilledError):
            run_study(study, tmp_path / "out")
    assert (calls[0].parents[1] / "adapter").is_dir(), "what is needed to go on is still there, also with keep: none"
    before = calls[0].stat().st_mtime_ns
    again = run_study(study, tmp_path / "out")
    assert calls[0].stat().st_mtime_ns == before
    assert not list((tmp_path / "out").rglob("adapter"))
    for run, paths in files(done).items():
        assert [path.read_bytes() for path in files(again)[run]] == [path.read_bytes() for path in paths]


def test_a_run_that_is_made_again_is_decoded_again(done: StudyRun, tasks: Path, base: Path, tmp_path: Path) -> None:
    root = shutil.copytree(done.folder.root, tmp_path / "out")
    (run, *_) = first_cells(done)
    before = {path: path.stat().st_mtime_ns for path in root.glob("runs/*/paraphrases/*")}
    (root / "runs" / run.id / "record.json").unlink()
    again = run_study(small.study(tasks, base, *QUICK, worded(OTHER)), root)
    assert again.with_status("ok") == [planned.id for planned in again.plan.runs]
    assert {path.parts[-3] for path in before if path.stat().st_mtime_ns != before[path]} == {run.id}


def test_what_another_process_decodes_is_waited_for(done: StudyRun, tmp_path: Path) -> None:
    folder = StudyFolder(shutil.copytree(done.folder.root, tmp_path / "out"))
    (run, *_) = first_cells(done)
    run_folder, paraphrases = folder.run_folder(run.id), paraphrases_of(done.plan.study, run)
    settings = done.plan.settings(run)
    lock = acquire(folder.locks_dir, folder.lock_name(run_folder))
    assert lock is not None
    executor = RunExecutor(folder, LocalComputer(StageStore(folder.stages_dir), Told()), Told())
    assert executor.run(run_folder, settings, keep_adapter=True, paraphrases=paraphrases) == done.states[run.id]
    prediction_files(run_folder, paraphrases)[1].unlink()
    assert executor.run(run_folder, settings, keep_adapter=True, paraphrases=paraphrases) is None
    assert executor.run(run_folder, settings, keep_adapter=True) == done.states[run.id], "without it there is nothing to wait for"
    lock.release()
    assert executor.run(run_folder, settings, keep_adapter=True, paraphrases=paraphrases) == done.states[run.id]
    assert all(path.is_file() for path in prediction_files(run_folder, paraphrases))


def test_a_paraphrase_that_changes_is_decoded_again_and_nothing_stale_is_left(
    done: StudyRun, tasks: Path, base: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(done.folder.root, tmp_path / "out")
    kept = {path: path.stat().st_mtime_ns for path in root.glob("runs/*/paraphrases/1-*.jsonl")}
    old = sorted(root.glob("runs/*/paraphrases/2-*.jsonl"))
    changed = small.study(tasks, base, *QUICK, worded(OTHER | {"two": [OTHER["two"][0], "Something else."]}))
    # The file of the study alone says what counts: what is not decoded yet is not shown in place of it.
    StudyFolder(root).write_study(changed, identify(changed))
    assert {definition["chrf"]["paraphrases"] for definition in analyse(root).stability["definitions"].values()} == {2.0}
    finished = run_study(changed, root)
    assert {
        definition["chrf"]["paraphrases"] for definition in analyse(finished.folder.root).stability["definitions"].values()
    } == {3.0}
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [path for path in old if path.exists()] == []
    assert all(len(paths) == 2 for paths in files(finished).values())


def test_what_was_not_kept_is_said_once_and_not_trained_again(tasks: Path, base: Path, tmp_path: Path) -> None:
    run_study(small.study(tasks, base, *QUICK, "keep=none"), tmp_path / "out")
    before, told = stamps(tmp_path / "out"), Told()
    grown = small.study(tasks, base, *QUICK, "keep=none", worded(OTHER))
    finished = run_study(grown, tmp_path / "out", progress=told)
    assert told.begun == []
    assert stamps(tmp_path / "out") == before
    (remark,) = [note for note in told.notes if "paraphrases" in note]
    assert remark.startswith("2 runs are not decoded under the paraphrases")
    gone = next(run for run in first_cells(finished) if run.id in remark)
    assert analyse(finished.folder.root).stability["definitions"] == {}
    shutil.rmtree(finished.folder.run_folder(gone.id))
    told = Told()
    again = run_study(grown, tmp_path / "out", progress=told)
    assert gone.id in files(again), "the remark tells what helps"
    assert any(note.startswith("1 run is not decoded") for note in told.notes)


def test_a_paraphrase_that_does_not_fit_is_a_remark_and_no_failure(tasks: Path, base: Path, tmp_path: Path) -> None:
    long = OTHER | {"one": ["Shuffle.", "word " * 400]}
    told = Told()
    finished = run_study(small.study(tasks, base, *QUICK, "keep=none", worded(long)), tmp_path / "out", progress=told)
    assert finished.with_status("ok") == [run.id for run in finished.plan.runs]
    remarks = [note for note in told.notes if "not decoded" in note]
    assert len(remarks) == len(first_cells(finished))
    assert all("the definition of task 'one' takes" in note for note in remarks)
    assert all([path.name[0] for path in paths] == ["1"] for paths in files(finished).values()), "what could be decoded is there"
    shorter = small.study(tasks, base, *QUICK, "keep=none", worded(long | {"one": OTHER["one"]}))
    mended = run_study(shorter, tmp_path / "out")
    assert all(len(paths) == 2 for paths in files(mended).values()), "the adapters were kept for this"
    assert not list((tmp_path / "out").rglob("adapter"))


def test_one_run_a_task_and_stages_before_it(tasks: Path, base: Path, tmp_path: Path) -> None:
    """Runs of one task take that task's paraphrases; a base that stages were merged into is left as it was found."""
    settings = (
        *QUICK,
        "tasks=[one]",
        "joint=false",
        "seeds=[3]",
        "sources=[two]",
        "stage={data: {n_train: 20}, train: {max_steps: 2}}",
        "grids={g: {methods: [full], starts: [stage-1, base], settings: [instruction, zero-shot]}}",
    )
    plain = run_study(small.study(tasks, base, *settings), tmp_path / "plain")
    study = small.study(tasks, base, *settings, worded({"one": [definitions(tasks)["one"]]}))
    finished = run_study(study, tmp_path / "out")
    assert len(finished.with_status("ok")) == 4
    own = {path.parent.name: path.read_bytes() for path in plain.folder.root.glob("runs/*/predictions.jsonl")}
    assert own == {path.parent.name: path.read_bytes() for path in finished.folder.root.glob("runs/*/predictions.jsonl")}
    for run in finished.plan.runs:
        (path,) = files(finished)[run.id]
        assert path.read_bytes() == (finished.folder.run_folder(run.id) / "predictions.jsonl").read_bytes()


def test_an_open_base_is_lent_and_given_back(done: StudyRun, open_base: Callable[[], Base]) -> None:
    opened = open_base()
    before = {name: parameter.clone() for name, parameter in opened.model.named_parameters()}
    for run in first_cells(done):
        run_folder = done.folder.run_folder(run.id)
        rows = read_predictions(run_folder / "predictions.jsonl")
        with adapted_on(run_folder, opened) as adapted:
            assert isinstance(adapted, Adapted)
            texts = [text for task in ("one", "two") for text in adapted.answer([r.input for r in rows if r.task == task], task)]
        assert texts == [row.prediction for row in rows]
        after = dict(opened.model.named_parameters())
        assert list(after) == list(before)
        assert all(after[name].equal(value) for name, value in before.items())


def test_the_plan_counts_the_extra_decoding(done: StudyRun, tasks: Path, base: Path, tmp_path: Path) -> None:
    def taken(folder: Path, *overrides: str) -> CostEstimate:
        estimate = estimated(
            preview(small.study(tasks, base, *QUICK, *overrides), folder, progress=Told()), progress=Told()
        ).estimate
        assert estimate is not None
        return estimate

    plain, worse = taken(tmp_path / "new"), taken(tmp_path / "new", worded(OTHER))
    assert plain.paraphrases == 0
    assert worse.seconds == pytest.approx(sum(arm.seconds * arm.runs for arm in worse.arms) + worse.paraphrases)
    assert worse.paraphrases > 0
    root = shutil.copytree(done.folder.root, tmp_path / "out")
    assert taken(root, worded(OTHER)).seconds == 0
    (run, *_) = first_cells(done)
    next((root / "runs" / run.id / "paraphrases").glob("*.jsonl")).unlink()
    assert taken(root, worded(OTHER)).seconds == done.states[run.id].record.cost["seconds"]["test"]  # type: ignore[union-attr]
