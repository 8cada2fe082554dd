"""The page of ``xeric play``, made with Gradio: served on one machine, without telemetry, and asking nothing of other hosts.

What Gradio itself would fetch (fonts, a script of a content network) is left out by a theme of system fonts, and forbidden to the
browser by a Content-Security-Policy, so that nothing typed here can leave by the page.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import gradio
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xeric.errors import UserError, XericError
from xeric.run.side_by_side import SideBySide

__all__ = ["page", "serve"]

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'"
)
_SYSTEM_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
_COLUMNS = 3


def page(models: SideBySide) -> gradio.Blocks:
    """Return the page: an input, a task where there are several, and a text of each model."""
    with gradio.Blocks(analytics_enabled=False, title="Xeric") as blocks:
        task = gradio.Dropdown(models.tasks, value=models.tasks[0], label="Task", visible=len(models.tasks) > 1)
        definition = gradio.Textbox(models.definition(models.tasks[0]), label="Definition", interactive=False)
        text = gradio.Textbox(label="Input", lines=6, autofocus=True)
        button = gradio.Button("Generate", variant="primary")
        boxes = []
        for start in range(0, len(models.labels), _COLUMNS):
            with gradio.Row():
                boxes += [gradio.Textbox(label=label, lines=6) for label in models.labels[start : start + _COLUMNS]]
        task.change(models.definition, task, definition, api_visibility="private")

        def generate(given: str, name: str) -> Iterator[list[Any]]:
            if not (given or "").strip():
                raise gradio.Error("The input is empty.", print_exception=False)
            texts = ["…"] * len(boxes)
            yield list(texts)
            try:
                for number, answer in enumerate(models.answers(given, name)):
                    texts[number] = f"({answer.note})\n{answer.text}".strip() if answer.note else answer.text
                    yield list(texts)
            except XericError as error:
                raise gradio.Error(error.what, print_exception=False) from None

        button.click(generate, [text, task], boxes, api_name="generate", concurrency_limit=1)
    return blocks


@contextlib.contextmanager
def serve(models: SideBySide, *, host: str, port: int) -> Iterator[str]:
    """Serve the page as long as the context lasts.

    Args:
        models: what answers.
        host: address to listen at.
        port: 0 takes a free one.

    Yields:
        The page's address.

    Raises:
        UserError: the address cannot be listened at, because another process does, for example.
    """
    port = _free_port(host, port)
    blocks = page(models)
    _, address, _ = blocks.queue(default_concurrency_limit=1).launch(
        server_name=host,
        server_port=port,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        show_error=True,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        footer_links=[],
        theme=gradio.themes.Base(**_SYSTEM_FONTS),
        app_kwargs={"middleware": [Middleware(_OwnHostOnly)]},
    )
    try:
        yield address
    finally:
        blocks.close(verbose=False)


class _OwnHostOnly:
    """Adds the policy that lets the page ask nothing of other hosts to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), (b"content-security-policy", _POLICY.encode())]}
            await send(message)

        await self._app(scope, receive, with_policy)


def _free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0.

    Raises:
        UserError: it cannot be listened at.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
            return int(trial.getsockname()[1])
    except OSError as error:
        hint = "take another port with --port, or --port 0 for a free one"
        raise UserError(f"cannot be listened at: {error.strerror or error}", where=f"{host}:{port}", hint=hint) from None
