"""A report as one Markdown text: everything but the texts of the test instances, which the page shows."""

from __future__ import annotations

from collections.abc import Sequence

from xeric.analysis.results import FigureResult, StudyResults
from xeric.report import standard_tables, summary, wording
from xeric.report.searching import search_note, search_table
from xeric.report.tables import Table, escape_markdown, markdown_rows, to_markdown

__all__ = ["report_markdown"]


def report_markdown(results: StudyResults, tables: Sequence[Table], figures: Sequence[tuple[FigureResult, str]]) -> str:
    """Return the report.

    Args:
        results: of the study.
        tables: of the study file.
        figures: each with the path of its file, relative to the report.
    """
    blocks = [f"# {escape_markdown(results.title)}", escape_markdown(f"{summary.setup(results)} {summary.findings(results)}")]
    blocks += _claims(results)
    blocks += _section("Tables", tables)
    if figures:
        blocks.append("## Figures")
        for figure, path in figures:
            blocks.append(f"![{escape_markdown(figure.title)}]({path})")
            blocks += [escape_markdown(note) for note in figure.notes]
    blocks += _recommendation(results)
    blocks += _section("By language and task", [standard_tables.part_table(results)])
    blocks += _section("Trivial baselines", [standard_tables.baseline_table(results)])
    blocks += _section("Tuning", [standard_tables.tuning_table(results)], summary.tuning_note(results))
    blocks += _section("Searched definitions", [search_table(results)], search_note(results))
    blocks += _section("Stability", [standard_tables.spread_table(results)])
    blocks += _section("Failed runs", [standard_tables.failure_table(results)])
    if results.provenance:
        blocks += ["## Provenance", markdown_rows(["what", "value"], wording.flat(results.provenance)).rstrip()]
    return "\n\n".join(blocks) + "\n"


def _section(title: str, tables: Sequence[Table | None], note: str = "") -> list[str]:
    texts = [to_markdown(table).rstrip() for table in tables if table is not None]
    return [f"## {title}", *([escape_markdown(note)] if note else []), *texts] if texts or note else []


def _claims(results: StudyResults) -> list[str]:
    if not results.claims:
        return []
    names = [arm.label for arm in results.arms]
    blocks = [f"## {summary.claims_title(results)}"]
    for claim in results.claims:
        blocks.append(f"### {claim.verdict}: \u201c{escape_markdown(claim.sentence)}\u201d")
        blocks.append(escape_markdown(f"{wording.sentence(claim.reason, names)} {wording.sentence(claim.scope)}"))
        if claim.controls_note:
            blocks.append(escape_markdown(wording.sentence(f"controls: {claim.controls_note}")))
        table = standard_tables.link_table(claim, standard_tables.deciding_links(claim)[0], results)
        # The claim's sentence is the heading already.
        blocks += [to_markdown(table).partition("\n\n")[2].rstrip()] if table else []
    return blocks


def _recommendation(results: StudyResults) -> list[str]:
    recommendation = results.recommendation
    if recommendation is None:
        return []
    labels = {arm.id: arm.label for arm in results.arms}
    headline = escape_markdown(wording.sentence(summary.recommendation(recommendation), labels.values()))
    reason = escape_markdown(wording.sentence(summary.choice(recommendation), labels.values()))
    blocks = ["## Recommendation", f"**{headline}** {reason}"]
    if recommendation.caution:
        blocks.append(f"**But** {escape_markdown(recommendation.caution)}.")
    if recommendation.test is not None:
        blocks.append(
            f"On test: {wording.metric_name(recommendation.metric)} {escape_markdown(wording.estimate(recommendation.test))}."
        )
    if recommendation.dev:
        rows = [(labels.get(arm, arm), wording.estimate(score)) for arm, score in recommendation.dev.items()]
        blocks.append(
            markdown_rows(["arm", f"{wording.metric_name(recommendation.metric)} on dev"], rows, [False, True]).rstrip()
        )
    if recommendation.command:
        blocks.append("\n".join(f"    {arm}" for arm in recommendation.command.splitlines()))
    return blocks
