"""Worker processes end when the process that started them is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from xeric.processes import process_pool

ROOT = Path(__file__).parents[1]
KILLED = """
import os, signal, sys
from xeric.processes import process_pool

if __name__ == "__main__":
    with process_pool(2) as pool:
        for done in [pool.submit(abs, -1) for _ in range(4)]:
            assert done.result() == 1
        print("working", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nobody_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Workers inherit standard output: it ends when the last of them does.
    done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, env=environment, timeout=120, check=False)
    assert done.returncode == -9
    assert done.stdout == b"working\n"


_noted: list[int] = []


def _note(number: int) -> None:
    _noted.append(number)


def _all_noted() -> list[int]:
    return _noted


def test_each_process_begins_with_the_initializer() -> None:
    with process_pool(1, _note, (3,)) as pool:
        assert pool.submit(_all_noted).result() == [3]
    assert _noted == []
