"""``xeric pretrain``: make a small base, or go on making it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xeric.cli.options import AsJson, print_json, quiet_libraries
from xeric.errors import UserError

if TYPE_CHECKING:
    from xeric.training.pretrain_progress import PretrainResult

__all__ = ["pretrain"]


def pretrain(
    config: Annotated[str, typer.Argument(help="A YAML file, or a bundled base's name: multilingual, english.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings such as seed=1 or schedule.stable_characters=4e6.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the base; a stopped training goes on.")] = None,
    text_dir: Annotated[Path | None, typer.Option(help="Folder of the config's text files; needed the first time.")] = None,
    tasks_dir: Annotated[Path | None, typer.Option(help="Folder of the config's task files; needed the first time.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after so long, with a base that can be loaded.")] = None,
    beside: Annotated[
        list[Path] | None, typer.Option(help="Folder of another training, measured on the same held-out text for the card.")
    ] = None,
    publish: Annotated[Path | None, typer.Option(help="Copy the finished base here, without corpus and state.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a small causal base from plain text and task files; the same command goes on with it."""
    if output is None:
        raise UserError("no folder is named", hint="add -o FOLDER: the base, its corpus and its state go there")
    quiet_libraries()
    from xeric.cli.pretrain_progress import PretrainingProgress
    from xeric.training.base_folder import publish_base
    from xeric.training.pretrain import pretrain as train_base
    from xeric.training.pretrain_config import find_recipe, load_pretrain_config

    settings = load_pretrain_config(find_recipe(config), overrides or ())
    with PretrainingProgress() as progress:
        if not (output / "corpus" / "corpus.json").is_file():
            progress.note("corpus: reading, clearing of leaks and tokenising the texts; this is done once")
        folders = {"text_dir": text_dir, "tasks_dir": tasks_dir}
        result = train_base(settings, output, **folders, observer=progress, seconds=seconds, beside=beside or ())
    published = publish_base(output, publish) if publish and result.finished else []
    if as_json:
        print_json({**asdict(result), "folder": str(result.folder), "published": list(map(str, published))})
    else:
        _show(result)
        if published:
            size = sum(path.stat().st_size for path in published)
            typer.echo(f"published: {publish}, {len(published)} files, {size / 1e6:.1f} MB")
        elif publish:
            typer.echo(f"nothing was published to {publish}: the training is not finished")


def _show(result: PretrainResult) -> None:
    bits = ", ".join(f"{name} {value:.3f}" for name, value in result.measures.get("bits_per_character", {}).items())
    typer.echo(
        f"{result.parameters:,} parameters, {result.steps:,} steps, {result.characters:,} characters, "
        f"{result.tokens:,} tokens, {result.seconds / 3600:.2f} hours"
    )
    typer.echo(f"bits per character of held-out text: {bits or 'not measured yet'}")
    typer.echo(f"base: {result.folder} (its card: {result.folder / 'README.md'})")
    if not result.finished:
        typer.echo("not finished: the same command goes on from here")
