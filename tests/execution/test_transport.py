"""Files between machines: every byte arrives, what is not complete is not sent, and what says that a folder is comes last."""

from __future__ import annotations

from pathlib import Path

import pytest

from xeric.errors import DataError
from xeric.execution import transport
from xeric.execution.node import Node
from xeric.execution.transport import files_to_send, put, read_piece


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 8, 17])
def test_every_byte_arrives_in_pieces(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PIECE", 4)
    content = bytes(range(size))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(content)
    pieces: list[int] = []

    def piece(name: str, offset: int) -> bytes:
        pieces.append(offset)
        return read_piece(tmp_path / "there" / name, offset)

    put(tmp_path / "here", ["file"], piece, lambda: None)
    assert (tmp_path / "here" / "file").read_bytes() == content
    assert pieces == list(range(0, size + 1, 4))


@pytest.mark.parametrize("last", ["record.json", "stage.json"])
def test_the_configuration_is_sent_first_and_what_says_that_a_folder_is_complete_last(last: str, tmp_path: Path) -> None:
    for name in (
        last,
        "adapter/weights",
        "checkpoint/training",
        "zebra.jsonl",
        ".zebra.jsonl.1a2b.part",
        "log.jsonl",
        "config.yaml",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert files_to_send(tmp_path) == ["config.yaml", "adapter/weights", "log.jsonl", "zebra.jsonl", last]


def test_a_piece_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("old", encoding="utf-8")

    def piece(name: str, offset: int) -> bytes:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        put(tmp_path, ["log.jsonl"], piece, lambda: None)
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
    assert (tmp_path / "log.jsonl").read_text(encoding="utf-8") == "old"


def test_a_node_writes_and_reads_within_its_own_folder_alone_and_leaves_nothing() -> None:
    node = Node("here", lambda reference: reference)
    root = Path(node._temporary.name)
    node.write("stages/0a", "stage.json", 0, b"{")
    node.write("stages/0a", "stage.json", 1, b"}")
    assert node.files("stages/0a") == ["stage.json"]
    assert node.read("stages/0a", "stage.json", 1) == b"}"
    for folder, name in (("../out", "x"), ("stages/0a", "../../../x"), ("/etc", "passwd")):
        with pytest.raises(DataError):
            node.write(folder, name, 0, b"")
        with pytest.raises(DataError):
            node.read(folder, name, 0)
    node.close()
    assert not root.exists()
