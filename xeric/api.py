"""The Python interface in a handful of functions; ``import xeric`` offers them by name.

task = xeric.load_task("task1355_sent_comp_summarization", tasks_dir="tasks")
data = xeric.prepare(task, n_train=100)
base = xeric.load_base("path/to/a/base")
run = xeric.train(base, data, method="lora")
print(run.scores["chrf"].score)
print(xeric.generate(run, ["Some text to summarise."])[0])

The file is long because it is the one list of what is offered: most of it is docstrings, and other modules do the work.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from xeric.analysis.analyse import write_results
from xeric.analysis.results import StudyResults
from xeric.config import build
from xeric.data import preparing
from xeric.data.catalog import Catalog
from xeric.data.pictures import read_picture
from xeric.data.preparing import DataOptions, Prepared
from xeric.data.prompt_options import PromptOptions
from xeric.data.tasks import Task
from xeric.data.tasks import load_task as load_task_file
from xeric.errors import UserError, XericError, asking_for_train
from xeric.files import expanded
from xeric.metrics import score_predictions
from xeric.metrics.scoring import score_notes
from xeric.progress import Progress, Silent, StudyProgress
from xeric.record_io import read_predictions
from xeric.records import Prediction, Score
from xeric.studies.config import StudyConfig

if TYPE_CHECKING:
    # Behind the extra ``train``: imported by the functions that need it, so that the others work without.
    from xeric.adapt.outcome import Outcome
    from xeric.bases.base import Base
    from xeric.execution.run_study import Shard, StudyRun, Workers
    from xeric.exporting.export import Export
    from xeric.run.execute import Run

__all__ = ["StudyOutcome", "adapt", "export", "generate", "load_task", "prepare", "run_study", "score", "stream", "train"]


def load_task(name: str | Path, *, tasks_dir: str | Path | Sequence[str | Path] = ()) -> Task:
    """Return a task by its name, or from the path of its file.

    Args:
        name: a task's name, looked for in ``tasks_dir``, in the folders of ``XERIC_TASKS`` and among the bundled
            ones; or a path that ends in ``.json``.
        tasks_dir: one folder or several.

    Raises:
        UnknownNameError: no such task.
        DataError: its file cannot be used.
    """
    if isinstance(name, Path) or name.lower().endswith(".json"):
        return load_task_file(expanded(name))
    folders = [tasks_dir] if isinstance(tasks_dir, (str, Path)) else list(tasks_dir)
    return Catalog.of([str(folder) for folder in folders]).load(name)


def prepare(
    tasks: Task | Sequence[Task],
    *,
    prompt: Mapping[str, Any] | None = None,
    from_run: str | Path | None = None,
    **data: Any,
) -> Prepared:
    """Clean and split tasks and choose their demonstrations.

    Args:
        tasks: one task or several.
        prompt: settings under ``prompt`` (``setting``, ``demonstrations`` ...).
        from_run: folder of a run to go on from: what it was trained on is not tested.
        data: settings under ``data`` (``n_train``, ``split_seed`` ...).

    Raises:
        UserError: a setting is unknown, or a task has too few instances.
    """
    chosen = [tasks] if isinstance(tasks, Task) else list(tasks)
    options, layout = build(DataOptions, data, where="data"), build(PromptOptions, prompt or {}, where="prompt")
    return preparing.prepare(chosen, options, layout, trained_on=_trained_on(from_run) if from_run else ())


def _trained_on(run: str | Path) -> frozenset[str]:
    with asking_for_train():
        from xeric.run.source import read_source
    return read_source(run).inputs


def train(
    base: Base | str,
    data: Prepared,
    *,
    method: str | Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Run:
    """Adapt a base to prepared tasks, decode their test sets and score them; a finished run is returned as it is.

    Under ``torchrun`` or ``accelerate launch`` the processes train together, and each gets the run back.

    Args:
        base: an open base (left as it was found), or the name of one.
        data: of :func:`prepare`.
        method: a method's name, or a mapping with ``name`` and its options; None is ``lora``, or that of the run named by
            ``from_run``.
        output: the run's folder; None is ``runs/RUN_ID``.
        progress: is told what happens.
        settings: the rest of the run's settings: ``seed=1``, ``train={"max_steps": 100}``, ``decode={...}``.

    Raises:
        UserError: a setting is unknown or does not fit, the folder holds something else, or the extra ``train`` is not installed.
        RunError: a process of several has ended, or they do not see the same tasks or base.
    """
    with asking_for_train():
        from xeric.bases.base import Base
        from xeric.run.config import run_config
        from xeric.run.execute import execute
        from xeric.training.processes import joined, launched_rank
    opened = base if isinstance(base, Base) else None
    if opened is not None:
        settings = {"device": str(opened.device), "precision": opened.precision, **settings}
    config, remarks = run_config(
        {
            "tasks": [task.name for task in data.tasks],
            "base": opened.name if opened is not None else base,
            "data": data.options.model_dump(mode="json"),
            "prompt": data.prompt.model_dump(mode="json"),
            **settings,
            **_method(method, settings),
        }
    )
    for remark in remarks if progress else ():
        progress.note(remark)  # type: ignore[union-attr]
    folder, rank = expanded(output) if output else None, launched_rank()
    if rank and opened is not None and opened.device.type == "cuda":
        raise UserError("each process has a GPU of its own", where="base", hint="give its name instead of an open base")
    with joined(config.device, rank) as processes:
        return execute(config, folder, base=opened, data=data, progress=progress, processes=processes)


def _method(method: str | Mapping[str, Any] | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    if method is None and settings.get("from_run") is not None:
        return {}
    return {"method": method or "lora"}


def generate(
    run: Run | str | Path,
    inputs: Sequence[str],
    *,
    pictures: Sequence[str | Path | None] = (),
    task: str | None = None,
) -> list[str]:
    """Return the text that a finished run generates for each input.

    The base is opened for the call; to generate again and again, keep what :func:`xeric.open_adapted` returns. What the user
    should know (inputs that are cut to fit the base's context, another device than the run's) comes as a Python warning.

    Args:
        run: a run, or its folder.
        inputs: texts.
        pictures: file of each input's picture, None for one without; empty for none at all.
        task: whose prompt to use, where the run has several tasks.

    Raises:
        UserError: the folder holds no finished run, there is no such task, or the extra ``train`` is not installed.
    """
    with asking_for_train():
        from xeric.run.adapted import open_adapted
    adapted = open_adapted(expanded(run) if isinstance(run, (str, Path)) else run.folder)
    notes = list(adapted.notes)
    shown = [None if path is None else read_picture(expanded(path)) for path in pictures]
    texts = adapted.generate(inputs, pictures=shown, task=task, note=notes.append)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return texts


def adapt(
    source: str | Path,
    output: str | Path,
    *,
    seconds: float = 1800.0,
    input_column: str | None = None,
    output_column: str | None = None,
    group_column: str | None = None,
    image_column: str | None = None,
    language: str | None = None,
    definition: str | None = None,
    workers: Workers | None = None,
    progress: StudyProgress | None = None,
    **options: Any,
) -> Outcome:
    """Adapt a base to a file of examples within a time: tries, chooses, trains, tests, and says what it is worth.

    Args:
        source: a table (CSV, TSV, JSON, JSON lines, Parquet), a dataset's folder or hub id, a task file, or a task's name.
        output: the folder to write; an interrupted call goes on in it.
        seconds: of wall clock that may be spent.
        input_column: of the inputs; guessed where not given, as are the others.
        output_column: of the outputs.
        group_column: whose equal values stay on one side of the split; ``none`` for no such column.
        image_column: of the names of pictures' files, relative to the table; never guessed.
        language: of the outputs.
        definition: the instruction.
        workers: who carries the final runs out, after the search; this process alone if not given.
        progress: is told what happens, guesses included.
        options: what else the command takes: of the source ``name``, ``license``, ``input_language``, ``encoding``,
            ``delimiter``, ``quotes``, and ``split``, ``subset``, ``revision`` of a dataset
            (:class:`xeric.adapt.source.SourceOptions`); of the adaptation ``base``, ``memory`` (bytes), ``metric``, ``seeds``,
            ``seed``, ``device``, ``precision`` (:class:`xeric.adapt.options.AdaptOptions`).

    Raises:
        UserError: file, base or settings cannot be used, the folder holds something else, or the extra ``train`` is not
            installed.
        RunError: no training came to its end.
    """
    with asking_for_train():
        from xeric.adapt import adapting
        from xeric.adapt.options import AdaptOptions
        from xeric.adapt.source import SourceOptions
    source_settings = {
        "input_column": input_column,
        "output_column": output_column,
        "group_column": group_column,
        "image_column": image_column,
        "language": language,
        "definition": definition,
        **{name: options.pop(name) for name in SourceOptions.model_fields if name in options},
    }
    return adapting.adapt(
        str(source),
        expanded(output),
        source_options=build(SourceOptions, source_settings),
        options=build(AdaptOptions, {"seconds": seconds, **options}),
        workers=workers,
        progress=progress,
    )


def stream(run: Run | str | Path, inputs: Iterable[str], *, task: str | None = None) -> Iterator[str]:
    """Yield the text that a finished run generates for each input, as soon as it is finished; the base stays open meanwhile.

    Inputs are asked for one at a time, so they may come from a socket or a queue and never end. Notes come as in
    :func:`generate`.

    Args:
        run: a run, or its folder.
        inputs: texts.
        task: whose prompt to use, where the run has several tasks.

    Raises:
        UserError: as in :func:`generate`, at the call.
        DataError: an input is not text, when it is reached.
    """
    with asking_for_train():
        from xeric.run.adapted import open_adapted
    adapted = open_adapted(expanded(run) if isinstance(run, (str, Path)) else run.folder)
    for note in adapted.notes:
        warnings.warn(note, stacklevel=2)
    return adapted.stream(inputs, task=task, note=lambda note: warnings.warn(note, stacklevel=4))


def export(
    run: Run | str | Path,
    to: Literal["peft", "merged", "gguf", "gguf-adapter"],
    output: str | Path,
    *,
    task: str | None = None,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    quantisation: Literal["f16", "q8_0"] = "f16",
    without: Sequence[str] = (),
    with_base: bool = False,
    base: str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Export:
    """Write a finished run in the form that PEFT, transformers or llama.cpp opens, with a model card and the prompts' layout.

    What is written is opened again and tried on a few test inputs against the run's own model, in float32; the difference stands
    in the result, in the card and in ``export.json``. (transformers opens no adapter for llama.cpp, so that one is not tried.)

    Args:
        run: a run, or its folder.
        to: ``peft`` (an adapter), ``merged`` (one model), ``gguf`` (one file for llama.cpp) or ``gguf-adapter`` (a LoRA for
            llama.cpp).
        output: the folder to write; an earlier export in it is replaced.
        task: for a run with a learned prefix for each of several tasks: which.
        precision: of weights in safetensors; an adapter's own stay in float32.
        quantisation: of weights in a GGUF file.
        without: parts of a combined method to leave out; the model is then another than the run's, by the measured difference.
        with_base: write the base beside an adapter, in the adapter's form, even where the published one would do.
        base: where the base is now, if it has moved.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: is told what happens.

    Raises:
        UserError: the target cannot express the run, an argument is unknown, the folder holds something else, or the extra
            ``train`` is not installed. Nothing was written then.
        RunError: the export computes something else than the run; nothing of it is left.
    """
    with asking_for_train():
        from xeric.exporting.export import export_run
    return export_run(
        expanded(run) if isinstance(run, (str, Path)) else run.folder,
        to,
        expanded(output),
        task=task,
        precision=precision,
        quantisation=quantisation,
        without=[without] if isinstance(without, str) else without,
        with_base=with_base,
        base=base,
        device=device,
        progress=progress,
    )


def score(predictions: Sequence[Prediction] | str | Path, metrics: Sequence[str] | None = None) -> dict[str, Score]:
    """Return the scores of predictions, macro means over their tasks, by metric.

    Args:
        predictions: rows, or the path of a ``predictions.jsonl``.
        metrics: names; None is all of them. One that says nothing on these rows has no score; a Python warning says why.

    Raises:
        UserError: the file cannot be used, or there is no such metric.
    """
    rows = read_predictions(expanded(predictions)) if isinstance(predictions, (str, Path)) else list(predictions)
    report = score_predictions(rows, metrics)
    for note in score_notes(report.notes):
        warnings.warn(note, stacklevel=2)
    return report.scores


class StudyOutcome(NamedTuple):
    """What became of a study: its runs, and what they show.

    Attributes:
        run: the plan and the state of every run.
        results: estimates, verdicts and tables; None while runs are missing, or where all failed.
    """

    run: StudyRun
    results: StudyResults | None


def run_study(
    study: StudyConfig | str | Path,
    output: str | Path,
    *,
    overrides: Iterable[str] = (),
    shard: Shard | None = None,
    workers: Workers | None = None,
    progress: StudyProgress | None = None,
) -> StudyOutcome:
    """Carry a study out, or go on with it where it was; once all its runs are there, analyse them and write ``results.json``.

    Args:
        study: the study, a study file, a bundled study's name, or the folder of a study.
        output: the study's folder; made where it is missing.
        overrides: of a study that is given by name or file, such as ``seeds=[0,1]``.
        shard: number and count: carry out a part of the runs only; the others are for other processes, and are not waited for.
        workers: who carries the runs out; this process alone if not given. Not with ``shard``.
        progress: is told what happens.

    Raises:
        UserError: settings, tasks or bases are at fault, the folder holds another study, or the extra ``train`` is not installed.
            Nothing was written then.
    """
    with asking_for_train():
        from xeric.execution import run_study as execution
        from xeric.execution.outages import Outages
    run = execution.run_study(study, output, overrides=overrides, shard=shard, workers=workers, progress=progress)
    if run.with_status("missing"):
        return StudyOutcome(run, None)
    try:
        return StudyOutcome(run, Outages(progress or Silent()).outlast(lambda: write_results(run.folder.root)))
    except XericError as error:
        if progress:
            progress.note(f"there are no results: {error}")
        return StudyOutcome(run, None)
