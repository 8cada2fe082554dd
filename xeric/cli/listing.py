"""``xeric list``: what there is by name."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from xeric.cli.options import AsJson, print_json

__all__ = ["list_app", "show_rows"]

list_app = typer.Typer(help="List what there is by name.", no_args_is_help=True)


def show_rows(rows: Iterable[tuple[str, str]], as_json: bool) -> None:
    """Print pairs of name and summary: a line per pair, or a list in JSON."""
    rows = list(rows)
    if as_json:
        print_json([{"name": name, "summary": summary} for name, summary in rows])
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, summary in rows:
        typer.echo(f"{name:{width}}  {summary}".rstrip())


@list_app.command()
def methods(as_json: AsJson = False) -> None:
    """Ways of adapting a base; also those of the PEFT library that are not offered, with the reason."""
    from xeric.methods import METHODS, unsupported_methods

    if as_json:
        offered = [{"name": entry.name, "summary": entry.summary, "supported": True, "reason": None} for entry in METHODS]
        refused = [{"name": n, "summary": None, "supported": False, "reason": why} for n, why in unsupported_methods().items()]
        print_json(offered + refused)
        return
    show_rows(((entry.name, entry.summary) for entry in METHODS), as_json)
    typer.echo("\nof the PEFT library, not offered:")
    show_rows(unsupported_methods().items(), as_json)


@list_app.command()
def metrics(as_json: AsJson = False) -> None:
    """Measures of predictions."""
    from xeric.metrics import METRICS

    show_rows(((entry.name, entry.summary) for entry in METRICS), as_json)


@list_app.command()
def weightings(as_json: AsJson = False) -> None:
    """Weightings of tasks in joint training (train.weighting.name)."""
    from xeric.training.weighting import WEIGHTINGS

    show_rows(((entry.name, entry.summary) for entry in WEIGHTINGS), as_json)
