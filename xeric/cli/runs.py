"""``xeric train``, ``generate`` and ``score``: a single run and its use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from xeric.cli.options import AsJson, Encoding, TasksDir, path_argument, path_option, print_json, quiet_libraries
from xeric.errors import ConfigError, UserError

if TYPE_CHECKING:
    from xeric.metrics import ScoreReport

__all__ = ["generate", "score", "train"]


def train(
    tasks: Annotated[
        list[str] | None, typer.Argument(help="Tasks by name, then settings such as train.lr=1e-4 or method.rank=8.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="A name of `xeric bases list`, a .gguf file, a folder, or a hub id.")] = None,
    method: Annotated[str | None, typer.Option(help="A method's name: `xeric list methods`.")] = None,
    setting: Annotated[str | None, typer.Option(help="zero-shot and few-shot train nothing; instruction is the default.")] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option(help="Text files, and folders of *.txt files, that a first stage is trained on; settings: stages.0.*"),
    ] = None,
    sources: Annotated[
        list[str] | None, typer.Option(help="Tasks that a stage is trained on, behind that of --texts; settings: stages.N.*")
    ] = None,
    n_train: Annotated[int | None, typer.Option(help="Examples that may be used, dev included.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of initialisation, order and dropout.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Instances that share this key stay on one side of the split.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16, 4bit (CUDA).")] = None,
    config: Annotated[Path | None, path_option(help="YAML file with settings; the command line goes before it.")] = None,
    output: Annotated[Path | None, path_option("--output", "-o", help="Folder of the run; runs/RUN_ID if not given.")] = None,
    tasks_dir: TasksDir = None,
    as_json: AsJson = False,
) -> int:
    """Adapt a base to tasks, decode their test sets and score them."""
    from xeric.config import apply_overrides
    from xeric.data.prompts import UNTRAINED_SETTINGS
    from xeric.yaml_io import load_yaml

    settings = load_yaml(config) if config else {}
    arguments = tasks or []
    names = [argument for argument in arguments if "=" not in argument]
    options: dict[str, Any] = {"base": base, "device": device, "precision": precision, "seed": seed, "method.name": method}
    options |= {"data.n_train": n_train, "data.group_column": group_column, "prompt.setting": setting}
    if isinstance(settings.get("method"), str):
        settings["method"] = {"name": settings["method"]}
    settings = apply_overrides(settings, [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None])
    if names:
        settings["tasks"] = names
    if texts or sources:
        settings["stages"] = _stages(settings.get("stages"), texts, sources)
    if tasks_dir:
        settings["tasks_dirs"] = [str(folder) for folder in tasks_dir]
    settings = apply_overrides(settings, [argument for argument in arguments if "=" in argument])
    if "tasks" not in settings:
        raise UserError("no task is named", hint="xeric train TASK --base BASE --method METHOD")
    if "base" not in settings:
        raise UserError("no base is named", hint="add --base gemma-3-270m, or another: see `xeric bases list`")
    if isinstance(chosen := settings.setdefault("method", {}), dict):
        prompt = settings.get("prompt")
        untrained = isinstance(prompt, dict) and prompt.get("setting") in UNTRAINED_SETTINGS
        chosen.setdefault("name", "none" if untrained else "lora")
    return _train(settings, output, as_json)


def _stages(configured: Any, texts: list[str] | None, sources: list[str] | None) -> list[dict[str, Any]]:
    """Return the stages of a configuration (a list, or None), with the command line's texts (first) and sources.

    The texts belong to the first stage if it has texts already, or has neither texts nor tasks and there are no sources; else to
    a new stage before it.
    """
    stages = configured or []
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise ConfigError("expected a list of stages", where="stages", hint="each holds tasks or texts, and settings")
    first, rest = stages[:1], stages[1:]
    if first and not first[0].get("texts") and (first[0].get("tasks") or sources):
        first, rest = [], stages
    if texts:
        first = [{**(first[0] if first else {}), "texts": texts}]
    if sources:
        rest = [{**(rest[0] if rest else {}), "tasks": sources}, *rest[1:]]
    return [*first, *rest]


def _train(settings: dict[str, Any], output: Path | None, as_json: bool) -> int:
    quiet_libraries()
    from xeric.cli.progress import TerminalProgress
    from xeric.run.config import run_config
    from xeric.run.execute import execute

    config, remarks = run_config(settings)
    with TerminalProgress() as progress:
        for remark in remarks:
            progress.note(remark)
        run = execute(config, output, progress=progress)
    if as_json:
        print_json(run.record.model_dump(mode="json"))
    else:
        from xeric.cli.show import show_run

        show_run(run.record, run.folder, fresh=run.fresh)
    return 0 if run.record.status == "ok" else 1


def generate(
    run_dir: Annotated[Path, path_argument(metavar="RUN_DIR", help="Folder of a finished run.")],
    text: Annotated[str | None, typer.Option("--input", help="One input.")] = None,
    file: Annotated[Path | None, path_option(help='JSON rows with "input" (and, if you like, "id" and "task").')] = None,
    encoding: Encoding = None,
    task: Annotated[str | None, typer.Option(help="Whose prompt to use, where the run has several tasks.")] = None,
    base: Annotated[str | None, typer.Option(help="Where the base is now, if it has moved.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32, bf16, 4bit (CUDA); the run's own if not given. In another, texts may differ.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Limit of a text.")] = None,
    as_json: AsJson = False,
) -> None:
    """Generate texts with a finished run."""
    if (text is None) == (file is None):
        raise UserError("give either --input or --file", hint='xeric generate RUN_DIR --input "some text"')
    rows: list[dict[str, Any]] = _input_rows(file, task, encoding) if file else [{"input": _typed(text or ""), "task": task}]
    quiet_libraries()
    from xeric.bases.precision import PrecisionName
    from xeric.run.adapted import open_adapted

    if precision is not None and precision not in get_args(PrecisionName):
        raise UserError(f"unknown precision {precision!r}", hint=f"use {', '.join(get_args(PrecisionName))}")
    adapted = open_adapted(run_dir, base=base, device=device, precision=cast("PrecisionName | None", precision))
    for note in adapted.notes:
        typer.echo(note, err=True)
    outputs: dict[int, str] = {}
    for name in dict.fromkeys(row["task"] for row in rows):
        numbers = [number for number, row in enumerate(rows) if row["task"] == name]
        inputs = [rows[number]["input"] for number in numbers]
        texts = adapted.generate(inputs, task=name, max_new_tokens=max_new_tokens, note=lambda text: typer.echo(text, err=True))
        outputs |= dict(zip(numbers, texts, strict=True))
    for number, row in enumerate(rows):
        if as_json or file:
            typer.echo(_with_prediction(row, outputs[number]))
        else:
            typer.echo(outputs[number])


def _with_prediction(row: dict[str, Any], prediction: str) -> str:
    """Return a line of JSON; an id that is a number keeps its digits."""
    from xeric.json_io import Number

    number = row.get("id") if isinstance(row.get("id"), Number) else None
    fields = {key: value for key, value in row.items() if value is not None and (key != "id" or number is None)}
    line = json.dumps({**fields, "prediction": prediction}, ensure_ascii=False)
    return line if number is None else f'{{"id": {number}, {line[1:]}'


def _typed(text: str) -> str:
    """Check that an argument is text and return it: bytes that are not UTF-8 reach Python as halves of surrogate pairs."""
    odd = next((char for char in text if "\ud800" <= char <= "\udfff"), None)
    if odd is not None:
        raise UserError(
            f"--input is not UTF-8 text: byte 0x{ord(odd) & 0xFF:02x}", hint="give it as UTF-8, or in a file by --file"
        )
    return text


def _input_rows(file: Path, task: str | None, encoding: str | None) -> list[dict[str, Any]]:
    from xeric.encodings import check_text, nfc
    from xeric.errors import DataError
    from xeric.json_io import iter_jsonl

    rows = []
    for number, raw in iter_jsonl(file, encoding):
        where = f"{file}, line {number}"
        if not isinstance(raw.get("input"), str):
            raise DataError("the row has no text under 'input'", where=where)
        task_name, identity = task or raw.get("task"), raw.get("id")
        for value in (raw["input"], task_name, identity):
            if isinstance(value, str):
                check_text(value, where)
        rows.append(
            {
                "id": identity,
                "input": str(raw["input"]),
                "task": nfc(task_name) if isinstance(task_name, str) else task_name,
            }
        )
    if not rows:
        raise DataError("holds no inputs", where=str(file))
    return rows


def score(
    predictions: Annotated[Path, path_argument(metavar="PREDICTIONS", help='JSON rows with "prediction" and "references".')],
    against: Annotated[Path | None, path_option(help="Other predictions for the same instances, to compare with.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of all rows, by name or code.")] = None,
    encoding: Encoding = None,
    metric: Annotated[list[str] | None, typer.Option(help="Only these metrics; may be given more than once.")] = None,
    normalize: Annotated[str, typer.Option(help="nfc, or none to score the text as it is.")] = "nfc",
    resamples: Annotated[int, typer.Option(min=0, max=1_000_000, help="Bootstrap resamples for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the resampling.")] = 0,
    signatures: Annotated[bool, typer.Option("--signatures", help="Print every choice that can move a score.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score predictions, without a model; with --against, test the difference."""
    from xeric.cli.show import show_scores
    from xeric.languages import language as known_language
    from xeric.metrics import METRICS, compare_predictions, score_predictions
    from xeric.record_io import read_predictions

    if language is not None:
        known_language(language)  # a misspelt language must not silently lose stemmer and scripts
    if normalize not in ("nfc", "none"):
        raise UserError(f"unknown normal form {normalize!r}", hint="use nfc or none")
    ours = read_predictions(predictions, language=language, encoding=encoding)
    theirs = read_predictions(against, language=language, encoding=encoding) if against else None
    choices: dict[str, Any] = {"resamples": resamples, "seed": seed, "normalize": normalize}
    report = score_predictions(ours, metric, **choices)
    result = {name: _scored(report, name) for name in metric or METRICS.names()}
    if theirs:
        for name, comparison in compare_predictions(ours, theirs, metric, **choices).metrics.items():
            result[name]["against"] = comparison.model_dump(mode="json")
    if as_json:
        print_json(result)
    else:
        show_scores(result, signatures=signatures)


def _scored(report: ScoreReport, metric: str) -> dict[str, Any]:
    """Return a metric's score as JSON has it: None, with notes, where the metric is undefined."""
    value: dict[str, Any] = {"score": None, "low": None, "high": None}
    if metric in report.scores:
        value = report.scores[metric].model_dump(mode="json")
    return value | ({"notes": report.notes[metric]} if metric in report.notes else {})
