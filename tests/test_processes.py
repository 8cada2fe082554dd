"""Worker processes end when the process that started them is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
