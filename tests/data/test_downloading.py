"""Original tasks over HTTP from a server of the tests': the official layout, transfers that break off, and hostile archives."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.conftest import Xeric
from tests.cli.conftest import xeric as xeric_command  # noqa: F401 - a fixture
from tests.data.samples import niv2
from xeric.data import downloading
from xeric.data.catalog import Catalog
from xeric.data.downloading import NIV2_URL, download, download_all
from xeric.errors import DataError, RunError, UserError


class Source(BaseHTTPRequestHandler):
    bodies: dict[str, bytes] = {}
    asked: list[str] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        body = self.bodies.get(self.path)
        if self.path == "/moved.json":
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/moved.json")
            self.end_headers()
            return
        if self.path == "/broken.json":
            self.send_response(500)
            self.end_headers()
            return
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"") + (9 if self.path == "/cut.json" else 0)))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Source, "bodies", {"/good.json": json.dumps(niv2()).encode(), "/page.json": b"<html>"})
    monkeypatch.setattr(Source, "asked", [])
    Source.bodies["/cut.json"] = Source.bodies["/good.json"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Source)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/{{name}}.json"
    server.shutdown()
    server.server_close()


def test_download_puts_a_task_in_its_place_once(tmp_path: Path, source: str) -> None:
    assert download(["good"], tmp_path / "new", url=source) == [tmp_path / "new" / "good.json"]
    assert Catalog([tmp_path / "new"]).load("good").definition == "Finish the sentence."
    download(["good"], tmp_path / "new", url=source)
    assert Source.asked == ["/good.json"]
    (tmp_path / "new" / "good.json").write_text("old", encoding="utf-8")
    download(["good"], tmp_path / "new", url=source, overwrite=True)
    assert Catalog([tmp_path / "new"]).load("good").definition == "Finish the sentence."


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("absent", UserError, "there is no task 'absent' at the source"),
        ("page", DataError, "not valid JSON"),
        ("broken", RunError, "the source answers 500"),
        ("moved", UserError, "is not an https address"),
        ("cut", RunError, "the connection broke, 9 bytes before the end"),
        ("../good", UserError, "is not a task name"),
    ],
)
def test_a_failed_download_leaves_nothing_behind(
    tmp_path: Path, source: str, name: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        download([name], tmp_path, url=source, timeout=5)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError, match="is larger than 100 bytes"):
        download(["good"], tmp_path, url=source, max_bytes=100)
    assert not list(tmp_path.iterdir())


def test_without_a_connection_the_error_says_what_to_do(tmp_path: Path, source: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RunError, match="cannot be fetched") as caught:
        download(["good"], tmp_path, url=f"http://127.0.0.1:{port}/{{name}}.json", timeout=5)
    assert "--tasks-dir" in str(caught.value.hint)


@pytest.mark.parametrize("url", ["http://example.org/{name}.json", "file:{name}.json", "ftp://example.org/{name}"])
def test_only_https_is_asked(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="is not an https address"):
        download(["good"], tmp_path, url=url)
    assert NIV2_URL.startswith("https://")


class Breaking(BaseHTTPRequestHandler):
    """A server that knows ranges, and ends every answer after so many bytes."""

    body: bytes = b""
    tag: str = ""
    after: int = 0
    ranges: list[str] = []

    def do_GET(self) -> None:
        body, asked = self.body, self.headers.get("Range")
        type(self).ranges.append(asked or "")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.headers.get("If-Range") == self.tag else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.tag:
            self.send_header("ETag", self.tag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : start + self.after] if self.after else body[start:])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("body", b""), ("tag", '"one"'), ("after", 0), ("ranges", [])):
        monkeypatch.setattr(Breaking, name, value)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def archive(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    """The repository as one archive: its own layout, and then what is given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member in (("natural-instructions-master/README.md", b"# Natural Instructions"), *members):
            info, content = (member, b"") if isinstance(member, tarfile.TarInfo) else (tarfile.TarInfo(member[0]), member[1])
            if content:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


TASK = json.dumps(niv2()).encode()
TASKS = "natural-instructions-master/tasks"
OFFICIAL = (
    (f"{TASKS}/task001_a.json", TASK),
    (f"{TASKS}/task002_b.json", TASK),
    (f"{TASKS}/task003_odd.json", b"{}"),
    (f"{TASKS}/README.md", b"list"),
    ("natural-instructions-master/splits/default/task001_a.json", b"no task"),
)


def test_a_file_that_breaks_off_goes_on_where_it_was(tmp_path: Path, breaking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaking, "body", TASK)
    monkeypatch.setattr(Breaking, "after", third := len(TASK) // 3 + 1)
    (path,) = download(["task001_a"], tmp_path, url=breaking + "{name}.json")
    assert path.read_bytes() == TASK
    assert Breaking.ranges == ["", f"bytes={third}-", f"bytes={2 * third}-"]


def test_without_an_exact_tag_it_begins_again_and_gives_up(
    tmp_path: Path, breaking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Breaking, "body", TASK)
    monkeypatch.setattr(Breaking, "after", len(TASK) // 3)
    for tag in ("", 'W/"weak"'):
        monkeypatch.setattr(Breaking, "tag", tag)
        with pytest.raises(RunError, match=r"the connection broke, .* bytes before the end"):
            download(["task001_a"], tmp_path, url=breaking + "{name}.json")
    assert set(Breaking.ranges) == {""}
    assert not list(tmp_path.iterdir())


def test_the_official_archive_is_taken_apart(
    xeric_command: Xeric,  # noqa: F811
    tmp_path: Path,
    breaking: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Breaking, "body", archive(*OFFICIAL))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "task002_b.json").write_text("mine", encoding="utf-8")
    code, printed, notes = xeric_command("tasks", "download", "--all", "--url", breaking, "-o", tmp_path / "tasks")
    assert code == 0, notes
    assert [Path(line).name for line in printed.splitlines()] == ["task001_a.json", "task002_b.json"]
    assert notes.startswith("task003_odd is left out: ")
    assert sorted(path.name for path in (tmp_path / "tasks").iterdir()) == ["task001_a.json", "task002_b.json"]
    assert (tmp_path / "tasks" / "task001_a.json").read_bytes() == TASK
    assert (tmp_path / "tasks" / "task002_b.json").read_text(encoding="utf-8") == "mine"
    for wrong in (["tasks", "download"], ["tasks", "download", "a", "--all"]):
        code, _, complaint = xeric_command(*wrong)
        assert (code, "name the tasks to fetch, or give --all" in complaint) == (2, True)


def test_an_archive_goes_on_in_the_next_call(tmp_path: Path, breaking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Random enough not to be packed small.
    padding = "".join(hashlib.sha256(str(n).encode()).hexdigest() for n in range(200)).encode()
    body = archive(*OFFICIAL, ("natural-instructions-master/padding", padding))
    monkeypatch.setattr(Breaking, "body", body)
    monkeypatch.setattr(Breaking, "after", sixth := len(body) // 6 + 1)
    with pytest.raises(RunError, match="the connection broke"):
        download_all(tmp_path, url=breaking)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    Breaking.ranges.clear()
    assert [path.name for path in download_all(tmp_path, url=breaking)] == ["task001_a.json", "task002_b.json"]
    assert Breaking.ranges == [f"bytes={4 * sixth}-", f"bytes={5 * sixth}-"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["task001_a.json", "task002_b.json"]


def test_a_part_of_other_content_is_thrown_away(tmp_path: Path, breaking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = archive(*OFFICIAL), archive(OFFICIAL[0])
    monkeypatch.setattr(Breaking, "body", first)
    monkeypatch.setattr(Breaking, "after", len(first) // 9)
    with pytest.raises(RunError):
        download_all(tmp_path, url=breaking)
    for name, value in (("body", second), ("tag", '"two"'), ("after", 0)):
        monkeypatch.setattr(Breaking, name, value)
    assert [path.name for path in download_all(tmp_path, url=breaking)] == ["task001_a.json"]


HOSTILE = {
    "out": (archive(*OFFICIAL, ("../../evil.json", TASK)), "a path that leads out of it"),
    "out through the tasks": (archive(*OFFICIAL, (f"{TASKS}/../../../evil.json", TASK)), "a path that leads out of it"),
    "absolute": (archive(*OFFICIAL, ("/evil.json", TASK)), "a path that leads out of it"),
    "backslash": (archive(*OFFICIAL, (f"{TASKS}/..\\evil.json", TASK)), "a path that leads out of it"),
    "symbolic link": (archive(*OFFICIAL, link(f"{TASKS}/task009_l.json", "/etc/passwd")), "a link or device among the tasks"),
    "twice": (archive(*OFFICIAL, (f"{TASKS}/task001_a.json", TASK)), "a task twice"),
    "not packed": (b"<html>not found</html>", "is no archive that can be read"),
    "cut": (archive(*OFFICIAL)[:-40], "is no archive that can be read"),
    "no tasks": (archive(), "holds no tasks/NAME.json"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_of_a_hostile_archive_nothing_is_written(
    case: str, tmp_path: Path, breaking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, what = HOSTILE[case]
    monkeypatch.setattr(Breaking, "body", body)
    with pytest.raises(DataError, match=what):
        download_all(tmp_path / "deep" / "tasks", url=breaking)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("limit", "what"), [("MAX_BYTES", "a task of more than"), ("MAX_UNPACKED", "too much"), ("MAX_MEMBERS", "too much")]
)
def test_a_bomb_is_not_unpacked(limit: str, what: str, tmp_path: Path, breaking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaking, "body", archive(*OFFICIAL, (f"{TASKS}/task004_zeros.json", bytes(5_000_000))))
    monkeypatch.setattr(downloading, limit, 3 if limit == "MAX_MEMBERS" else 1_000_000)
    with pytest.raises(DataError, match=what):
        download_all(tmp_path, url=breaking)
    assert not list(tmp_path.iterdir())


def test_an_archive_that_is_too_large_is_refused(tmp_path: Path, breaking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaking, "body", archive(*OFFICIAL))
    monkeypatch.setattr(downloading, "_MAX_ARCHIVE", 100)
    with pytest.raises(DataError, match="is larger than 100 bytes"):
        download_all(tmp_path, url=breaking)
    assert not list(tmp_path.iterdir())


def test_an_address_needs_a_place_for_the_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no \{name\}"):
        download(["a"], tmp_path, url="https://example.invalid/tasks.json")


def test_an_empty_archive_is_refused(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Source.bodies, "/empty.json", b"")
    with pytest.raises(DataError, match="is no archive that can be read: it is empty"):
        download_all(tmp_path / "tasks", url=source.format(name="empty"))
    assert list((tmp_path / "tasks").iterdir()) == []
