"""Every kind of input, mutated: it works, or is refused in one sentence; `make fuzz` runs many more of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fuzz.kinds import kinds
from tests.fuzz.mutations import mutated
from tests.fuzz.running import Kind, fuzz
from tests.fuzz.serving import archive_server
from xeric.errors import DataError

COUNT = 60
NAMES = [kind.name for kind in kinds(lambda content, folder: None)]


@pytest.fixture(scope="module")
def fetch_archive() -> Iterator[Callable[[bytes, Path], object]]:
    with archive_server() as fetch:
        yield fetch


@pytest.mark.parametrize("name", NAMES)
def test_mutated_inputs_work_or_are_refused_in_one_sentence(
    name: str, fetch_archive: Callable[[bytes, Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    kind = next(kind for kind in kinds(fetch_archive) if kind.name == name)
    outcome = fuzz(kind, count=COUNT, seed=0, root=tmp_path / "root")
    assert outcome.faults == []
    assert outcome.accepted >= kind.sound
    assert outcome.refused > 0
    assert outcome.accepted + outcome.refused == COUNT


def test_the_same_seed_gives_the_same_inputs() -> None:
    assert [mutated([b"abc"], n, 7) for n in range(200)] == [mutated([b"abc"], n, 7) for n in range(200)]
    assert [mutated([b"abc"], n, 7) for n in range(200)] != [mutated([b"abc"], n, 8) for n in range(200)]


def test_the_fuzzer_sees_each_breach_of_the_contract(tmp_path: Path) -> None:
    def crash(path: Path, output: Path) -> None:
        raise ZeroDivisionError

    def stray(path: Path, output: Path) -> None:
        (path.parent / "stray").touch()

    def several_lines(path: Path, output: Path) -> None:
        raise DataError("one\ntwo")

    def fill_memory(path: Path, output: Path) -> None:
        bytearray(1 << 40)

    for number, read in enumerate((crash, stray, several_lines, fill_memory)):
        assert len(fuzz(Kind("k", "f", (b"x",), read, 0), count=1, seed=0, root=tmp_path / str(number)).faults) == 1
