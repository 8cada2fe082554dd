from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.data.samples import niv2
from xeric.data.catalog import NIV2_URL, Catalog, download
from xeric.errors import DataError, RunError, UnknownNameError, UserError


def put(folder: Path, name: str, definition: str = "Do it.") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(niv2(Definition=definition)), encoding="utf-8")
    return path


def test_the_earlier_folder_wins(tmp_path: Path) -> None:
    put(tmp_path / "own", "poems", "Mine.")
    put(tmp_path / "shared", "poems", "Theirs.")
    put(tmp_path / "shared", "mails")
    (tmp_path / "shared" / "notes.txt").write_text("no task", encoding="utf-8")
    (tmp_path / "shared" / ".mails.json.part.json").write_text("{", encoding="utf-8")
    catalog = Catalog([tmp_path / "own", tmp_path / "shared"])
    assert catalog.names() == ["mails", "poems"]
    assert catalog.load("poems").definition == "Mine."
    assert catalog.find("mails") == tmp_path / "shared" / "mails.json"


def test_a_task_is_found_under_either_unicode_form_and_any_case_of_its_ending(tmp_path: Path) -> None:
    nfd, nfc = "re\u0301sume\u0301", "r\u00e9sum\u00e9"
    put(tmp_path, nfd).rename(tmp_path / f"{nfd}.JSON")
    catalog = Catalog([tmp_path])
    assert catalog.names() == [nfc]
    assert catalog.load(nfc) == catalog.load(nfd)
    assert catalog.load(nfc).name == nfc
    with pytest.raises(UserError, match="is a file name"):
        catalog.find("a.JSON")


def test_folders_given_come_before_the_environment_and_that_before_the_bundle(tmp_path: Path) -> None:
    bundled = Catalog.of(environment={}).names()
    assert bundled, "tasks come with the package"
    for folder, text in (("given", "Given."), ("first", "First."), ("second", "Second.")):
        put(tmp_path / folder, "a", text)
        put(tmp_path / folder, bundled[0], text)
    environment = {"XERIC_TASKS": os.pathsep.join(["", str(tmp_path / "first"), str(tmp_path / "second")])}
    assert Catalog.of([tmp_path / "given"], environment=environment).load("a").definition == "Given."
    catalog = Catalog.of(environment=environment)
    assert catalog.load("a").definition == "First."
    assert catalog.load(bundled[0]).definition == "First."
    assert Catalog.of(environment={}).load(bundled[0]).definition not in {"Given.", "First.", "Second."}


def test_every_bundled_task_loads() -> None:
    catalog = Catalog.of(environment={})
    for name in catalog.names():
        assert catalog.load(name).language


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", put(tmp_path, "a"), tmp_path / "a\0b"):
        with pytest.raises(DataError, match="this folder of tasks cannot be read"):
            Catalog([folder])


def test_an_unknown_name_is_answered_with_near_ones(tmp_path: Path) -> None:
    put(tmp_path, "poems")
    with pytest.raises(UnknownNameError) as caught:
        Catalog([tmp_path]).find("poem")
    assert caught.value.hint == "did you mean 'poems'?"


@pytest.mark.parametrize("name", ["../secret", "sub/a", "a.json", "..", "sub\\a", "a\0"])
def test_no_name_leads_out_of_the_folders(tmp_path: Path, name: str) -> None:
    put(tmp_path, "secret")
    put(tmp_path / "tasks", "a")
    put(tmp_path / "tasks" / "sub", "a")
    with pytest.raises(UserError):
        Catalog([tmp_path / "tasks"]).find(name)


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
