"""Whether a process runs, and which file belongs to a dead one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xeric import processes
from xeric.processes import is_running, mark, marked_by_the_dead, started

ROOT = Path(__file__).parents[1]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="another system tells it by the clock")


def mark_of_a_dead_process() -> str:
    """The mark of a process that has ended."""
    code = "from xeric.processes import mark; print(mark())"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_a_process_runs_until_it_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = started(process.pid)
    assert start is not None
    assert is_running(process.pid, start)
    assert not is_running(process.pid, start - 6000.0), "an earlier process had this number"
    process.communicate(b"\n")
    assert not is_running(process.pid, start)
    assert not is_running(process.pid)


@LINUX
def test_setting_the_clock_makes_no_other_process_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    before, boot = started(os.getpid()), psutil.boot_time()
    # What the system says of its boot moves with its clock.
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 7200.0)
    assert psutil.Process().create_time() > boot + 7200.0
    assert started(os.getpid()) == before


@LINUX
def test_a_process_that_may_not_be_seen_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(processes, "started", lambda _: None)
    monkeypatch.setattr(os, "kill", refuse)
    assert is_running(1, 5.0)


def test_a_mark_is_of_the_dead_only_where_its_process_is_known_to_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = mark_of_a_dead_process()
    assert marked_by_the_dead(dead)
    assert not marked_by_the_dead(mark())
    processes._machine_mark.cache_clear()
    monkeypatch.setattr(processes, "machine", lambda: "elsewhere")
    assert not marked_by_the_dead(dead), "of a process of another machine nobody knows"
    monkeypatch.undo()
    processes._machine_mark.cache_clear()
