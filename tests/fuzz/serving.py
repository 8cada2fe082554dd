"""A server on this machine for the archives that the fuzzer makes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from xeric.data.downloading import download_all

__all__ = ["archive_server"]


@contextlib.contextmanager
def archive_server() -> Iterator[Callable[[bytes, Path], object]]:
    """Yield a function that serves bytes as an archive of tasks, and downloads them into a folder."""
    served = b""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(served)))
            self.end_headers()
            self.wfile.write(served)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def fetch(content: bytes, folder: Path) -> object:
        nonlocal served
        served = content
        return download_all(folder, url=f"http://127.0.0.1:{server.server_address[1]}/archive.tar.gz")

    try:
        yield fetch
    finally:
        server.shutdown()
        server.server_close()
