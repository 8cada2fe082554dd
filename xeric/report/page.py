"""The report as one HTML file that opens from disk: no network, no other file.

Text from a model or a study file is never treated as markup. Templates escape every value; the texts of test instances are
embedded as JSON that cannot close its element, and are inserted as text nodes; and the page's content security policy allows only
the script whose hash it names, so that even markup that escaped the former two could not run.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from xeric import formatting
from xeric.analysis.results import ClaimResult, FigureResult, Interval, LinkResult, StudyResults
from xeric.report import standard_figures, standard_tables, summary, tables, wording
from xeric.report.figures.drawing import NARROW, draw, inline
from xeric.report.instances import Browser, safe_json
from xeric.report.searching import search_note, search_table
from xeric.report.tables import Table

__all__ = ["page_environment", "render_page", "style"]

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Drawn:
    """A figure for a wide and for a narrow window, and its numbers."""

    figure: FigureResult
    wide: Markup
    narrow: Markup
    numbers: Table


@dataclass(frozen=True)
class _Claim:
    """A claim, the links that decide it as a table and as bars, its other links, and the ends of the bars' scale."""

    result: ClaimResult
    links: Table | None
    details: Table | None
    bars: tuple[dict[str, str], ...]
    low: str
    high: str


def render_page(
    results: StudyResults, study_tables: Sequence[Table], figures: Sequence[tuple[FigureResult, str]], browser: Browser
) -> str:
    """Return the page.

    Args:
        results: of the study.
        study_tables: of the study file.
        figures: of the study file, each with its SVG for a wide window.
        browser: the test instances.
    """
    script = _read("script.js")
    drawn = [_drawn(figure, f"f{number}", svg) for number, (figure, svg) in enumerate(figures)]
    tuning = standard_figures.tuning_figure(results)
    context = {
        "results": results,
        "summary": summary,
        "verdict_meanings": summary.VERDICTS,
        "claims": _claims(results),
        "tables": study_tables,
        "bars": [drawing for drawing in drawn if drawing.figure.kind == "bars"],
        "costs": [drawing for drawing in drawn if drawing.figure.kind == "pareto"],
        "curves": [drawing for drawing in drawn if drawing.figure.kind == "curve"],
        "gates": [drawing for drawing in drawn if drawing.figure.kind == "layers"],
        "recommended": _recommended(results),
        "parts": standard_tables.part_table(results),
        "baselines": standard_tables.baseline_table(results),
        "tuning": standard_tables.tuning_table(results),
        "tuning_figure": _drawn(tuning, "ft", draw(tuning)) if tuning else None,
        "trials": standard_tables.trial_table(results),
        "searches": search_table(results),
        "search_note": search_note(results),
        "spread": standard_tables.spread_table(results),
        "failures": standard_tables.failure_table(results),
        "provenance": wording.flat(results.provenance),
        "browser": browser,
        "instances": Markup(safe_json(browser.data)),
        "style": Markup(style() + _read("browser.css")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    return page_environment([arm.label for arm in results.arms]).get_template("report.html").render(context)


def style() -> str:
    """Return the style sheet that all pages have."""
    return _read("style.css")


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def page_environment(names: Sequence[str], *templates: Path) -> jinja2.Environment:
    """Return the environment that pages are made in: every value is escaped, and words are those of the report.

    Args:
        names: of arms, which keep their first letter as it is at the beginning of a sentence.
        templates: folders of templates beside the report's own.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*templates, _TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "estimate": wording.estimate,
        "ends": tables.ends,
        "sentence": functools.partial(wording.sentence, names=names),
        "metric": wording.metric_name,
        "point": tables.point,
        "shown": tables.shown,
    }
    environment.tests["estimate"] = lambda value: isinstance(value, Interval)
    return environment


def _drawn(figure: FigureResult, prefix: str, svg: str) -> _Drawn:
    wide, narrow = inline(svg, f"{prefix}w"), inline(draw(figure, width=NARROW), f"{prefix}n")
    return _Drawn(figure, Markup(wide), Markup(narrow), tables.figure_table(figure))


def _claims(results: StudyResults) -> list[_Claim]:
    return [_claim(claim, results) for claim in results.claims]


def _claim(claim: ClaimResult, results: StudyResults) -> _Claim:
    """Return a claim with its links drawn on one scale, 0 in the middle."""
    deciding, others = standard_tables.deciding_links(claim)
    reach = max((abs(end) for link in deciding for end in _ends(link)), default=1.0) or 1.0
    ends = formatting.signed(-reach), formatting.signed(reach)
    tested = standard_tables.link_table(claim, deciding, results), standard_tables.link_table(claim, others, results)
    return _Claim(claim, *tested, tuple(_bar(link, reach) for link in deciding), *ends)


def _ends(link: LinkResult) -> list[float]:
    intervals = (link.difference, link.corrected)
    return [end for interval in intervals if interval for end in (interval.value, interval.low, interval.high) if end is not None]


def _bar(link: LinkResult, reach: float) -> dict[str, str]:
    """Return the positions, in percent of the width with 0 in the middle, of a link's difference and of its two intervals."""

    def position(value: float) -> str:
        return f"{50 + 48 * value / reach:.2f}"

    bar = {"value": position(link.difference.value), "own_left": "", "corrected_left": ""}
    for name, interval in (("own", link.difference), ("corrected", link.corrected)):
        if interval is not None and interval.low is not None and interval.high is not None:
            bar[f"{name}_left"] = position(interval.low)
            bar[f"{name}_width"] = f"{48 * (interval.high - interval.low) / reach:.2f}"
    return bar


def _recommended(results: StudyResults) -> Table | None:
    recommendation = results.recommendation
    if recommendation is None or not recommendation.dev:
        return None
    labels = {arm.id: arm.label for arm in results.arms}
    name = wording.metric_name(recommendation.metric)
    columns = (tables.Column("arm", "arm"), tables.Column("dev", f"{name} on dev", "estimate"))
    rows: list[tuple[Any, ...]] = [(labels.get(arm, arm), score) for arm, score in recommendation.dev.items()]
    return Table("recommendation", f"Chosen on development data, by {name}", columns, tuple(rows))
