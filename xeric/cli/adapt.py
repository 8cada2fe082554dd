"""``xeric adapt``: from a file of one's own to an adapter in use, within a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xeric.cli.completing import base_names, metric_names
from xeric.cli.options import (
    AsJson,
    Delimiter,
    License,
    Quotes,
    Revision,
    Split,
    Subset,
    TableEncoding,
    known_quotes,
    path_option,
    print_json,
    quiet_libraries,
)

__all__ = ["adapt"]


def adapt(
    source: Annotated[
        str, typer.Argument(help="A .csv, .tsv, .json, .jsonl or .parquet file, a dataset's folder or hub id, or a task.")
    ],
    output: Annotated[Path, path_option("--output-dir", "-o", help="Folder for the adapter, the report and the work.")],
    input_column: Annotated[str | None, typer.Option("--input", help="Column of the inputs; guessed where not given.")] = None,
    output_column: Annotated[str | None, typer.Option("--output", help="Column of the outputs; guessed where not given.")] = None,
    language: Annotated[
        str | None, typer.Option(help="Language of the outputs, by name or code; guessed where not given.")
    ] = None,
    definition: Annotated[str | None, typer.Option(help="The instruction: what to do with an input, in a sentence.")] = None,
    time_given: Annotated[str, typer.Option("--for", help="Time that may be spent, such as 30m or 2h.")] = "30m",
    base: Annotated[
        str | None,
        typer.Option(help="Base to adapt; chosen by language, memory and time where not given.", autocompletion=base_names),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Memory that may be used, such as 8GB; what is free where not given.")
    ] = None,
    metric: Annotated[str, typer.Option(help="What is chosen by.", autocompletion=metric_names)] = "chrf",
    seeds: Annotated[int, typer.Option(min=1, help="Final trainings, whose spread is then known.")] = 1,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    group_column: Annotated[
        str | None,
        typer.Option("--group", help="Column whose equal values stay on one side of the split; none for no such column."),
    ] = None,
    image_column: Annotated[
        str | None, typer.Option("--image", help="Column of pictures' files, relative to the table's folder.")
    ] = None,
    input_language: Annotated[str | None, typer.Option(help="Language of the inputs, where it is another.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the task; that of the file where not given.")] = None,
    license: License = None,  # noqa: A002 - the schema's word
    encoding: TableEncoding = None,
    delimiter: Delimiter = None,
    quotes: Quotes = "auto",
    split: Split = "train",
    subset: Subset = None,
    revision: Revision = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or 4bit.")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Carry the final runs out by N processes here, or at most N of the cluster of --ray."),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Carry the final runs out in a Ray cluster: auto, or HOST:PORT.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """From a file of examples to the adapter to use, within a time: tries, chooses, trains, tests, and says what it is worth.

    The same command goes on after an interruption.
    """
    from xeric.adapt.options import LEAST_SECONDS, AdaptOptions, parse_bytes
    from xeric.cli.study_progress import TerminalStudyProgress
    from xeric.config import build
    from xeric.errors import UserError
    from xeric.formatting import seconds_of

    if (seconds := seconds_of(time_given)) < LEAST_SECONDS:
        hint = "give a few minutes at least, such as 5m"
        raise UserError(f"{time_given} is too short to train anything", where="--for", hint=hint)
    quiet_libraries()
    from xeric.adapt.adapting import adapt as run
    from xeric.adapt.outcome import lines
    from xeric.adapt.source import SourceOptions
    from xeric.cli.study import workers_from

    options = build(
        AdaptOptions,
        {
            "seconds": seconds,
            "base": base,
            "memory": parse_bytes(memory) if memory else None,
            "metric": metric,
            "seeds": seeds,
            "seed": seed,
            "device": device,
            "precision": precision,
        },
    )
    source_options = SourceOptions(
        input_column=input_column,
        output_column=output_column,
        group_column=group_column,
        image_column=image_column,
        language=language,
        input_language=input_language,
        definition=definition,
        name=name,
        license=license,
        encoding=encoding,
        delimiter=delimiter,
        quotes=known_quotes(quotes),
        split=split,
        subset=subset,
        revision=revision,
    )
    with TerminalStudyProgress() as progress:
        team = workers_from(workers, ray, None, progress)
        outcome = run(source, output, source_options=source_options, options=options, workers=team, progress=progress)
    if as_json:
        print_json(outcome.model_dump(mode="json"))
        return 0
    for line in lines(outcome):
        typer.echo(line)
    typer.echo(f"\n{output / 'report.html'}")
    return 0
