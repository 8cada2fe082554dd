"""Locks that several processes and machines can share a folder by: one holder, dead and silent ones replaced, once."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.outages import Outage
from xeric import locks
from xeric.locks import acquire, is_held


def test_a_lock_has_one_holder_and_leaves_nothing_behind(tmp_path: Path) -> None:
    first = acquire(tmp_path / "locks", "run-a")
    assert first is not None
    assert acquire(tmp_path / "locks", "run-a") is None
    other = acquire(tmp_path / "locks", "run-b")
    assert other is not None
    assert is_held(tmp_path / "locks", "run-a")
    first.release()
    assert not is_held(tmp_path / "locks", "run-a")
    again = acquire(tmp_path / "locks", "run-a")
    assert again is not None
    again.release()
    other.release()
    assert list((tmp_path / "locks").iterdir()) == []


def test_names_with_dots_are_names(tmp_path: Path) -> None:
    held = [acquire(tmp_path, name) for name in ("v1.2", "v1", "v1.2.3")]
    assert all(held)
    assert len(list(tmp_path.iterdir())) == 3
    for lock in held:
        assert lock is not None
        lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from xeric.locks import acquire; acquire(Path(sys.argv[1]), 'x'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, cwd=Path(__file__).parents[1])
    assert [path.name for path in tmp_path.iterdir()] == ["x.1"]
    lock = acquire(tmp_path, "x")
    assert lock is not None
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_number_given_to_a_new_process_does_not_bring_the_old_one_back(tmp_path: Path) -> None:
    held = acquire(tmp_path, "x")
    assert held is not None
    (path,) = tmp_path.iterdir()
    holder = json.loads(path.read_text())
    held.release()
    path.write_text(json.dumps({**holder, "start": holder["start"] - 6000.0}))
    lock = acquire(tmp_path, "x")
    assert lock is not None
    lock.release()


def test_silence_of_another_machine_is_told_by_the_clock_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = acquire(tmp_path, "x")
    assert sleeper is not None
    (path,) = tmp_path.iterdir()
    monkeypatch.setattr(locks, "machine", lambda: "elsewhere")
    assert acquire(tmp_path, "x") is None, "it was touched just now"
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - locks.STALE_SECONDS - 5))
    taker = acquire(tmp_path, "x")
    assert taker is not None
    assert acquire(tmp_path, "x") is None, "of several that see a stale lock one gets it"
    sleeper.release()
    assert sleeper.lost
    assert not taker.lost
    assert is_held(tmp_path, "x"), "the one that lost it must not give it back"
    taker.release()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_wakes_up_knows_at_once_that_its_lock_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = acquire(tmp_path, "x", beat=3600.0)
    assert sleeper is not None
    (tmp_path / "x.2").write_text("{}")  # the next generation, as another process makes it
    assert not sleeper.lost, "looking anew at every step would cost too much on a shared file system"
    woken = locks.time.time() + 7200.0
    monkeypatch.setattr(locks.time, "time", lambda: woken)
    assert sleeper.lost
    sleeper.release()
    assert (tmp_path / "x.2").exists()


def test_sweeping_takes_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    held = acquire(folder, "held")
    assert held is not None
    (folder / "dead.3").write_text(json.dumps({**json.loads((folder / "held.1").read_text()), "start": 0.0}))
    locks.sweep(folder)
    assert [path.name for path in folder.iterdir()] == ["held.1"]
    assert not held.lost
    held.release()
    locks.sweep(folder)
    assert not folder.exists()
    locks.sweep(folder)


def test_a_lock_that_is_not_yet_written_is_held(tmp_path: Path) -> None:
    (tmp_path / "x.1").write_text("")
    assert acquire(tmp_path, "x") is None
    os.utime(tmp_path / "x.1", (0, 0))
    lock = acquire(tmp_path, "x")
    assert lock is not None
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_names_its_holder_as_soon_as_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed while it makes a lock leaves none that others would wait for."""
    link, there = os.link, list[str]()

    def watch(source: Path, target: Path) -> None:
        there.extend(path.name for path in tmp_path.iterdir() if path.suffix == ".1")
        link(source, target)
        there.append(json.loads(target.read_text())["machine"])

    monkeypatch.setattr(locks.os, "link", watch)
    held = acquire(tmp_path, "x")
    assert held is not None
    assert there == [locks.machine()]
    held.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_links_has_locks_too(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.os, "link", refuse)
    first = acquire(tmp_path, "x")
    assert first is not None
    assert acquire(tmp_path, "x") is None
    first.release()
    assert list(tmp_path.iterdir()) == []


def test_a_link_whose_answer_was_lost_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def asked_twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(locks.os, "link", asked_twice)
    held = acquire(tmp_path, "x")
    assert held is not None
    held.release()


@pytest.mark.skipif(sys.platform != "linux", reason="another system tells it by the clock")
def test_a_lock_is_held_though_the_clock_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    held, boot = acquire(tmp_path, "x"), psutil.boot_time()
    assert held is not None
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 7200.0)
    assert acquire(tmp_path, "x") is None
    held.release()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT])
def test_a_lock_is_neither_lost_nor_an_error_while_its_folder_does_not_answer(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = acquire(tmp_path, "x", beat=3600.0)
    assert held is not None
    later = locks.time.time() + 7200.0
    with monkeypatch.context() as patch:
        patch.setattr(locks.time, "time", lambda: later)
        outage = Outage(patch, tmp_path, number)
        outage.begin(10**6)
        assert not held.lost
        outage.begin(0)
        (tmp_path / "x.2").write_text("{}")  # another machine has taken it over meanwhile
        later += 2.0
        assert held.lost, "looked at again at once, and not a whole beat after the outage"
    held.release()
    assert (tmp_path / "x.2").exists()


def test_a_lock_that_could_not_be_deleted_in_an_outage_is_not_held_by_its_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that goes on after an outage would wait for itself; others on its machine see that it still runs."""
    held = acquire(tmp_path, "x")
    assert held is not None
    with monkeypatch.context() as patch:
        Outage(patch, tmp_path, errno.EIO).begin(10**6)
        held.release()
    assert (tmp_path / "x.1").exists()
    assert not is_held(tmp_path, "x")
    again = acquire(tmp_path, "x")
    assert again is not None
    assert acquire(tmp_path, "x") is None
    again.release()
    assert list(tmp_path.iterdir()) == []


def test_an_outage_while_a_lock_is_made_leaves_none_that_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def lose_the_answer(source: Path, target: Path) -> None:
        link(source, target)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(locks.os, "link", lose_the_answer)
        assert acquire(tmp_path, "x") is None
    lock = acquire(tmp_path, "x")
    assert lock is not None
    lock.release()
    assert list(tmp_path.iterdir()) == []
