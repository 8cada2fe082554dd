"""``xeric export``: a finished run in the form that PEFT, transformers or llama.cpp opens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from xeric.cli.options import AsJson, path_argument, path_option, print_json, quiet_libraries

__all__ = ["export"]


def export(
    run_dir: Annotated[Path, path_argument(metavar="RUN_DIR", help="Folder of a finished run.")],
    to: Annotated[str, typer.Option(help="peft, merged, gguf or gguf-adapter.")],
    output: Annotated[Path, path_option("--output", "-o", help="Folder to write; an earlier export in it is replaced.")],
    task: Annotated[str | None, typer.Option(help="Which, where the run has a learned prefix for each of several tasks.")] = None,
    precision: Annotated[str, typer.Option(help="Of weights in safetensors: fp32, bf16, fp16.")] = "fp32",
    quantisation: Annotated[str, typer.Option(help="Of weights in a GGUF file: f16, q8_0.")] = "f16",
    without: Annotated[
        list[str] | None, typer.Option(help="Part of a combined method to leave out; may be given more than once.")
    ] = None,
    with_base: Annotated[bool, typer.Option("--with-base", help="Write the base beside an adapter in any case.")] = False,
    base: Annotated[str | None, typer.Option(help="Where the base is now, if it has moved.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Export a finished run: an adapter for PEFT or llama.cpp, or one model for transformers or llama.cpp."""
    quiet_libraries()
    from xeric.api import export as export_run
    from xeric.cli.progress import TerminalProgress

    # The API checks the names, so that a wrong one is refused alike in Python.
    chosen: dict[str, Any] = {"precision": precision, "quantisation": quantisation}
    with TerminalProgress() as progress:
        exported = export_run(
            run_dir,
            cast("Any", to),
            output,
            task=task,
            without=without or [],
            with_base=with_base,
            base=base,
            device=device,
            progress=progress,
            **chosen,
        )
    for note in exported.notes:
        typer.echo(note, err=True)
    if as_json:
        print_json({"folder": str(exported.folder), **exported.description})
    else:
        typer.echo(exported.folder)
