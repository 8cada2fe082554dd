"""``xeric play``: a page in the browser where runs answer one input side by side, beside their base as it was."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from xeric.cli.options import path_argument, quiet_libraries
from xeric.errors import UserError, missing_package_error

__all__ = ["play"]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def play(
    runs: Annotated[list[Path], path_argument(metavar="RUN", help="Folders of finished runs.")],
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own opens the page to others.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
    base: Annotated[str | None, typer.Option(help="Where the base is now, if it has moved.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16, 4bit (CUDA); each run's own if not given.")] = None,
) -> None:
    """Compare runs in the browser: one input, a text from each, and one from the base without adaptation.

    The page is served on this machine alone unless --host says otherwise, and asks nothing of other hosts.
    """
    # Before the library is imported: it reads them then.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        from xeric.cli.play_page import serve
    except ModuleNotFoundError as error:
        raise missing_package_error(error) or error from error
    quiet_libraries()
    from xeric.bases.precision import PrecisionName
    from xeric.cli.progress import TerminalProgress
    from xeric.run.side_by_side import SideBySide

    if precision is not None and precision not in get_args(PrecisionName):
        raise UserError(f"unknown precision {precision!r}", hint=f"use {', '.join(get_args(PrecisionName))}")
    with TerminalProgress() as progress:
        chosen = cast("PrecisionName | None", precision)
        models = SideBySide(runs, base=base, device=device, precision=chosen, progress=progress)
    with serve(models, host=host, port=port) as address:
        typer.echo(f"{address} (Ctrl-C ends it)")
        if host not in _LOOPBACK:
            typer.echo(f"everyone who reaches {host} can use it", err=True)
        threading.Event().wait()
