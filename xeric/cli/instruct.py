"""``xeric instruct``: search a better definition, or better demonstrations, for a base that is used as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xeric.cli.completing import base_names, setting_names, task_names
from xeric.cli.options import AsJson, TasksDir, path_option, print_json, quiet_libraries
from xeric.errors import UserError

if TYPE_CHECKING:
    from xeric.instructing.outcome import InstructOutcome

__all__ = ["instruct", "show"]


def instruct(
    task: Annotated[
        list[str],
        typer.Argument(
            help="A task by name, then settings such as data.n_train=100 or prompt.demonstrations=3.", autocompletion=task_names
        ),
    ],
    base: Annotated[
        str, typer.Option(help="A name of `xeric bases list`, a .gguf file, a folder, or a hub id.", autocompletion=base_names)
    ],
    output: Annotated[Path, path_option("--output", "-o", help="Task file to write; its scores go beside it.")],
    search: Annotated[str, typer.Option(help="What is searched: definition, demonstrations or both.")] = "definition",
    setting: Annotated[
        str | None, typer.Option(help="few-shot (the default) or zero-shot.", autocompletion=setting_names)
    ] = None,
    candidates: Annotated[int, typer.Option(min=2, help="Candidates that are scored, at most.")] = 64,
    time_given: Annotated[
        str | None, typer.Option("--for", help="Time after which no new candidate is made, such as 10m.")
    ] = None,
    finalists: Annotated[int, typer.Option(min=1, help="Candidates of the lowest loss that are decoded.")] = 4,
    proposer: Annotated[
        str | None,
        typer.Option(help="Address of an OpenAI-compatible server that proposes definitions; its key: XERIC_PROPOSER_KEY."),
    ] = None,
    proposer_model: Annotated[str | None, typer.Option(help="Model's name there; the first it lists if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of edits and sampled texts.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, 4bit (CUDA).")] = "auto",
    tasks_dir: TasksDir = None,
    as_json: AsJson = False,
) -> None:
    """Search a task's definition or demonstrations for a base, scored on dev examples; the test set stays untouched.

    Writes a task file with what was found. The same command goes on after an interruption.
    """
    from xeric.config import apply_overrides
    from xeric.formatting import seconds_of

    names = [argument for argument in task if "=" not in argument]
    if len(names) != 1:
        raise UserError(
            f"{len(names)} tasks are named, and one is searched at a time", hint="xeric instruct TASK --base BASE -o FILE"
        )
    settings: dict[str, Any] = {
        "search": search,
        "candidates": candidates,
        "finalists": finalists,
        "seed": seed,
        "proposer": proposer,
        "proposer_model": proposer_model,
        "seconds": seconds_of(time_given) if time_given is not None else None,
    }
    overrides = [argument for argument in task if "=" in argument]
    if setting is not None:
        overrides.insert(0, f"prompt.setting={json.dumps(setting)}")
    quiet_libraries()
    from xeric.bases.loading import load_base
    from xeric.cli.progress import TerminalProgress
    from xeric.data.catalog import Catalog
    from xeric.instructing.instruct import check_output
    from xeric.instructing.instruct import instruct as run
    from xeric.instructing.options import instruct_options

    options = instruct_options(apply_overrides(settings, overrides))
    check_output(output)
    loaded = Catalog.of(tasks_dir or ()).load(names[0], group_key=options.data.group_column)
    with TerminalProgress() as progress:
        opened = load_base(base, device=device, precision=precision, progress=progress)  # type: ignore[arg-type]
        outcome = run(loaded, opened, output, options, progress=progress)
    if as_json:
        print_json(outcome.model_dump(mode="json"))
    else:
        show(outcome, output)


def show(outcome: InstructOutcome, output: Path) -> None:
    """Print what was found against the task's own, the scores of finalists and controls, and the budget."""
    from rich.table import Table
    from rich.text import Text

    from xeric.cli.terminal import console
    from xeric.formatting import interval, number, signed

    out = console()
    out.print(
        _changes(outcome) if outcome.is_new else Text("nothing was found that is better than the task's own prompt"),
        soft_wrap=True,
    )
    table = Table(title=f"on {outcome.instances} {outcome.split} instances", title_justify="left")
    for heading in ("", "by", "nats per token", "chrF++"):
        table.add_column(heading, justify="right" if heading in ("nats per token", "chrF++") else "left")
    for entry in (*outcome.finalists, *outcome.controls):
        role = (
            "chosen"
            if entry == outcome.chosen
            else "own"
            if entry == outcome.own
            else "control"
            if entry in outcome.controls
            else ""
        )
        table.add_row(role, entry.origin, "" if entry.loss is None else number(entry.loss, 3), number(entry.chrf))
    out.print(table)
    if outcome.is_new:
        gain = outcome.difference
        value = f"{signed(gain.value)} {interval(gain.low, gain.high)}".rstrip()
        out.print(
            f"chrF++ {value} against the own prompt; it flatters, as these instances made the choice: `xeric train` tells what "
            "it is worth on the test set",
            soft_wrap=True,
        )
    asked = f", proposals by {outcome.proposer}" if outcome.proposer else ""
    out.print(
        f"{outcome.scored} of {outcome.limit} candidates scored, seed {outcome.seed}, {outcome.template} layout{asked}: {output}",
        soft_wrap=True,
    )


def _changes(outcome: InstructOutcome) -> Any:
    """Return the difference of the definitions word by word, and the demonstrations that changed."""
    from rich.text import Text

    from xeric.instructing.outcome import differences

    styles = {"same": ("", "{}"), "removed": ("red", "[-{}-]"), "added": ("green", "{{+{}+}}")}
    text = Text()
    for kind, part in differences(outcome.own.definition, outcome.chosen.definition):
        style, form = styles[kind]
        stripped = part.rstrip()
        text.append(form.format(stripped), style).append(part[len(stripped) :])
    if outcome.chosen.demonstrations != outcome.own.demonstrations:
        for question, answer in outcome.own.demonstrations:
            text.append(f"\n- {_line(question)} -> {_line(answer)}", "red")
        for question, answer in outcome.chosen.demonstrations:
            text.append(f"\n+ {_line(question)} -> {_line(answer)}", "green")
    return text


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:60].rstrip() + " ..."
