"""``bench/failures``: faults come at the operation that is named, and are found in what a command leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.failures.faults import unavailable
from bench.failures.outcome import Findings, differences

ROOT = Path(__file__).parents[2]
FAULTY = pytest.mark.skipif(unavailable() is not None, reason=f"no faults can be made here: {unavailable()}")

PROGRAM = """
import json, os, sys
from pathlib import Path
from bench.failures.faults import Action, Fault, library, preloaded
folder, action, at = Path(sys.argv[1]), Action[sys.argv[2]], int(sys.argv[3])
Fault(folder, action, at, clock=int(sys.argv[4]), no_locks=bool(int(sys.argv[5]))).arm()
(folder / "a").write_text("12345678")
os.replace(folder / "a", folder / "b")
(folder / "c").mkdir()
import fcntl, time
try:
    with open("/dev/null") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
    locked = True
except OSError:
    locked = False
library().failures_disarm()
print(json.dumps([library().failures_names().decode(), locked, time.time()]))
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shim") / "shim.so"
    source = ROOT / "bench" / "failures" / "shim.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(path), str(source), "-ldl", "-lpthread"], check=True)
    return path


def run(
    shim: Path, folder: Path, action: str, at: int = 0, *, clock: int = 0, no_locks: bool = False
) -> subprocess.CompletedProcess[str]:
    words = [str(folder), action, str(at), str(clock), str(int(no_locks))]
    variables = {**os.environ, "LD_PRELOAD": str(shim)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )


@FAULTY
def test_operations_are_counted_in_their_order(shim: Path, tmp_path: Path) -> None:
    done = run(shim, tmp_path, "COUNT")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[:2] == ["owrm", True]


@FAULTY
@pytest.mark.parametrize(
    ("action", "at", "left"),
    [
        ("KILL", 1, {}),
        ("KILL", 2, {"a": ""}),
        ("TEAR", 2, {"a": "1234"}),
        ("KILL", 3, {"a": "12345678"}),
        ("KILL", 4, {"b": "12345678"}),
    ],
)
def test_a_kill_comes_before_or_within_the_operation(
    shim: Path, tmp_path: Path, action: str, at: int, left: dict[str, str]
) -> None:
    assert run(shim, tmp_path, action, at).returncode == -signal.SIGKILL
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == left


@FAULTY
@pytest.mark.parametrize(
    ("action", "at", "reason"), [("FULL", 2, "No space left on device"), ("FULL", 3, "No space left"), ("REFUSE", 3, "No space")]
)
def test_a_disk_is_full_from_the_operation_on(shim: Path, tmp_path: Path, action: str, at: int, reason: str) -> None:
    done = run(shim, tmp_path, action, at)
    assert done.returncode == 1
    assert reason in done.stderr
    # Renaming takes no space; making a folder does.
    assert (tmp_path / "b").exists() == (action == "FULL" and at == 3)


@FAULTY
def test_a_clock_can_be_off_and_locks_can_fail(shim: Path, tmp_path: Path) -> None:
    right = json.loads(run(shim, tmp_path / "x" / "..", "COUNT").stdout or "[0, 0, 0]")[2]
    done = run(shim, tmp_path, "COUNT", clock=7200, no_locks=True)
    _, locked, now = json.loads(done.stdout)
    assert not locked
    assert now - (right or now - 7200) >= 7100


def test_what_is_missing_too_much_or_different_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    expected = {"same": b"1", "other": b"2", "gone": b"3"}
    left = {"same": b"1", "other": b"x", ".other.part": b""}
    assert differences(left, expected) == ["missing: gone", "left over: .other.part", "differs: other"]
    findings = Findings()
    findings.compare("kill/training", left, expected)
    assert len(findings.faults) == 3
    findings.compare("kill/training", expected, expected)
    assert len(findings.faults) == 3
    assert "| kill | training | 2 compared |" in findings.table()
