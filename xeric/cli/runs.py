"""``xeric train`` and ``score``: a single run, and scores of predictions."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xeric.cli.completing import base_names, method_names, metric_names, setting_names, task_names
from xeric.cli.options import AsJson, Encoding, TasksDir, Track, path_argument, path_option, print_json, quiet_libraries
from xeric.errors import ConfigError, UserError

if TYPE_CHECKING:
    from xeric.metrics import ScoreReport

__all__ = ["score", "train"]


def train(
    tasks: Annotated[
        list[str] | None,
        typer.Argument(help="Tasks by name, then settings such as train.lr=1e-4 or method.rank=8.", autocompletion=task_names),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="A name of `xeric bases list`, a .gguf file, a folder, or a hub id.", autocompletion=base_names),
    ] = None,
    trim_to: Annotated[
        list[str] | None,
        typer.Option(help="Trim the base's vocabulary to files or tasks first, as `xeric bases trim` does; kept in the cache."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="A method's name: `xeric list methods`.", autocompletion=method_names)
    ] = None,
    setting: Annotated[
        str | None,
        typer.Option(help="zero-shot and few-shot train nothing; instruction is the default.", autocompletion=setting_names),
    ] = None,
    from_run: Annotated[
        Path | None,
        path_option("--from", help="Folder of a finished run to go on from; its settings are taken where none are given."),
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option(help="Text files, and folders of *.txt files, that a first stage is trained on; settings: stages.0.*"),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            help="Tasks that a stage is trained on, behind that of --texts; settings: stages.N.*", autocompletion=task_names
        ),
    ] = None,
    n_train: Annotated[int | None, typer.Option(help="Examples that may be used, dev included.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of initialisation, order and dropout.")] = None,
    group_column: Annotated[
        str | None,
        typer.Option(help='Key of the instances whose equal values stay on one side of the split; "group" if not given.'),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16, 4bit (CUDA).")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Share each step out among so many processes of this machine, one per GPU.")
    ] = None,
    time: Annotated[
        str | None, typer.Option("--for", help="Time for the training (90s, 20m, 1h30m): as many of the planned steps as fit.")
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(help="What the base answers unadapted, zero-shot: texts (3 inputs, the default), scores (all), none."),
    ] = None,
    track: Track = None,
    config: Annotated[Path | None, path_option(help="YAML file with settings; the command line goes before it.")] = None,
    output: Annotated[Path | None, path_option("--output", "-o", help="Folder of the run; runs/RUN_ID if not given.")] = None,
    tasks_dir: TasksDir = None,
    as_json: AsJson = False,
) -> int:
    """Adapt a base to tasks, decode their test sets and score them."""
    from xeric.config import apply_overrides
    from xeric.formatting import seconds_of
    from xeric.yaml_io import load_yaml

    settings = load_yaml(config) if config else {}
    arguments = tasks or []
    names = [argument for argument in arguments if "=" not in argument]
    options: dict[str, Any] = {"base": base, "device": device, "precision": precision, "seed": seed, "method.name": method}
    options |= {
        "from_run": str(from_run) if from_run else None,
        "data.n_train": n_train,
        "data.group_column": group_column,
        "prompt.setting": setting,
    }
    options |= {"track": track, "train.seconds": seconds_of(time) if time is not None else None}
    if isinstance(settings.get("method"), str):
        settings["method"] = {"name": settings["method"]}
    settings = apply_overrides(settings, [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None])
    settings["before"] = before or settings.get("before", "texts")
    if names:
        settings["tasks"] = names
    if texts or sources:
        settings["stages"] = _stages(settings.get("stages"), texts, sources)
    if tasks_dir:
        settings["tasks_dirs"] = [str(folder) for folder in tasks_dir]
    settings = apply_overrides(settings, [argument for argument in arguments if "=" in argument])
    if settings.get("from_run") is None:
        _complete(settings)
    if trim_to:
        settings["base"] = _trimmed(settings, trim_to)
    return _train(settings, output, as_json, processes)


def _trimmed(settings: dict[str, Any], trim_to: list[str]) -> str:
    """Return the folder of the run's base with a vocabulary trimmed to files.

    Raises:
        UserError: no base is named: one that comes from another run has the vocabulary that its adapter needs; or the run splits
            its tasks by settings of its own, so that outputs that it tests could be among those that the vocabulary is chosen by.
    """
    if "base" not in settings:
        raise UserError("--trim-to needs --base", hint="a run that goes on from another keeps that run's base")
    quiet_libraries()
    from xeric.bases.trimmed_folder import trimmed_folder
    from xeric.cli.progress import TerminalProgress

    data = settings.get("data")
    data = data if isinstance(data, dict) else {}
    if changed := sorted(data.keys() & {"test_fraction", "group_column", "cleaning"}):
        raise UserError(
            f"--trim-to reads outputs of a task by the usual split, and data.{changed[0]} makes another",
            hint="trim before, with `xeric bases trim --to` and a file of texts that are not tested, and name that base",
        )
    seed = data.get("split_seed", 0)
    with TerminalProgress() as progress:
        dirs = settings.get("tasks_dirs", ())
        folder = trimmed_folder(str(settings["base"]), trim_to, split_seed=seed, tasks_dirs=dirs, progress=progress)
    return str(folder)


def _complete(settings: dict[str, Any]) -> None:
    """Fill in the method where none is named.

    Raises:
        UserError: no task or no base is named.
    """
    from xeric.data.prompt_options import UNTRAINED_SETTINGS

    if "tasks" not in settings:
        raise UserError("no task is named", hint="xeric train TASK --base BASE --method METHOD")
    if "base" not in settings:
        raise UserError("no base is named", hint="add --base gemma-3-270m, or another: see `xeric bases list`")
    if isinstance(chosen := settings.setdefault("method", {}), dict):
        prompt = settings.get("prompt")
        untrained = isinstance(prompt, dict) and prompt.get("setting") in UNTRAINED_SETTINGS
        chosen.setdefault("name", "none" if untrained else "lora")


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


def _train(settings: dict[str, Any], output: Path | None, as_json: bool, count: int | None) -> int:
    quiet_libraries()
    from xeric.cli.launching import processes_of_run
    from xeric.cli.progress import TerminalProgress
    from xeric.run.config import run_config
    from xeric.run.execute import execute

    own, remarks = run_config(settings)
    with processes_of_run(own.device, count) as processes:
        # Which precision is faster here may be measured, and need not come out alike in every process.
        config, folder = processes.from_first(lambda: (own, output))
        with TerminalProgress() if processes.first else nullcontext() as progress:
            if progress is not None:
                for remark in remarks:
                    progress.note(remark)
            run = execute(config, folder, progress=progress, processes=processes)
    if not processes.first:
        return 0 if run.record.status == "ok" else 1
    if as_json:
        print_json(run.record.model_dump(mode="json"))
    else:
        from xeric.cli.show_run import show_run
        from xeric.cli.show_texts import show_texts

        show_run(run.record, run.folder, fresh=run.fresh)
        show_texts(run.folder)
    return 0 if run.record.status == "ok" else 1


def score(
    predictions: Annotated[Path, path_argument(metavar="PREDICTIONS", help='JSON rows with "prediction" and "references".')],
    against: Annotated[Path | None, path_option(help="Other predictions for the same instances, to compare with.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of all rows, by name or code.")] = None,
    encoding: Encoding = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Only these metrics; may be given more than once.", autocompletion=metric_names)
    ] = None,
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
