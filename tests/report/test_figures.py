"""Figures: the same bytes every time, true to their numbers, texts as texts, and nothing shared between two on one page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tests.report.made import LABEL, results
from xeric.analysis.results import FigurePoint, FigureResult, FigureSeries, Interval
from xeric.report.figures.drawing import NARROW, WIDE, draw, draw_curve, inline
from xeric.report.figures.layout import GRID, INK, MUTED, PALETTE, PAPER
from xeric.report.figures.scatter import frontier
from xeric.statistics.curve_points import CurvePoints
from xeric.statistics.learning_curve import LearningCurve

SVG = "{http://www.w3.org/2000/svg}"
FIGURES = {figure.kind: figure for figure in results().figures}


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{SVG}text")]


def one_bar(*values: float, published: float | None = None, label: str = "a") -> FigureResult:
    points = [FigurePoint(x=f"g{n}", y=Interval(value=value), published=published) for n, value in enumerate(values)]
    series = FigureSeries(arm="a", label=label, points=tuple(points))
    return FigureResult(name="f", title="F", kind="bars", x_label="x", y_label="score", series=(series,))


@pytest.mark.parametrize("kind", ["bars", "curve", "pareto"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_same_figure_same_bytes_and_the_width_asked_for(kind: str, width: float) -> None:
    svg = draw(FIGURES[kind], width=width)
    assert svg == draw(FIGURES[kind], width=width)
    assert f'width="{width * 72:g}pt"' in svg
    assert "<dc:date>" not in svg


def test_another_process_draws_the_same_bytes() -> None:
    code = "import sys; from tests.report.test_figures import FIGURES, draw; sys.stdout.write(draw(FIGURES['bars']))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONIOENCODING": "utf-8"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=environment, check=True)
    assert ran.stdout == draw(FIGURES["bars"])


def test_labels_are_texts_in_any_script_and_no_markup() -> None:
    series = [
        FigureSeries(arm=t, label=t, points=(FigurePoint(x="क", y=Interval(value=1)),)) for t in (LABEL[:20], "हिन्दी", "a $x$ b")
    ]
    figure = FigureResult(name="f", title=LABEL, kind="bars", x_label="x", y_label="score", series=tuple(series))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = texts(draw(figure, width=NARROW))
    assert {"हिन्दी", "क", "a $x$ b", LABEL[:20]} <= set(labels)


def bar_widths(svg: str) -> list[float]:
    """Widths of the bars, from the corners of the paths that are filled with the bars' colour."""
    widths = []
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        if path.get("style", "").startswith(f"fill: {PALETTE[0]}"):
            xs = [float(x) for x in re.findall(r"[ML] ([-\d.]+)", path.get("d", ""))]
            widths.append(max(xs) - min(xs))
    return widths


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_bars_are_as_long_as_their_values_in_every_panel(width: float) -> None:
    widths = bar_widths(draw(one_bar(10.0, 20.0, 5.0, published=33.0), width=width))
    assert [wide / widths[0] for wide in widths] == pytest.approx([1.0, 2.0, 0.5], rel=1e-3)


def test_published_figures_are_named_only_where_there_are_any() -> None:
    assert "published in the paper" in texts(draw(one_bar(1.0, published=30.0)))
    assert "published in the paper" not in texts(draw(one_bar(1.0)))
    assert len(bar_widths(draw(one_bar(1.0, published=30.0)))) == 1  # a mark, no bar


def test_untrained_arms_are_drawn_beside_trained_ones_on_a_wide_range_of_costs() -> None:
    costs = [("zero-shot", 0.0), ("a", 2.0), ("b", 4000.0)]
    series = [FigureSeries(arm=t, label=t, points=(FigurePoint(x=x, y=Interval(value=x + 1)),)) for t, x in costs]
    figure = FigureResult(name="f", title="F", kind="pareto", x_label="training time", y_label="chrF++", series=tuple(series))
    labels = texts(draw(figure))
    assert {"0 s", "2 s", "1 h", "zero-shot", "a", "b"} <= set(labels)


def test_an_arm_without_a_size_is_drawn_as_a_level_and_named() -> None:
    assert "few-shot" in texts(draw(FIGURES["curve"]))
    assert "few-shot" in texts(draw(FIGURES["curve"], width=NARROW))


@pytest.mark.parametrize("kind", ["bars", "curve", "pareto"])
def test_an_empty_figure_says_so(kind: str) -> None:
    figure = FigureResult.model_validate(FIGURES[kind].model_dump() | {"series": ()})
    assert any("nothing to show" in text for text in texts(draw(figure)))
    without = FigureResult.model_validate(FIGURES[kind].model_dump() | {"series": ({"arm": "a", "label": "a", "points": ()},)})
    assert any("nothing to show" in text for text in texts(draw(without)))


@pytest.mark.parametrize("kind", ["bars", "curve", "pareto"])
def test_inline_figures_share_no_ids_and_follow_the_theme(kind: str) -> None:
    svg = draw(FIGURES[kind])
    both = inline(svg, "a") + inline(svg, "b")
    ids = re.findall(r'\bid="([^"]*)"', both)
    assert len(ids) == len(set(ids)) > 0
    used = set(re.findall(r'href="#([^"]*)"', both)) | set(re.findall(r"url\(#([^)]*)\)", both))
    assert used <= set(ids)
    assert not [colour for colour in (INK, MUTED, GRID, PAPER, *PALETTE) if colour in both]
    ET.fromstring(f"<div>{both}</div>")


def test_a_label_that_looks_like_an_attribute_is_left_alone() -> None:
    label = f'id="x" {INK}'
    assert label in texts(inline(draw(one_bar(1.0, label=label), width=NARROW), "p"))


def test_the_front_goes_the_better_way() -> None:
    points = [(1.0, 5.0), (2.0, 4.0), (3.0, 7.0), (3.0, 2.0), (9.0, 6.0)]
    assert frontier(points, "higher") == [(1.0, 5.0), (3.0, 7.0)]
    assert frontier(points, "lower") == [(1.0, 5.0), (2.0, 4.0), (3.0, 2.0)]
    assert frontier(points, None) == []


def learning_curve(*scores: tuple[float, ...]) -> LearningCurve:
    sizes = (25, 50, 100, 200)
    return LearningCurve(CurvePoints(sizes[: len(scores)], scores, np.eye(len(scores)), 100))


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_learning_curve_shows_its_forecasts(width: float) -> None:
    curve = learning_curve((20.0, 21.0), (25.0, 25.5), (30.0, 29.0), (34.0, 34.5))
    svg = draw_curve(curve, title="Examples & scores", y_label="chrF++ on dev", width=width)
    assert svg == draw_curve(curve, title="Examples & scores", y_label="chrF++ on dev", width=width)
    labels = texts(svg)
    assert {"25", "200", "400", "800", "training examples", "chrF++ on dev"} <= set(labels)
    for size in (400, 800):
        gain = curve.forecast(size).gain
        assert gain is not None
        assert f"+{gain.low:.1f} to +{gain.high:.1f}" in labels
    assert "80% interval" in " ".join(labels)
    assert f'width="{width * 72:g}pt"' in svg


@pytest.mark.parametrize(
    ("scores", "reason"), [(((30.0,), (30.2,), (29.8,), (30.1,)), "do not rise"), (((30.0,), (35.0,)), "there are 2")]
)
def test_a_learning_curve_without_a_forecast_shows_its_points_and_the_reason(
    scores: tuple[tuple[float, ...], ...], reason: str
) -> None:
    labels = texts(draw_curve(learning_curve(*scores), title="t", y_label="chrF++"))
    assert reason in " ".join(labels)
    assert not {"400", "800"} & set(labels)
