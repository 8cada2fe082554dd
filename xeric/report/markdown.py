"""A report as one Markdown text: everything but the texts of the test instances, which the page shows."""

from __future__ import annotations

from collections.abc import Sequence

from xeric.analysis.results import FigureResult, StudyResults
from xeric.report import standard_tables, summary, wording
from xeric.report.tables import Table, escape_markdown, markdown_rows, to_markdown

__all__ = ["report_markdown"]


def report_markdown(results: StudyResults, tables: Sequence[Table], figures: Sequence[tuple[FigureResult, str]]) -> str:
    """Return the report.

    Args:
        results: of the study.
        tables: those that the study's file asks for.
        figures: each with the path of its file, relative to the report.
    """
    parts = [f"# {escape_markdown(results.title)}", escape_markdown(f"{summary.setup(results)} {summary.found(results)}")]
    parts += _claims(results)
    parts += _section("Tables", tables)
    if figures:
        parts.append("## Figures")
        for figure, path in figures:
            parts.append(f"![{escape_markdown(figure.title)}]({path})")
            parts += [escape_markdown(note) for note in figure.notes]
    parts += _recommendation(results)
    parts += _section("By language and task", [standard_tables.part_table(results)])
    parts += _section("Trivial baselines", [standard_tables.baseline_table(results)])
    parts += _section("Tuning", [standard_tables.tuning_table(results)], summary.tuning_note(results))
    parts += _section("Stability", [standard_tables.spread_table(results)])
    parts += _section("Failed runs", [standard_tables.failure_table(results)])
    if results.provenance:
        parts += ["## Provenance", markdown_rows(["what", "value"], wording.flat(results.provenance)).rstrip()]
    return "\n\n".join(parts) + "\n"


def _section(title: str, tables: Sequence[Table | None], note: str = "") -> list[str]:
    shown = [to_markdown(table).rstrip() for table in tables if table is not None]
    return [f"## {title}", *([escape_markdown(note)] if note else []), *shown] if shown or note else []


def _claims(results: StudyResults) -> list[str]:
    if not results.claims:
        return []
    names = [arm.label for arm in results.arms]
    parts = [f"## {summary.claims_title(results)}"]
    for claim in results.claims:
        parts.append(f"### {claim.verdict}: \u201c{escape_markdown(claim.sentence)}\u201d")
        parts.append(escape_markdown(f"{wording.sentence(claim.reason, names)} {wording.sentence(claim.scope)}"))
        if claim.controls_note:
            parts.append(escape_markdown(wording.sentence(f"controls: {claim.controls_note}")))
        table = standard_tables.link_table(claim, standard_tables.deciding_links(claim)[0], results)
        # The sentence stands above already.
        parts += [to_markdown(table).partition("\n\n")[2].rstrip()] if table else []
    return parts


def _recommendation(results: StudyResults) -> list[str]:
    found = results.recommendation
    if found is None:
        return []
    labels = {arm.id: arm.label for arm in results.arms}
    headline = escape_markdown(wording.sentence(summary.recommendation(found), labels.values()))
    reason = escape_markdown(wording.sentence(summary.choice(found), labels.values()))
    parts = ["## Recommendation", f"**{headline}** {reason}"]
    if found.caution:
        parts.append(f"**But** {escape_markdown(found.caution)}.")
    if found.test is not None:
        parts.append(f"On test: {wording.metric_name(found.metric)} {escape_markdown(wording.estimate(found.test))}.")
    if found.dev:
        rows = [(labels.get(arm, arm), wording.estimate(score)) for arm, score in found.dev.items()]
        parts.append(markdown_rows(["arm", f"{wording.metric_name(found.metric)} on dev"], rows, [False, True]).rstrip())
    if found.command:
        parts.append("\n".join(f"    {arm}" for arm in found.command.splitlines()))
    return parts
