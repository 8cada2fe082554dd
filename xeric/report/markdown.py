"""A report as one Markdown text: everything but the texts of the test instances, which the page shows."""

from __future__ import annotations

from collections.abc import Sequence

from xeric.report import quantities, sheets, summary
from xeric.report.tables import Sheet, escape_markdown, markdown_rows, to_markdown
from xeric.studies.results import FigureResult, StudyResults

__all__ = ["report_markdown"]


def report_markdown(results: StudyResults, tables: Sequence[Sheet], figures: Sequence[tuple[FigureResult, str]]) -> str:
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
    parts += _section("By language and task", [sheets.part_sheet(results)])
    parts += _section("Trivial baselines", [sheets.baseline_sheet(results)])
    parts += _section("Tuning", [sheets.tuning_sheet(results)], summary.tuning_note(results))
    parts += _section("Stability", [sheets.spread_sheet(results)])
    parts += _section("Failed cells", [sheets.failure_sheet(results)])
    if results.provenance:
        parts += ["## Provenance", markdown_rows(["what", "value"], quantities.flat(results.provenance)).rstrip()]
    return "\n\n".join(parts) + "\n"


def _section(title: str, tables: Sequence[Sheet | None], note: str = "") -> list[str]:
    shown = [to_markdown(table).rstrip() for table in tables if table is not None]
    return [f"## {title}", *([escape_markdown(note)] if note else []), *shown] if shown or note else []


def _claims(results: StudyResults) -> list[str]:
    if not results.claims:
        return []
    names = [line.label for line in results.lines]
    parts = [f"## {summary.claims_title(results)}"]
    for claim in results.claims:
        parts.append(f"### {claim.verdict}: \u201c{escape_markdown(claim.sentence)}\u201d")
        parts.append(escape_markdown(f"{quantities.sentence(claim.reason, names)} {quantities.sentence(claim.scope)}"))
        table = sheets.link_sheet(claim, sheets.deciding_links(claim)[0], results)
        # The sentence stands above already.
        parts += [to_markdown(table).partition("\n\n")[2].rstrip()] if table else []
    return parts


def _recommendation(results: StudyResults) -> list[str]:
    found = results.recommendation
    if found is None:
        return []
    labels = {line.id: line.label for line in results.lines}
    headline = escape_markdown(quantities.sentence(summary.recommendation(found), labels.values()))
    reason = escape_markdown(quantities.sentence(summary.choice(found), labels.values()))
    parts = ["## Recommendation", f"**{headline}** {reason}"]
    if found.caution:
        parts.append(f"**But** {escape_markdown(found.caution)}.")
    if found.test is not None:
        parts.append(f"On test: {quantities.metric_name(found.metric)} {escape_markdown(quantities.estimate(found.test))}.")
    if found.dev:
        rows = [(labels.get(line, line), quantities.estimate(score)) for line, score in found.dev.items()]
        parts.append(markdown_rows(["line", f"{quantities.metric_name(found.metric)} on dev"], rows, [False, True]).rstrip())
    if found.command:
        parts.append("\n".join(f"    {line}" for line in found.command.splitlines()))
    return parts
