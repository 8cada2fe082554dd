"""An OpenAI-compatible server on this machine that answers what a test wants, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


@dataclass
class Server:
    """Answers every completion with ``content``, or with ``raw`` and ``status`` where these are given."""

    address: str = ""
    content: str = "[]"
    raw: bytes | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    def answer(self, path: str) -> bytes:
        if self.raw is not None:
            return self.raw
        if path.endswith("/models"):
            return json.dumps({"data": [{"id": "large-model"}]}).encode()
        return json.dumps({"choices": [{"message": {"role": "assistant", "content": self.content}}]}).encode()


@contextlib.contextmanager
def serving(content: str = "[]", **answer: Any) -> Iterator[Server]:
    server = Server(content=content, **answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._respond(None)

        def do_POST(self) -> None:
            self._respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _respond(self, body: Any) -> None:
            server.asked.append((self.path, dict(self.headers), body))
            data = server.answer(self.path)
            self.send_response(server.status)
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    server.address = f"http://127.0.0.1:{listening.server_port}/v1"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
