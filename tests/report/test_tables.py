"""Tables keep what they are given: no format takes a label, a note or an error for its own markup."""

from __future__ import annotations

import csv
import io

import pytest
from markdown_it import MarkdownIt

from tests.report.made import CLAIMS, LABEL, results
from xeric.analysis.results import Interval, TableResult, TableRow
from xeric.report import standard_tables
from xeric.report.latex import to_latex
from xeric.report.tables import Column, Table, escape_markdown, study_table, to_csv, to_markdown

TEXTS = (
    LABEL,
    "a | b || c",
    "*bold* _it_ `code` ~~gone~~ [link](http://a.invalid) ![img](x) <script>alert(1)</script> &lt; $x$ \\",
    "# not a heading",
    "- not a list\n\nnor a paragraph",
    "1. one",
    "हिन्दी की पंक्ति",
    "{% raw %} {{ x }} \\newcommand ^ ~ % #",
)


def made_table(*texts: str) -> Table:
    columns = (Column("arm", "arm"), Column("chrf", "chrF++", "estimate"))
    rows = tuple((text, Interval(value=-0.04 + n, low=-1.26, high=2.0)) for n, text in enumerate(texts))
    return Table("made", "Made", columns, rows)


def markdown_cells(text: str) -> list[list[str]]:
    """Cells of a Markdown table as an independent parser reads them; anything but plain text in them is an error."""
    rows: list[list[str]] = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows:
            kinds = {child.type for child in token.children or []}
            assert kinds <= {"text", "text_special"}, f"{token.content!r} is read as {kinds}"
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows


def test_markdown_shows_every_text_as_it_is() -> None:
    rows = markdown_cells(to_markdown(made_table(*TEXTS)))
    assert [row[0] for row in rows[1:]] == [" ".join(text.split()) for text in TEXTS]
    assert rows[0] == ["arm", "chrF++"]
    assert rows[1][1] == "0.0 [−1.3, 2.0]"


@pytest.mark.parametrize("text", TEXTS)
def test_markdown_paragraphs_show_every_text_as_it_is(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(escape_markdown(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for child in tokens[1].children or []} <= {"text", "text_special"}
    assert "".join(child.content for child in tokens[1].children or []) == " ".join(text.split())


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=x", "\r=x", "  =1+1"])
def test_csv_texts_are_no_formulas_and_numbers_stay_numbers(text: str) -> None:
    table = Table("made", "Made", (Column("arm", "arm"), Column("d", "d", "difference")), ((text, Interval(value=-1.25)),))
    rows = list(csv.reader(io.StringIO(to_csv(table), newline="")))
    assert rows[0] == ["arm", "d", "d_low", "d_high"]
    assert rows[1:] == [["'" + text.replace("\r", "\n"), "-1.25", "", ""]]


def test_csv_reads_back_with_every_digit() -> None:
    made = results()
    rows = list(csv.DictReader(io.StringIO(to_csv(study_table(made.tables[0], made)))))
    assert [row["arm"] for row in rows] == [row.label for row in made.tables[0].rows]
    first = made.tables[0].rows[0].cells["chrf"]
    assert (float(rows[0]["chrf"]), float(rows[0]["chrf_low"]), float(rows[0]["chrf_high"])) == (
        first.value,
        first.low,
        first.high,
    )
    assert float(rows[0]["bleu_published"]) == 32.8
    assert float(rows[0]["bleu"]) == made.tables[0].rows[0].cells["bleu"].value
    assert (int(rows[0]["trainable"]), float(rows[0]["seconds"])) == (5_120_000, 655.0)


def test_published_figures_stand_in_columns_of_their_own() -> None:
    made = results()
    table = study_table(made.tables[0], made)
    groups = {column.key: column.group for column in table.columns}
    assert groups["bleu"] == ""
    assert groups["bleu_published"] == "published in the paper"
    assert groups["trainable"] == "cost"
    assert r"\multicolumn{3}{c}{published in the paper}" in to_latex(table)
    assert "BLEU (published in the paper)" in to_markdown(table)
    assert "chrf_published" not in groups  # the paper has none


def test_an_arm_that_has_no_scores_keeps_its_row() -> None:
    made = results()
    table = study_table(made.tables[1], made)
    assert markdown_cells(to_markdown(table))[-1][:2] == ["prefix alone", ""]


def test_a_grouped_table_names_the_group_of_every_row() -> None:
    made = results()
    rows = markdown_cells(to_markdown(study_table(made.tables[2], made)))
    assert [row[0] for row in rows[1:]] == ["English", "English", "Spanish", "Spanish", "Hindi", "Hindi"]
    assert "training" not in rows[0]  # an arm's cost is not the cost of its part


def test_an_unknown_arm_and_an_empty_table_are_shown() -> None:
    row = TableRow(arm="gone", label="gone", cells={"chrf": Interval(value=3.0)})
    made = results()
    assert "| gone | 3.0 |" in to_markdown(study_table(TableResult(name="t", title="T", metrics=("chrf",), rows=(row,)), made))
    assert "T" in to_latex(study_table(TableResult(name="t", title="T", metrics=("chrf",), rows=()), made))


def test_deciding_links_are_those_that_were_corrected() -> None:
    claim = results().claims[0]
    single = claim.links[0].model_copy(update={"metric": "bleu", "corrected": None, "p_corrected": None})
    both = claim.model_copy(update={"links": (claim.links[0], single)})
    assert standard_tables.deciding_links(both) == ([claim.links[0]], [single])
    alone = claim.model_copy(update={"links": (single,)})
    assert standard_tables.deciding_links(alone) == ([single], [])


def test_both_spreads_stand_under_each_other_and_what_is_not_known_is_said() -> None:
    made = results()
    table = standard_tables.spread_table(made)
    assert table is not None
    rows = {(row[0], row[1]): row[2:] for row in table.rows}
    labels = {arm.id: arm.label for arm in made.arms}
    order = [row[:2] for row in table.rows]
    index = order.index((labels["lora"], "seeds"))
    assert order[index + 1] == (labels["lora"], "paraphrases")
    metrics = [column.key for column in table.columns][3:]
    number, *spreads = rows[labels["few-shot"], "paraphrases"]
    assert number == 3
    assert dict(zip(metrics, spreads, strict=True)) == {
        metric: Interval(value=2.9, low=1.51, high=18.2) if metric == "chrf" else None for metric in metrics
    }
    assert (labels["few-shot"], "seeds") not in rows, "it does not depend on a seed"
    unknown = table.notes[-1]
    assert unknown.startswith("Not known over paraphrases: ")
    assert labels["full"] in unknown
    assert labels["few-shot"] not in unknown
    plain = standard_tables.spread_table(made.model_copy(update={"study": {}, "stability": {}}))
    assert plain is not None
    assert {row[1] for row in plain.rows} == {"seeds"}
    assert len(plain.notes) == 1


def test_a_difference_is_named_as_it_was_taken() -> None:
    """On a metric that is better low, what speaks for the claim is the other's score minus the better's."""
    claim, made = CLAIMS[1], results(hostile=False)
    link = claim.links[0]
    high, low = (standard_tables.link_table(claim, [link.model_copy(update={"lower": lower})], made) for lower in (False, True))
    assert high is not None
    assert low is not None
    assert [table.rows[0][0] for table in (high, low)] == ["LoRA \u2212 few-shot", "few-shot \u2212 LoRA"]
    assert high.rows[0][1:] == low.rows[0][1:]
