"""``xeric recommend``: which adaptation of a study to take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from xeric.cli.options import AsJson, path_argument, print_json
from xeric.errors import UserError
from xeric.formatting import duration, estimate

if TYPE_CHECKING:
    from xeric.analysis.results import Interval, Recommendation, StudyResults

__all__ = ["recommend"]


def recommend(
    folder: Annotated[Path, path_argument(metavar="DIR", help="Folder of a study.")],
    as_json: AsJson = False,
) -> None:
    """Name the cheapest adaptation that is not worse than the best by more than the study's margin, chosen on dev."""
    from xeric.analysis.analyse import current_results

    results = current_results(folder)
    chosen = results.recommendation
    if chosen is None:
        raise UserError(
            "holds no finished run with dev predictions to choose by",
            where=str(folder),
            hint="a dev set needs data.n_train of 50 or more; `xeric study run` makes what is missing",
        )
    if as_json:
        print_json(chosen.model_dump(mode="json"))
    else:
        _show(results, chosen)


def _show(results: StudyResults, chosen: Recommendation) -> None:
    from rich.table import Table

    from xeric.cli.terminal import console
    from xeric.report import summary

    out = console()
    out.print(summary.recommendation(chosen), style="bold", soft_wrap=True)
    out.print(f"{'why: ' if chosen.recommended else ''}{summary.choice(chosen)}", soft_wrap=True)
    if chosen.caution:
        out.print(f"but: {chosen.caution}", soft_wrap=True, style="yellow")
    if chosen.test is not None:
        out.print(f"on test, which had no part in the choice: {chosen.metric} {_text(chosen.test)}", soft_wrap=True)
    table = Table(title=f"{chosen.metric} on dev, mean over tasks and runs, with 95% intervals", title_justify="left")
    for name in ("arm", "dev", "training", "trainable", ""):
        table.add_column(name, justify="right" if name in ("training", "trainable") else "left")
    arms = {arm.id: arm for arm in results.arms}
    for name in sorted(chosen.dev, key=lambda name: -chosen.dev[name].value):
        arm = arms[name]
        marks = [
            mark
            for mark, holds in (
                ("best", name == chosen.best),
                ("recommended" if chosen.recommended else "chosen", name == chosen.arm),
            )
            if holds
        ]
        seconds = duration(arm.seconds or 0)
        table.add_row(arm.label, _text(chosen.dev[name]), seconds, f"{arm.trainable or 0:,}", ", ".join(marks))
    out.print(table)
    out.print(f"next: {chosen.command or 'take a larger base or more examples'}", soft_wrap=True)


def _text(score: Interval) -> str:
    return estimate(score.value, score.low, score.high)
