"""A study carried out: killed and started again, by several processes at once, with runs that fail, scored again."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import small_study as small
from tests import tiny
from xeric.analysis.analyse import analyse
from xeric.analysis.rescore import rescore
from xeric.config import build
from xeric.execution import computing
from xeric.execution.open_study import OpenStudy
from xeric.execution.run_study import run_study
from xeric.json_io import write_json
from xeric.progress import Silent
from xeric.record_io import read_record
from xeric.records import RECORD_FILE, Record
from xeric.run.execute import Run, execute
from xeric.studies.config import StudyConfig
from xeric.studies.folder import StudyFolder
from xeric.studies.plan import plan_study
from xeric.studies.status import study_status
from xeric.yaml_io import dump_yaml

ROOT = Path(__file__).parents[2]
# What a user's command does, and which runs it began, one per arm.
RUN = """
import sys
from pathlib import Path
from xeric.execution.open_study import OpenStudy
from xeric.execution.run_study import run_study
from xeric.progress import Silent

class Told(Silent):
    def begin(self, what): print(what, flush=True)

done = run_study(sys.argv[1], sys.argv[2], progress=Told(), poll=0.1)
sys.exit(1 if done.with_status("failed", "missing") else 0)
"""


class Told(Silent):
    """Progress that remembers."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.notes: list[str] = []
        self.position: tuple[int, int, float | None] = (0, 0, None)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, what: str) -> None:
        self.begun.append(what)

    def overall(self, done: int, total: int, seconds_left: float | None) -> None:
        self.position = (done, total, seconds_left)


def process(study: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(study), str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.fixture
def file(tasks: Path, base: Path, tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(dump_yaml(small.plain(tasks, base)), encoding="utf-8")
    return path


def test_a_study_leaves_what_the_contract_names(undisturbed: Path, tasks: Path, base: Path) -> None:
    names = {path.name for path in undisturbed.iterdir()}
    assert names - {"results.json"} == {"study.yaml", "runs.json", "precision.json", "runs", "tuning", "baselines"}
    plan = plan_study(small.study(tasks, base))
    assert {path.name for path in (undisturbed / "runs").iterdir()} == {run.id for run in plan.runs}
    for run in plan.runs:
        record = read_record(undisturbed / "runs" / run.id)
        assert record is not None
        assert (record.status, record.seeds["init"]) == ("ok", run.seed)
        assert record.method == run.arm.key.method
        assert (undisturbed / "runs" / run.id / "dev_predictions.jsonl").is_file()
        assert (undisturbed / "runs" / run.id / "adapter").is_dir()
    assert (undisturbed / "study.yaml").read_text().startswith("# study ")


def test_trials_finished_before_never_stand_for_runs_that_are_missing(
    undisturbed: Path, tasks: Path, base: Path, tmp_path: Path
) -> None:
    folder, told = Path(shutil.copytree(undisturbed, tmp_path / "out")), Told()
    opened = OpenStudy.of(small.study(tasks, base), folder, progress=told)
    missing = next(run for run in opened.plan.runs if run.arm.key.method == "lora")
    (folder / "runs" / missing.id / RECORD_FILE).unlink()
    opened.runs.expect(opened.plan.runs)
    for _ in range(2):
        assert opened.runs.unfinished() == [folder / "runs" / missing.id]
    assert told.position[:2] == (5, 6)


def test_a_finished_study_is_not_computed_again(undisturbed: Path, tasks: Path, base: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.json*")}
    told = Told()
    done = run_study(small.study(tasks, base), undisturbed, progress=told)
    assert told.begun == []
    assert told.position[:2] == (6, 6)
    assert done.with_status("ok") == [run.id for run in done.plan.runs]
    after = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.json*") if path.name != "results.json"}
    assert after == {path: at for path, at in before.items() if path.name != "results.json"}


def test_a_run_whose_texts_are_cut_off_is_said_so(tasks: Path, base: Path, tmp_path: Path) -> None:
    told, settings = Told(), ("grids={all: {methods: [none], settings: [few-shot]}}", "tuning=null", "run.metrics=[chrf]")
    run_study(small.study(tasks, base, *settings, "run.decode.max_new_tokens=1"), tmp_path / "short", progress=told)
    assert any(note.endswith("; 100% of its texts end at the limit of new tokens") for note in told.notes)
    told.notes.clear()
    run_study(
        small.study(tasks, base, *settings, "run.decode.stop=[a, e, i, o, u, ' ', ि, ा]"), tmp_path / "stopped", progress=told
    )
    assert not any("limit of new tokens" in note for note in told.notes)


def test_each_base_is_asked_as_the_study_says(tasks: Path, tmp_path: Path) -> None:
    """Three labels of one base that is tuned for chats: as it comes, plainly, and trained in its template."""
    base = tiny.write_base(tmp_path / "base", chat_template=tiny.chat_template())
    told = Told()
    data = small.plain(tasks, base, "tuning=null", "seeds=[0]", "run.metrics=[chrf]", "tasks=[one]")
    data["bases"] |= {label: {"name": str(base), "prompt": {"template": label}} for label in ("plain", "chat")}
    data["grids"] = {
        "asked": {"bases": ["tiny", "plain"], "settings": ["few-shot"]},
        "trained": {"bases": ["tiny", "chat"], "methods": ["lora"]},
    }
    data["tables"] = {"all": {"title": "All", "grids": ["asked", "trained"], "metrics": ["chrf"]}}
    done = run_study(build(StudyConfig, data), tmp_path / "out", progress=told)
    records = {run.arm.label: done.states[run.id].record for run in done.plan.runs}
    assert {label: record.resolved["prompt.template"] for label, record in records.items() if record} == {
        "tiny, few-shot": "chat",
        "plain, few-shot": "plain",
        "tiny, lora": "plain",
        "chat, lora": "chat",
    }
    assert [note for note in told.notes if "prompt.template=auto" in note] == [
        f"{base}: prompts in the base's own chat template (prompt.template=auto); prompt.template=plain does without"
    ]
    assert (
        "Asked in the base's own chat template: tiny, few-shot; chat, lora. The other arms are asked in the plain layout."
        in analyse(tmp_path / "out").tables[0].notes
    )


def killed_when(running: subprocess.Popen[str], folder: Path, files: float) -> None:
    """Kill a process as soon as so many files stand in a folder."""
    for _ in range(5000):
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(0.05)
        if running.poll() is not None or sum(path.is_file() for path in folder.rglob("*")) > files:
            break
    running.send_signal(signal.SIGKILL)


def test_killed_at_any_moment_and_started_again_ends_with_the_same_bytes(undisturbed: Path, file: Path, tmp_path: Path) -> None:
    """A real process, really killed when a drawn number of files stand there."""
    total, folder = sum(path.is_file() for path in undisturbed.rglob("*")), tmp_path / "out"
    running = process(file, folder)
    killed_when(running, folder, random.Random(5).uniform(0.3, 0.9) * total)
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    counts = study_status(StudyFolder(folder)).counts()
    assert counts["running"] == 0, "a dead process works on nothing"
    assert counts["missing"] > 0
    run_study(file, folder)
    assert small.contents(folder) == small.contents(undisturbed)


def test_of_two_processes_on_one_folder_one_is_killed_and_the_other_ends_the_work(
    undisturbed: Path, file: Path, tmp_path: Path
) -> None:
    total, folder = sum(path.is_file() for path in undisturbed.rglob("*")), tmp_path / "out"
    running = [process(file, folder) for _ in range(2)]
    killed_when(running[0], folder, 0.6 * total)
    begun = [worker.communicate(timeout=240)[0].split() for worker in running]
    assert [worker.returncode for worker in running] == [-signal.SIGKILL, 0]
    names = {path.parent.name for path in undisturbed.glob("runs/*/record.json")}
    twice = [name for name in names if (begun[0] + begun[1]).count(name) > 1]
    assert twice in ([], begun[0][-1:]), "what the killed one had in hand is taken over, nothing else is done twice"
    assert names <= {*begun[0], *begun[1]}
    assert small.contents(folder) == small.contents(undisturbed)


def test_shards_divide_the_runs_and_share_the_rest(undisturbed: Path, tasks: Path, base: Path, tmp_path: Path) -> None:
    study, told = small.study(tasks, base), Told()
    first = run_study(study, tmp_path / "out", shard=(1, 2), progress=told)
    assert len(first.with_status("ok")) == len(first.with_status("missing")) == 3
    second = run_study(study, tmp_path / "out", shard=(2, 2), progress=told)
    assert second.with_status("missing") == []
    assert len(told.begun) == len(first.plan.runs) + 4, "no trial twice"
    assert small.contents(tmp_path / "out") == small.contents(undisturbed)


QUICK = ("tuning=null", "seeds=[0]", "tasks=[one]", "run.metrics=[chrf]", "baselines=false")


def test_a_failing_run_is_recorded_and_the_others_go_on(tasks: Path, base: Path, tmp_path: Path) -> None:
    study = small.study(
        tasks, base, *QUICK, "methods={bad: {name: lora, targets: [nothing]}, full: {name: full}}", "grids={g: {}}"
    )
    done = run_study(study, tmp_path / "out")
    assert [done.states[run.id].status for run in done.plan.runs] == ["failed", "ok"]
    (failed,) = done.with_status("failed")
    left = json.loads((tmp_path / "out" / "runs" / failed / "failure.json").read_text())
    assert "no layer" in left["error"]
    assert left["hint"]
    assert read_record(tmp_path / "out" / "runs" / failed) is None
    row = next(row for row in study_status(done.folder).as_json()["runs"] if row["id"] == failed)
    assert (row["status"], row["error"]) == ("failed", left["error"])
    again = Told()
    run_study(study, tmp_path / "out", progress=again)
    assert again.begun == [failed], "tried once more, and nothing else"


def broken(name: str, error: Exception) -> Callable[..., Run]:
    """The execution of runs with one that breaks."""

    def run(config: Any, folder: Path, **more: Any) -> Run:
        if folder.name.startswith(name):
            raise error
        return execute(config, folder, **more)

    return run


def test_what_broke_by_chance_ends_as_if_nothing_had_happened(
    tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small.study(tasks, base, *QUICK)
    run_study(study, tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr(computing, "execute", broken("tiny-lora", RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")))
        done = run_study(study, tmp_path / "b")
    (failed,) = done.with_status("failed")
    failure = done.states[failed].failure
    assert failure is not None
    assert failure.error == "there is not enough memory: CUDA out of memory. Tried to allocate 2 GiB"
    assert "micro_batch_size" in (failure.hint or "")
    assert run_study(study, tmp_path / "b").with_status("failed") == []
    assert small.contents(tmp_path / "a") == small.contents(tmp_path / "b")


def test_a_failed_trial_counts_as_a_trial_without_score(
    tasks: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small.study(tasks, base, *QUICK, "tuning={trials: 2}", "grids={g: {methods: [full]}}")
    with monkeypatch.context() as patch:
        patch.setattr(computing, "execute", broken("trial-", RuntimeError("no")))
        done = run_study(study, tmp_path / "out")
        (run,) = done.with_status("failed")
        assert "no trial" in str(done.states[run].failure)
    with monkeypatch.context() as patch:
        patch.setattr(computing, "execute", broken("trial-0", RuntimeError("no")))
        done = run_study(study, tmp_path / "out")
    assert len(done.with_status("ok")) == 1
    parsed = json.loads((tmp_path / "out" / "tuning" / "tiny-full" / "tuning.json").read_text())
    assert [trial["status"] for trial in parsed["trials"]] == ["failed", "ok"]
    assert parsed["best"][0] is None
    assert parsed["chosen"] == parsed["trials"][1]["settings"]


def test_divergence_is_a_result(tasks: Path, base: Path, tmp_path: Path) -> None:
    study = small.study(
        tasks, base, *QUICK, "run.train={max_steps: 8, lr: 1.0e+30, warmup: 0.0, clip: 0.0}", "grids={g: {methods: [full]}}"
    )
    done = run_study(study, tmp_path / "out")
    assert done.with_status("diverged") == [done.plan.runs[0].id]
    again = Told()
    run_study(study, tmp_path / "out", progress=again)
    assert again.begun == []


@pytest.mark.parametrize(("keep", "run", "trial"), [("none", False, False), ("all", True, True)])
def test_what_is_kept(keep: str, run: bool, trial: bool, tasks: Path, base: Path, tmp_path: Path) -> None:
    study = small.study(tasks, base, *QUICK, "tuning={trials: 1}", "grids={g: {methods: [lora]}}", f"keep={keep}")
    run_study(study, tmp_path / "out")
    assert [path.is_dir() for path in (next((tmp_path / "out/runs").iterdir()) / "adapter",)] == [run]
    assert (tmp_path / "out/tuning/tiny-lora/trial-0/adapter").is_dir() == trial


def test_one_stage_serves_all_runs(tasks: Path, base: Path, tmp_path: Path) -> None:
    study = small.study(
        tasks,
        base,
        *QUICK,
        "seeds=[0, 1]",
        "sources=[two]",
        "stage={data: {n_train: 20}, train: {max_steps: 2}}",
        "grids={g: {methods: [lora], starts: [base, stage-1], settings: [instruction, zero-shot]}}",
    )
    done = run_study(study, tmp_path / "out")
    assert done.with_status("ok") == [run.id for run in done.plan.runs]
    assert len(list((tmp_path / "out" / "stages").glob("*/stage.json"))) == 1
    texts = {
        start: (tmp_path / "out" / "runs" / run.id / "predictions.jsonl").read_text()
        for run in done.plan.runs
        if run.arm.key.untrained
        for start in (run.arm.key.start,)
    }
    assert texts["base"] != texts["stage-1"]


def test_a_study_grows_by_seeds_without_doing_anything_again(tasks: Path, base: Path, tmp_path: Path) -> None:
    grids = "grids={g: {methods: [full]}}"
    first, told = run_study(small.study(tasks, base, *QUICK, grids), tmp_path / "out"), Told()
    more = run_study(small.study(tasks, base, *QUICK, grids, "seeds=[0, 1]"), tmp_path / "out", progress=told)
    assert told.begun == [run.id for run in more.plan.runs if run.id not in first.states]
    assert len(more.with_status("ok")) == 2


def test_scores_are_made_again_without_torch(tasks: Path, base: Path, tmp_path: Path) -> None:
    study = small.study(tasks, base, *QUICK, "grids={g: {methods: [full]}}")
    done = run_study(study, tmp_path / "out")
    run_folder = done.folder.run_folder(done.plan.runs[0].id)
    original = (run_folder / "record.json").read_bytes()
    record = read_record(run_folder)
    assert record is not None
    assert rescore(done.folder) == {done.plan.runs[0].id: False}
    assert (run_folder / "record.json").read_bytes() == original
    spoilt = record.scores["chrf"].model_copy(update={"score": 99.0})
    spoilt_record = {**record.model_dump(), "scores": {"chrf": spoilt.model_dump()}}
    # As if chrF++ had been counted otherwise when the record was made.
    spoilt_record["baselines"]["copy_input"]["scores"]["chrf"]["signature"] = "chrf|another"
    write_json(run_folder / "record.json", Record.model_validate(spoilt_record))
    code = (
        "import sys; from pathlib import Path; from xeric.analysis.rescore import rescore; from xeric.studies.folder import "
        "StudyFolder; print(rescore(StudyFolder(Path(sys.argv[1])), ['chrf', 'bleu'])); assert 'torch' not in sys.modules"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    renewed = read_record(run_folder)
    assert renewed is not None
    assert renewed.scores["chrf"] == record.scores["chrf"]
    assert renewed.baselines["copy_input"].scores == renewed.baselines["copy_input"].tasks["one"] == {}
    assert renewed.baselines["first_sentences"] == record.baselines["first_sentences"]
    assert set(renewed.tasks["one"].scores) == {"chrf", "bleu"}
    kept = {"scores": record.scores, "tasks": record.tasks, "baselines": record.baselines}
    assert renewed.model_copy(update=kept) == record
