"""``xeric bases``: list, download and describe pretrained models by name, and trim their vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xeric.cli.completing import base_names
from xeric.cli.options import AsJson, TasksDir, path_option, print_json, quiet_libraries
from xeric.formatting import count, data_size

if TYPE_CHECKING:
    from xeric.bases.trimming import Trimmed

__all__ = ["bases_app"]

bases_app = typer.Typer(help="Pretrained bases: list, fetch, show, trim.", no_args_is_help=True)

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
    """Fetch a base of `xeric bases list` and convert it, once; print where it is and under which licence."""
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


@bases_app.command()
def trim(
    base: Annotated[
        str,
        typer.Argument(help="What --base takes: a name, a .gguf file, a folder, a hub id.", autocompletion=base_names),
    ],
    to: Annotated[
        list[str], typer.Option(help="Task files, tables, text files, folders of *.txt files, or names of tasks; one or more.")
    ],
    output: Annotated[Path, path_option("--output", "-o", help="New folder; every command takes it as a base.")],
    more: Annotated[
        int | None, typer.Option(min=0, max=10_000_000, help="Tokens to keep beside those of the files; 16,000 if not given.")
    ] = None,
    split_seed: Annotated[int, typer.Option(min=0, help="As data.split_seed of the runs: outputs they test are not read.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    tasks_dir: TasksDir = None,
    as_json: AsJson = False,
) -> None:
    """Drop the tokens that a language and a task do not need; the logits of those that are left stay the same."""
    quiet_libraries()
    from xeric.bases.trimmed_folder import trim_base
    from xeric.cli.progress import TerminalProgress

    with TerminalProgress() as progress:
        result = trim_base(
            base,
            to,
            output,
            more=more,
            split_seed=split_seed,
            tasks_dirs=tasks_dir or (),
            device=device,
            progress=progress,
        )
    if as_json:
        print_json(_trimmed_facts(result, output))
        return
    (parameters, left), (size, size_left) = result.parameters, result.sizes
    typer.echo(f"vocabulary  {result.vocabulary:,} -> {len(result.kept):,} tokens ({result.text_tokens:,} of them in the files)")
    typer.echo(f"parameters  {count(parameters)} -> {count(left)}")
    typer.echo(f"weights     {data_size(size)} -> {data_size(size_left)} ({result.stored})")
    if result.positions:
        typer.echo(
            f"at {result.dropped_wins:,} of {result.positions:,} places of the texts the base's most probable next token is a "
            f"dropped one; dropped tokens have {result.dropped_probability:.2%} of the probability"
        )
    typer.echo(
        f"checked: the texts have the same tokens, kept tokens the same logits (largest difference {result.difference:.2g})"
    )
    typer.echo(output)


def _trimmed_facts(result: Trimmed, output: Path) -> dict[str, Any]:
    before, after = result.parameters
    return {
        "folder": str(output),
        "vocabulary": {"before": result.vocabulary, "after": len(result.kept), "of_the_texts": result.text_tokens},
        "parameters": {"before": before, "after": after},
        "bytes": dict(zip(("before", "after"), result.sizes, strict=True)),
        "positions": result.positions,
        "dropped_wins": result.dropped_wins,
        "dropped_probability": result.dropped_probability,
        "difference": result.difference,
    }
