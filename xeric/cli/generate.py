"""``xeric generate``: texts of a finished run for one input, a file, or standard input, as far as it has come."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from xeric.cli.options import Encoding, path_argument, path_option, quiet_libraries
from xeric.errors import DataError, UserError

if TYPE_CHECKING:
    from xeric.bases.precision import PrecisionName
    from xeric.data.inputs import InputFormat, InputRow
    from xeric.data.pictures import Picture
    from xeric.run.adapted import Adapted

__all__ = ["generate"]

STDIN = Path("-")
_HINT = 'xeric generate RUN_DIR --input "some text", or --file FILE; --file - is standard input'


def generate(
    run_dir: Annotated[Path, path_argument(metavar="RUN_DIR", help="Folder of a finished run.")],
    text: Annotated[str | None, typer.Option("--input", help="One input.")] = None,
    file: Annotated[
        Path | None,
        path_option(help="Inputs: plain text, one per line; JSON lines; a CSV, TSV or JSON file; - for standard input."),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="Of the file: json, lines or table; auto tells it by name and content.")
    ] = "auto",
    column: Annotated[str, typer.Option(help="Column of a table, or key of JSON rows, that holds the inputs.")] = "input",
    encoding: Encoding = None,
    image: Annotated[
        Path | None,
        path_option("--image", help='Picture of the one input; rows of a file name theirs under "image", relative to the file.'),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write each text as soon as it is finished; read standard input line by line.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="Whose prompt to use, where the run has several tasks.")] = None,
    base: Annotated[str | None, typer.Option(help="Where the base is now, if it has moved.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32, bf16, 4bit (CUDA); the run's own if not given. In another, texts may differ.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Limit of a text.")] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object per line: id and task where there are any, input, prediction. Always for JSON rows and tables.",
        ),
    ] = False,
) -> None:
    """Generate texts with a finished run: for one input, for a file, or for what comes on standard input."""
    from xeric.data.inputs import InputRow, input_format

    if image is not None and file is not None:
        raise UserError("--image is the picture of one input", hint='rows of a file name their own under "image"')
    text = "" if image is not None and text is None else text
    source, settled = _source(text, file, stream), input_format(form)
    if text is not None:
        rows: Iterable[InputRow] = [InputRow(_typed(text))]
    elif source.is_file():
        rows = _whole(source, settled, column, encoding)
    adapted = _opened(run_dir, base, device, precision)
    if text is None and not source.is_file():
        # Read once the run is open: nobody writes into a pipe for a run that is not there.
        rows = (_lines if stream else _whole)(source, settled, column, encoding)
    pairs: Iterator[tuple[InputRow, str]]
    shown = _Pictures(image, source)
    if stream:
        pairs = ((row, _single(adapted, row, shown, task, max_new_tokens)) for row in rows)
    else:
        pairs = _together(adapted, list(rows), shown, task, max_new_tokens)
    broken = 0
    for row, prediction in pairs:
        lined = as_json or row.structured
        broken += not lined and "\n" in prediction
        typer.echo(_as_line(row, task, prediction) if lined else prediction)
        if stream:
            sys.stdout.flush()
    if broken and text is None:
        _say(f"{broken} of the texts have line breaks; with --json each text is one line")


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _source(text: str | None, file: Path | None, stream: bool) -> Path:
    """Return where inputs are read from, where no text is given.

    Raises:
        UserError: both or neither are given, and standard input is a terminal (where --stream reads what is typed).
    """
    if text is not None and file is not None:
        raise UserError("give either --input or --file", hint=_HINT)
    if text is None and file is None and (sys.stdin is None or (sys.stdin.isatty() and not stream)):
        raise UserError("give either --input or --file", hint=_HINT)
    return file or STDIN


def _whole(source: Path, form: InputFormat, column: str, encoding: str | None) -> Iterable[InputRow]:
    from xeric.data.inputs import input_rows, read_inputs
    from xeric.encodings import text_of

    if source != STDIN:
        return read_inputs(source, form=form, column=column, encoding=encoding, note=_say)
    where = Path("standard input")
    return input_rows(text_of(sys.stdin.buffer.read(), where, encoding), where, form=form, column=column, note=_say)


def _lines(source: Path, form: InputFormat, column: str, encoding: str | None) -> Iterable[InputRow]:
    """Yield the inputs of a pipe, or of what is typed, as they come."""
    from xeric.data.inputs import LineReader
    from xeric.files import reading

    where = "standard input" if source == STDIN else str(source)
    reader = LineReader(where, form=form, column=column)
    with reading(where):
        binary = sys.stdin.buffer if source == STDIN else source.open("rb")
    try:
        lines = io.TextIOWrapper(binary, encoding=encoding or "utf-8-sig", errors="strict")
    except LookupError:
        raise UserError(f"there is no encoding {encoding!r}", hint="use utf-8, cp1252 or another that Python knows") from None
    return reader.rows(_decoded(lines, where), note=_say)


def _decoded(lines: io.TextIOWrapper, where: str) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        hint = "give the encoding it is in with --encoding"
        raise DataError(
            f"not {lines.encoding.removesuffix('-sig')} text: byte 0x{error.object[error.start]:02x}", where=where, hint=hint
        ) from None
    finally:
        # Standard input stays open; where a reader of the texts has gone, it is closed already.
        with contextlib.suppress(ValueError):
            lines.detach()


def _opened(run_dir: Path, base: str | None, device: str, precision: str | None) -> Adapted:
    quiet_libraries()
    from xeric.bases.precision import PrecisionName
    from xeric.run.adapted import open_adapted

    if precision is not None and precision not in get_args(PrecisionName):
        raise UserError(f"unknown precision {precision!r}", hint=f"use {', '.join(get_args(PrecisionName))}")
    adapted = open_adapted(run_dir, base=base, device=device, precision=cast("PrecisionName | None", precision))
    for note in adapted.notes:
        _say(note)
    return adapted


class _Pictures:
    """The pictures of inputs: of the one that is given, or those that rows name, found in the folder of their file."""

    def __init__(self, given: Path | None, source: Path) -> None:
        self._given, self._source = given, source

    def of(self, row: InputRow) -> Picture | None:
        from xeric.data.pictures import find_picture, read_picture

        if self._given is not None:
            return read_picture(self._given)
        folder = self._source.parent if self._source.is_file() else None
        return None if row.image is None else find_picture(row.image, folder, f"{self._source}, image")


def _single(adapted: Adapted, row: InputRow, shown: _Pictures, task: str | None, max_new_tokens: int | None) -> str:
    name, pictures = task or row.task, [shown.of(row)]
    return adapted.generate([row.input], pictures=pictures, task=name, max_new_tokens=max_new_tokens, note=_say)[0]


def _together(
    adapted: Adapted, rows: list[InputRow], shown: _Pictures, task: str | None, max_new_tokens: int | None
) -> Iterator[tuple[InputRow, str]]:
    """Yield every row with its text, in order; the rows of a task are computed together."""
    texts: dict[int, str] = {}
    for name in dict.fromkeys(task or row.task for row in rows):
        numbers = [number for number, row in enumerate(rows) if (task or row.task) == name]
        inputs = [rows[number].input for number in numbers]
        pictures = [shown.of(rows[number]) for number in numbers]
        generated = adapted.generate(inputs, pictures=pictures, task=name, max_new_tokens=max_new_tokens, note=_say)
        texts |= dict(zip(numbers, generated, strict=True))
    yield from ((row, texts[number]) for number, row in enumerate(rows))


def _as_line(row: InputRow, task: str | None, prediction: str) -> str:
    """Return a line of JSON; an id that is a number keeps its digits."""
    from xeric.json_io import Number

    number = row.id if isinstance(row.id, Number) else None
    fields: dict[str, Any] = {"id": None if number is not None else row.id, "input": row.input, "task": task or row.task}
    fields = {key: value for key, value in fields.items() if value is not None} | {"prediction": prediction}
    line = json.dumps(fields, ensure_ascii=False)
    return line if number is None else f'{{"id": {number}, {line[1:]}'


def _typed(text: str) -> str:
    """Check that an argument is text and return it: bytes that are not UTF-8 reach Python as halves of surrogate pairs."""
    odd = next((char for char in text if "\ud800" <= char <= "\udfff"), None)
    if odd is not None:
        raise UserError(
            f"--input is not UTF-8 text: byte 0x{ord(odd) & 0xFF:02x}", hint="give it as UTF-8, or in a file by --file"
        )
    return text
