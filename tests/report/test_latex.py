"""LaTeX tables print every text as it is, and fit the line that they stand on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.report.made import results
from tests.report.test_tables import TEXTS, made_table
from xeric.analysis.results import Interval, StudyResults
from xeric.report import standard_tables
from xeric.report.latex import escape_latex, to_latex
from xeric.report.tables import Column, Table, study_table

NASTY = (
    *TEXTS,
    "[2pt] after a row end",
    "* starred",
    "_ % & # { } ~ ^ \\ \\\\ $x$ | < > \"a 'b' ^^M",
    "--option ---x ,,q `a' ``b''' ?`c !`d",
    "\\end{tabular}",
    "",
)


def body_of(table: Table) -> list[str]:
    lines = [line.strip() for line in to_latex(table).splitlines()]
    inside = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    return [line for line in inside if line != r"\addlinespace[3pt]"]


def cells_of(row: str) -> list[str]:
    return re.split(r"(?<!\\)&", row)


def test_rows_have_one_cell_per_column_whatever_the_texts() -> None:
    body = body_of(made_table(*NASTY))
    assert len(body) == len(NASTY)
    for row in body:
        assert row.endswith(r" \\")
        assert len(cells_of(row)) == 2
        assert not re.search(r"(?<!\\)[%#_$^~](?!-\$)", row.replace("$-$", ""))
        # After \\ LaTeX would read [2pt] as a length and * as a star: neither may be the first thing of a row.
        assert not row.startswith(("[", "*"))
        assert not re.search(r"--|,,|``|''|[?!]`", row), "TeX's fonts would join these"


def test_braces_are_balanced_after_escaping() -> None:
    for text in NASTY:
        bare = re.sub(r"\\[{}]", "", escape_latex(text))
        assert bare.count("{") == bare.count("}")
        assert "\n" not in bare


def table_of(columns: int, text: str = "a line", heading: str = "chrF++") -> Table:
    estimates = tuple(Column(f"c{n}", heading, "estimate") for n in range(columns))
    row = (text, *(Interval(value=12.5, low=10.25, high=14.75) for _ in estimates))
    return Table("t", "T", (Column("arm", "arm"), *estimates), (row, row))


def test_intervals_stand_beside_estimates_until_the_line_is_full() -> None:
    beside = r"12.5 {\footnotesize {[}10.2, 14.8{]}}"
    below = r"\begin{tabular}[t]{@{}r@{}}12.5\\{\footnotesize {[}10.2, 14.8{]}}\end{tabular}"
    assert cells_of(body_of(table_of(4))[0])[1].strip() == beside
    assert cells_of(body_of(table_of(7))[0])[1].strip() == below
    assert cells_of(body_of(table_of(4, "a long line label " * 4))[0])[1].strip() == below


def test_long_texts_and_headings_of_wide_tables_have_several_lines() -> None:
    narrow, wide = (
        to_latex(table_of(2, heading="mean of BLEU and chrF++")),
        to_latex(table_of(9, "a long label " * 4, "a b c d e f")),
    )
    assert r"\begin{tabular}{lrr}" in narrow
    assert r"& mean of BLEU and chrF++ \\" in narrow
    assert re.search(r"\\begin\{tabular\}\{>\{\\raggedright\\arraybackslash\}p\{\d+em\}r{9}\}", wide)
    assert r"\shortstack[r]{a b c d e\\f}" in wide


def all_tables(made: StudyResults) -> list[Table]:
    further = (
        standard_tables.claims_table,
        standard_tables.part_table,
        standard_tables.baseline_table,
        standard_tables.tuning_table,
        standard_tables.failure_table,
    )
    return [*(study_table(table, made) for table in made.tables), *(built for make in further if (built := make(made)))]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX")
def test_every_table_compiles_and_none_is_wider_than_the_line(tmp_path: Path) -> None:
    plain = [text for text in NASTY if text.isascii()]
    assert len(plain) > 6
    tables = [*all_tables(results()), made_table(*plain), Table("empty", "Empty", (Column("arm", "arm"),), (), ("a note",))]
    source = [r"\documentclass{article}", r"\usepackage{array,booktabs,graphicx}", r"\begin{document}"]
    for number, table in enumerate(tables):
        (tmp_path / f"{number}.tex").write_text(to_latex(table), encoding="utf-8")
        source.append(rf"\input{{{number}}}\clearpage")
    (tmp_path / "all.tex").write_text("\n".join([*source, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="latin-1", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    too_wide = re.findall(r"Overfull \\hbox \(([\d.]+)pt.*\n(.*)", done.stdout)
    # A single word that is longer than its column is nobody's fault.
    assert [(points, where) for points, where in too_wide if "mouseover" not in where] == []
