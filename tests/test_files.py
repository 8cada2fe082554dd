"""Files that are whole, with the mode that the user asked for, and errors that name the path and the reason."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from tests.outages import Outage
from tests.test_processes import mark_of_a_dead_process
from xeric.bases.tensors import read_header, read_tensors, write_tensors
from xeric.errors import DataError, StorageError, UnreachableError
from xeric.files import (
    expanded,
    files_below,
    full_path,
    give_usual_modes,
    is_file,
    is_of_other_programs,
    modified_ns,
    part_of,
    partial_files,
    reading,
    storage_error,
    write_atomically,
    writing,
)


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield int(request.param)
    os.umask(before)


@pytest.mark.parametrize(
    "write",
    [lambda path: write_atomically(path, "x"), lambda path: write_tensors(path, {"a": torch.ones(2)})],
    ids=["text", "tensors"],
)
def test_the_umask_decides_who_may_read(write: Callable[[Path], None], mask: int, tmp_path: Path) -> None:
    write(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_a_library_wrote_for_its_maker_alone_gets_the_usual_mode(mask: int, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir(0o700)
    (tmp_path / "inner" / "file").touch(0o600)
    give_usual_modes(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path, *tmp_path.rglob("*"))}
    assert modes == {tmp_path.name: 0o777 & ~mask, "inner": 0o777 & ~mask, "file": 0o666 & ~mask}


def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    write_atomically(path, "x")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_file_that_may_not_be_read_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(DataError) as missing:
        read_tensors(path, "lora weights")
    assert (missing.value.what, missing.value.where) == ("holds no lora weights", str(tmp_path))
    write_tensors(path, {"a": torch.ones(2)})

    def forbidden(self: Path, *_: object) -> None:  # tests may run as root, who may read everything
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(DataError) as refused:
        read_tensors(path, "lora weights")
    assert str(refused.value) == f"{path}: cannot be read: Permission denied"
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(DataError, match="holds no lora weights: the file is damaged"):
        read_tensors(path, "lora weights")


@pytest.mark.parametrize(
    ("error", "what", "hint"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "cannot be written: No space left on device", "make room"),
        (
            SafetensorError("I/O error: No space left on device (os error 28)"),
            "cannot be written: No space left on device",
            "room",
        ),
        (OSError(errno.EROFS, "Read-only file system"), "cannot be written: Read-only file system", "name another folder"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be written: Permission denied", "no right"),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory"),
            "cannot be written: Not a directory",
            "a part of the path is a file",
        ),
        (OSError(errno.ENAMETOOLONG, "File name too long"), "cannot be written: File name too long", "shorter"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_the_file_system_refuses_names_the_path_and_says_what_to_do(error: Exception, what: str, hint: str) -> None:
    with pytest.raises(StorageError) as refused, writing(Path("a/b")):
        raise error
    assert (refused.value.what, refused.value.where, refused.value.exit_code) == (what, "a/b", 2)
    assert hint in str(refused.value.hint)


@pytest.mark.parametrize(
    "error", [ValueError("x"), ConnectionResetError(104, "reset by peer"), DataError("x (os error 28)"), OSError("x")]
)
def test_other_errors_are_left_as_they_are(error: Exception) -> None:
    assert storage_error(error) is None
    with pytest.raises(type(error)), writing(Path("a"), sockets=True):
        raise error


@pytest.mark.parametrize(
    "name", [".DS_Store", "._log.jsonl", "Thumbs.db", "thumbs.db", "desktop.ini", ".nfs000000000123", ".directory", "lost+found"]
)
def test_what_other_programs_leave_in_a_folder(name: str) -> None:
    assert is_of_other_programs(name)


@pytest.mark.parametrize("name", ["log.jsonl", "DS_Store", "notes.txt", ".hidden", "my.nfs", "desktop.ini.jsonl"])
def test_what_is_a_file_of_the_users(name: str) -> None:
    assert not is_of_other_programs(name)


def test_a_tilde_is_the_home_folder_and_a_full_path_holds_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert expanded("~/a") == tmp_path / "a"
    assert expanded("a/~") == Path("a/~")
    assert expanded("~nobody-of-that-name/a") == Path("~nobody-of-that-name/a")
    assert full_path("~/a") == full_path("a") == full_path("./b/../a") == str(tmp_path / "a")


def test_a_file_and_its_folder_are_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "f.txt"
    write_atomically(path, "नदी\n")
    write_atomically(path, b"old\r\n\xff")
    assert path.read_bytes() == b"old\r\n\xff"
    assert [p.name for p in path.parent.iterdir()] == ["f.txt"]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize(
    ("error", "raised"), [(OSError(28, "No space left on device"), StorageError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException, raised: type[BaseException]
) -> None:
    path = tmp_path / "record.json"
    path.write_text("old", encoding="utf-8")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(raised):
        write_atomically(path, "new")
    monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_mode_that_the_user_asked_for(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "f", "x")
        assert os.umask(mask) == mask, "the process's umask was changed"
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o666 & ~mask


def test_folders_that_another_process_deletes_meanwhile_are_passed_over(tmp_path: Path) -> None:
    for name in ("first.txt", "temporary/second.txt"):
        write_atomically(tmp_path / name, "text")
    paths = files_below(tmp_path)
    assert next(paths) == tmp_path / "first.txt"
    shutil.rmtree(tmp_path / "temporary")
    assert list(paths) == []
    assert modified_ns(tmp_path / "temporary" / "second.txt") is None


def test_what_a_killed_process_left_of_a_file_goes_when_it_is_written_again(tmp_path: Path) -> None:
    path, dead = tmp_path / "record.json", mark_of_a_dead_process()
    of_the_dead = tmp_path / f".record.json.{dead}.00000000.part"
    of_another_file = tmp_path / f".records.json.{dead}.00000000.part"
    being_written = part_of(path)
    for part in (of_the_dead, of_another_file, being_written):
        part.touch()
    write_atomically(path, "x")
    assert sorted(tmp_path.iterdir()) == sorted([path, of_another_file, being_written])


def test_partial_files_are_ours_and_those_of_the_safetensors_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adapter").mkdir()
    seen: list[Path] = []

    def watch(*_: object) -> None:
        seen.extend(partial_files(tmp_path))

    monkeypatch.setattr("xeric.files.os.fsync", watch)
    write_tensors(tmp_path / "adapter" / "weights.safetensors", {"a": torch.ones(2)})
    assert len(seen) == 1
    left = tmp_path / "adapter" / ".tmpUfmrdP"
    left.touch()
    assert partial_files(tmp_path) == [left]


UNREACHABLE = [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ECONNABORTED, errno.ESHUTDOWN]


@pytest.mark.parametrize("number", UNREACHABLE, ids=errno.errorcode.get)
def test_a_file_system_that_does_not_answer_is_told_from_a_file_at_fault(number: int, tmp_path: Path) -> None:
    error = OSError(number, os.strerror(number))
    with pytest.raises(UnreachableError, match=f"a/b: cannot be written: {os.strerror(number)}"), writing(Path("a/b")):
        raise error
    with pytest.raises(UnreachableError, match=f"a/b: cannot be read: {os.strerror(number)}"), reading(Path("a/b")):
        raise error
    assert isinstance(storage_error(OSError(number, os.strerror(number), "a/b")), UnreachableError)


def test_an_outage_does_not_look_like_the_absence_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("x")
    assert is_file(tmp_path / "a" / "b")
    assert not is_file(tmp_path / "a")
    assert not is_file(tmp_path / "c")
    assert not is_file(tmp_path / "a" / "b" / "c")
    outage = Outage(monkeypatch, tmp_path, errno.EIO)
    outage.begin(1)
    with pytest.raises(OSError, match="Input/output error"):
        is_file(tmp_path / "a" / "b")
    outage.begin(1)
    with pytest.raises(UnreachableError):
        list(files_below(tmp_path))
    assert list(files_below(tmp_path)) == [tmp_path / "a" / "b"]


def test_tensors_that_cannot_be_fetched_are_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"x")

    def fail(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: Input/output error (os error 5)")

    monkeypatch.setattr("xeric.bases.tensors.safe_open", fail)
    for read in (lambda path: read_tensors(path, "weights"), read_header):
        with pytest.raises(UnreachableError):
            read(tmp_path / "x.safetensors")
