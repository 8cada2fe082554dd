"""``xeric study``: plan a study, carry it out, show its progress, score it again, publish it.

What concerns its file alone is in :mod:`xeric.cli.study_file`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xeric.cli.completing import metric_names
from xeric.cli.options import AsJson, TasksDir, Track, path_option, print_json, quiet_libraries
from xeric.cli.study_file import Set, Source, check, new, pointing_to_check, with_tasks_dirs
from xeric.errors import UserError, asking_for_train
from xeric.files import expanded

if TYPE_CHECKING:
    from xeric.cli.study_progress import TerminalStudyProgress
    from xeric.execution.run_study import Shard
    from xeric.execution.workers import Workers
    from xeric.studies.config import StudyConfig

__all__ = ["study_app", "workers_from"]

study_app = typer.Typer(
    help="A grid of runs from one file, with tables, figures and a verdict on each claim.", no_args_is_help=True
)

Output = Annotated[Path | None, path_option("--output", "-o", help="Folder of the study; studies/NAME if not given.")]
study_app.command()(new)
study_app.command()(check)


@study_app.command()
def plan(
    study: Source,
    output: Output = None,
    overrides: Set = None,
    tasks_dir: TasksDir = None,
    probe: Annotated[bool, typer.Option(help="Try each base for a moment, to estimate time and memory.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show what a study will compute, what is finished, its cost, and the difference it can detect."""
    all_overrides = with_tasks_dirs(overrides, tasks_dir)
    config, folder = _load(study, output, all_overrides)
    # Loading the libraries takes seconds: the first line comes before them.
    typer.echo(f"planning {config.title!r}: loading the libraries", err=True)
    quiet_libraries()
    from xeric.cli.study_progress import TerminalStudyProgress
    from xeric.cli.study_show import show_estimate, show_plan
    from xeric.execution.preview import estimated, preview

    with TerminalStudyProgress() as progress, pointing_to_check(study, all_overrides):
        shown = preview(config, folder, progress=progress)
    if not as_json:
        show_plan(shown)
    if probe:
        # A second context: the plan is printed between the two, without bars.
        with TerminalStudyProgress() as progress:
            shown = estimated(shown, progress=progress)
        if not as_json:
            show_estimate(shown)
    if as_json:
        print_json(shown.as_json())


@study_app.command()
def run(
    study: Source,
    output: Output = None,
    overrides: Set = None,
    tasks_dir: TasksDir = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Take the I-th of N parts of the runs only.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Carry the runs out by N processes on this machine, or at most N of the cluster of --ray."),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Carry the runs out in a Ray cluster: auto, or HOST:PORT of its head.")
    ] = None,
    gpus_per_run: Annotated[
        float | None, typer.Option(min=0, help="GPUs for each worker in a Ray cluster; 1 where it has any.")
    ] = None,
    track: Track = None,
    as_json: AsJson = False,
) -> int:
    """Carry a study out, or resume it; finished runs are not computed again.

    Leaves with exit code 1 if a run failed or diverged. Several processes may work on one folder, on several machines too.
    """
    part_of_runs = _shard(shard)
    _check_workers(part_of_runs, workers, ray, gpus_per_run)
    tracked = [f"run.track={json.dumps(track)}"] if track else []
    all_overrides = with_tasks_dirs([*tracked, *(overrides or [])], tasks_dir)
    config, folder = _load(study, output, all_overrides)
    quiet_libraries()
    from xeric.api import run_study
    from xeric.cli.report import show_written
    from xeric.cli.study_progress import TerminalStudyProgress
    from xeric.cli.study_show import show_status
    from xeric.execution.outages import Outages
    from xeric.report import write_report
    from xeric.studies.status import study_status

    with TerminalStudyProgress() as progress, pointing_to_check(study, all_overrides):
        team = workers_from(workers, ray, gpus_per_run, progress)
        done, results = run_study(config, folder, shard=part_of_runs, workers=team, progress=progress)
        outlast = Outages(progress).outlast
        study_state = outlast(lambda: study_status(done.folder))
        written = None if as_json or results is None else outlast(lambda: write_report(done.folder.root))
    if as_json:
        print_json(study_state.as_json())
    else:
        show_status(study_state)
        if written is not None:
            show_written(written)
    return 1 if done.with_status("failed", "diverged") else 0


@study_app.command()
def work(
    study: Source,
    output: Output = None,
    overrides: Set = None,
    tasks_dir: TasksDir = None,
    retry_failed: Annotated[bool, typer.Option(help="Try runs that failed before again, once.")] = False,
    as_json: AsJson = False,
) -> int:
    """Be one of several workers on a study: take runs that no other process works on, and leave when none is left.

    STUDY is the folder of a study, or a study file with -o. Results and report are made by `xeric study run` afterwards.
    """
    all_overrides = with_tasks_dirs(overrides, tasks_dir)
    config, folder = _load(study, output, all_overrides)
    quiet_libraries()
    with asking_for_train():
        from xeric.execution import work as execution
        from xeric.execution.outages import Outages
    from xeric.cli.study_progress import TerminalStudyProgress
    from xeric.cli.study_show import show_status
    from xeric.studies.status import study_status

    retry_before = None if retry_failed else 0
    with TerminalStudyProgress() as progress, pointing_to_check(study, all_overrides):
        left = execution.work(config, folder, number=os.getpid(), retry_before=retry_before, progress=progress)
        study_state = Outages(progress).outlast(lambda: study_status(left.folder))
    if as_json:
        print_json(study_state.as_json())
    else:
        show_status(study_state)
    return 1 if left.with_status("failed", "diverged") else 0


@study_app.command()
def status(study: Source, output: Output = None, as_json: AsJson = False) -> None:
    """Show the progress of a study, at any time."""
    from xeric.cli.study_show import show_status
    from xeric.studies.folder import StudyFolder
    from xeric.studies.status import study_status

    study_state = study_status(StudyFolder(_folder_of(study, output)))
    if as_json:
        print_json(study_state.as_json())
    else:
        show_status(study_state)


@study_app.command()
def rescore(
    study: Source,
    output: Output = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Only these metrics; may be given more than once.", autocompletion=metric_names)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add metrics to every record, or compute them again, from its predictions, without a model."""
    from xeric.analysis.analyse import write_results
    from xeric.analysis.rescore import rescore as score_again
    from xeric.cli.progress import TerminalProgress
    from xeric.studies.folder import StudyFolder

    folder = _folder_of(study, output)
    study_folder = StudyFolder(folder)
    with TerminalProgress() as progress:
        progress.start("score", len(study_folder.read_runs()))
        changed = score_again(study_folder, metric or (), progress=lambda: progress.advance(1))
    write_results(folder)
    if as_json:
        print_json(changed)
    else:
        typer.echo(f"{len(changed)} records scored again, {sum(changed.values())} of them changed")


@study_app.command()
def publish(
    study: Source,
    to: Annotated[Path, path_option("--to", help="Folder to write to; existing files there are updated.")],
    output: Output = None,
) -> None:
    """Copy a study without its texts and weights: records and statistics, from which its report can be made anywhere."""
    from xeric.studies.folder import StudyFolder
    from xeric.studies.publishing import publish as copy_without_texts

    written = copy_without_texts(StudyFolder(_folder_of(study, output)), to)
    typer.echo(f"{len(written)} files in {to}; `xeric report {to}` makes the tables from them")


def _load(source: str, output: Path | None, overrides: list[str]) -> tuple[StudyConfig, Path]:
    from xeric.studies.plan import load_study

    with pointing_to_check(source, overrides):
        study, remarks = load_study(source, overrides)
    for remark in remarks:
        typer.echo(remark, err=True)
    return study, output or _default_folder(source, study)


def _folder_of(source: str, output: Path | None) -> Path:
    """Return the folder of a study that is named as for `run`, or by the folder itself."""
    from xeric.studies.plan import load_study

    if output is not None or expanded(source).is_dir():
        return output or expanded(source)
    return _default_folder(source, load_study(source)[0])


def _default_folder(source: str, study: StudyConfig) -> Path:
    folder = expanded(source)
    return folder if folder.is_dir() else Path("studies") / study.name


def _check_workers(shard: Shard | None, count: int | None, ray: str | None, gpus: float | None) -> None:
    if shard and (count or ray):
        option = "--ray" if ray else "--workers"
        raise UserError(f"--shard and {option} cannot go together", hint="workers share all runs among them; leave --shard out")
    if gpus is not None and not ray:
        hint = "processes on one machine take its GPUs in turn; CUDA_VISIBLE_DEVICES says which there are"
        raise UserError("--gpus-per-run is for a Ray cluster, and --ray is not given", hint=hint)


def workers_from(count: int | None, ray: str | None, gpus: float | None, progress: TerminalStudyProgress) -> Workers | None:
    """Return the workers that `--workers` and `--ray` ask for; None where neither is given."""
    if count is None and ray is None:
        return None
    with asking_for_train():
        from xeric.execution.workers import Workers
    return Workers(count, ray, gpus, progress.of_worker)


def _shard(text: str | None) -> Shard | None:
    if text is None:
        return None
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError(f"{text!r} is no part of a whole", hint="write --shard 1/2 here and --shard 2/2 in the other process")
    return int(number), int(count)
