"""``xeric study`` as its user meets it: plan, run, status, rescore; exit codes, one sentence and a hint, JSON."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import small_study as small
from tests import tiny
from xeric.cli import run
from xeric.errors import UserError
from xeric.execution import preview
from xeric.yaml_io import dump_yaml

Xeric = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def xeric(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Xeric:
    monkeypatch.delenv("XERIC_TASKS", raising=False)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(["study", *(str(argument) for argument in arguments)])
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def study(tmp_path: Path, base_folder: Callable[[str], Path]) -> Path:
    """One task, two methods of which one cannot be attached, one untrained arm, one seed."""
    tiny.write_task(tmp_path / "tasks", "one", instances=80)
    data = small.plain(
        tmp_path / "tasks",
        base_folder("llama"),
        *("tasks=[one]", "seeds=[0]", "tuning=null", "baselines=false", "tasks_dirs=[]", "run.metrics=[chrf]"),
        "methods={lora: {name: lora, targets: [nothing]}, full: {name: full}}",
    )
    path = tmp_path / "study.yaml"
    path.write_text(dump_yaml(data), encoding="utf-8")
    return path


def test_from_plan_to_scores(xeric: Xeric, study: Path, tmp_path: Path) -> None:
    out, given = tmp_path / "out", (study, "--tasks-dir", tmp_path / "tasks", "-o", tmp_path / "out")
    only = ("--set", "grids={g: {methods: [full], settings: [instruction, zero-shot]}}")
    code, printed, _ = xeric("plan", *given, *only, "--json")
    planned = json.loads(printed)
    assert (code, [run["status"] for run in planned["runs"]]) == (0, ["missing", "missing"])
    assert planned["tasks"] == {"one": {"train": 40, "dev": 10, "test": 6}}
    trained, untrained = planned["estimate"]["arms"]
    assert trained["trainable"] > untrained["trainable"] == 0
    whole = planned["estimate"]["seconds"]
    assert whole == pytest.approx(trained["seconds"] + untrained["seconds"])
    low, high = planned["estimate"]["range_seconds"]
    assert low < whole < high
    assert not out.exists(), "a plan leaves nothing behind"

    code, printed, notes = xeric("run", *given, *only)
    assert code == 0
    assert "2 of 2 runs ok" in printed
    assert notes.count(": ok, chrf ") == 2
    assert "Traceback" not in notes
    code, printed, _ = xeric("status", out, "--json")
    assert json.loads(printed)["counts"] == {"ok": 2, "diverged": 0, "failed": 0, "running": 0, "missing": 0}
    code, printed, _ = xeric("rescore", out)
    assert (code, printed) == (0, "2 records scored again, 0 of them changed\n")
    code, printed, _ = xeric("plan", out, "--json")
    assert [arm["runs"] for arm in json.loads(printed)["estimate"]["arms"]] == []
    assert xeric("run", out)[0] == 0, "a study's folder is enough to go on with it"


def test_a_plan_shows_what_it_has_before_it_tries_anything(
    xeric: Xeric, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (study, "--tasks-dir", tmp_path / "tasks", "-o", tmp_path / "out", "--set", "grids={g: {methods: [full]}}")

    def fails(*_: object, **__: object) -> None:
        raise UserError("the machine is on fire")

    with monkeypatch.context() as patched:
        patched.setattr(preview, "estimated", fails)
        code, printed, notes = xeric("plan", *given)
        assert code == 2
        assert "on fire" in notes
        for shown in ("1 arms, 1 runs", "one: 40 train, 10 dev, 6 test", "done: 0 of 1 runs", "smallest difference"):
            assert shown in printed
        assert xeric("plan", *given, "--no-probe") == (0, printed, notes.partition("xeric:")[0])
    code, printed, notes = xeric("plan", *given)
    assert code == 0
    assert notes.startswith("planning 'A small study': loading the libraries\npreparing 1 tasks\n")
    assert "trying full on tiny" in notes
    assert "probing tiny: training (full)" in notes
    assert (
        printed.index("smallest difference")
        < printed.index("what is still to be done, by one process")
        < printed.index("all of it: about")
    )
    assert "most likely between" in printed


def test_a_failed_run_is_exit_code_1_and_named(xeric: Xeric, study: Path, tmp_path: Path) -> None:
    given = (study, "--tasks-dir", tmp_path / "tasks", "-o", tmp_path / "out")
    code, printed, _ = xeric("run", *given, "--set", "grids={g: {}}")
    assert code == 1
    assert "1 of 2 runs ok" in printed
    assert "no layer of" in printed
    assert "hint: layers: " in printed
    assert xeric("status", tmp_path / "out")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["run", "papr"], "unknown study 'papr'", "'paper'"),
        (["run", "missing.yaml"], "missing.yaml: cannot be read", "YAML"),
        (["run", "STUDY", "--set", "seed=[1]"], "seed: unknown setting", "'seeds'"),
        (["run", "STUDY", "--set", "seeds"], "'seeds' is not a setting", "dotted.path=value"),
        (["run", "STUDY", "--set", "tasks=[on]", "--tasks-dir", "TASKS"], "unknown task 'on'", "'one'"),
        (["run", "STUDY", "--shard", "3/2"], "'3/2' is no part", "--shard 1/2"),
        (["plan", "STUDY", "--set", "bases=[nowhere/at/all]", "--tasks-dir", "TASKS"], "no such file or folder", "folder"),
        *(
            ([command, "STUDY", "--set", "bases.tiny=bundled:english", "--tasks-dir", "TASKS"], "any more", "smollm2-135m")
            for command in ("plan", "run")
        ),
        *(
            case
            for command in ("status", "rescore")
            for case in (
                ([command, "nowhere"], "unknown study 'nowhere'", "paper"),
                ([command, "STUDY"], "studies/small: holds no planned runs", "xeric study run"),
                ([command, "paper", "-o", "nowhere"], "nowhere: holds no planned runs", "xeric study run"),
            )
        ),
    ],
)
def test_a_mistake_is_one_sentence_a_hint_and_exit_code_2(
    arguments: list[str], message: str, hint: str, xeric: Xeric, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"STUDY": str(study), "TASKS": str(tmp_path / "tasks")}
    code, out, err = xeric(*[names.get(argument, argument) for argument in arguments])
    assert (code, out) == (2, "")
    # A plan says first what it is about.
    first, second = [line for line in err.splitlines() if not line.startswith("planning ")]
    assert message in first
    assert second.startswith("hint: ")
    assert hint in second
    assert {path.name for path in tmp_path.iterdir()} == {"tasks", "study.yaml"}, "nothing is left behind"


def test_looking_and_scoring_load_no_torch(xeric: Xeric, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    xeric("run", study, "--tasks-dir", tmp_path / "tasks", "-o", out, "--set", "grids={g: {methods: [full]}}")
    code = (
        "import sys; from xeric.cli import run; codes = [run(['study', c, sys.argv[1]]) for c in ('status', 'rescore')]; "
        "assert codes == [0, 0]; assert not {'torch', 'transformers', 'peft'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (("--shard", "1/2", "--workers", "2"), "--shard and --workers cannot go together"),
        (("--shard", "1/2", "--ray", "auto"), "--shard and --ray cannot go together"),
        (("--workers", "2", "--gpus-per-run", "1"), "--gpus-per-run is for a Ray cluster, and --ray is not given"),
    ],
)
def test_options_of_workers_that_contradict_each_other(
    xeric: Xeric, study: Path, tmp_path: Path, given: tuple[str, ...], complaint: str
) -> None:
    code, _, notes = xeric("run", study, "-o", tmp_path / "out", *given)
    assert (code, notes.splitlines()[0]) == (2, f"xeric: {complaint}")
    assert not (tmp_path / "out").exists()


def test_a_study_of_workers_that_is_ended_gives_its_runs_back(xeric: Xeric, study: Path, tmp_path: Path) -> None:
    """The first process is ended while a worker trains; the worker leaves its run to whoever comes next."""
    out = tmp_path / "out"
    given = ["run", str(study), "--tasks-dir", str(tmp_path / "tasks"), "-o", str(out), "--workers", "1"]
    given += ["--set", "grids={g: {methods: [full]}}", "--set", "run.train.checkpoint_seconds=0"]
    command = [sys.executable, "-c", "from xeric.cli import main; main()", "study", *given, "--set", "run.train.max_steps=100000"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while running.poll() is None and not list(out.glob("runs/*/checkpoint/*.safetensors")):
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(0.05)
    running.terminate()
    _, notes = running.communicate(timeout=60)
    assert (running.returncode, notes.splitlines()[-2]) == (143, "xeric: ended by SIGTERM")
    assert not list(out.glob("locks/*"))
    assert json.loads(xeric("status", out, "--json")[1])["counts"]["missing"] == 1
