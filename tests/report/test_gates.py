"""What gates learned is in a study's report: a picture for each gated arm, with its numbers."""

from __future__ import annotations

from pathlib import Path

from tests.report.made import results
from xeric.analysis.arm_results import adaptation_result
from xeric.analysis.results import Interval, StudyResults
from xeric.records import GateValue, Record
from xeric.report.figures.drawing import draw
from xeric.report.instances import Browser
from xeric.report.page import render_page
from xeric.report.standard_figures import gate_figures
from xeric.report.tables import figure_table, to_markdown
from xeric.studies.config import ArmKey
from xeric.studies.folder import PlannedArm

GATES = {
    "prefix": tuple(Interval(value=value, low=value - 0.1, high=value + 0.1) for value in (0.1, -0.3)),
    "embedding": (Interval(value=1.02, low=1.0, high=1.04),),
    "lora": tuple(Interval(value=value, low=value, high=value) for value in (1.0, 0.8, 1.25, 1.5)),
}


def gated() -> StudyResults:
    made = results()
    return made.model_copy(update={"arms": (made.arms[0].model_copy(update={"learned_gates": GATES}), *made.arms[1:])})


def test_layers_of_a_decoder_stand_above_each_other() -> None:
    """An encoder-decoder base of two and two layers: its prefix is in the decoder, whose layers follow the encoder's."""
    (figure,) = gate_figures(gated())
    layers = {series.label: [point.x for point in series.points] for series in figure.series}
    assert layers == {"prefix": [3.0, 4.0], "embedding": [0.0], "lora": [1.0, 2.0, 3.0, 4.0]}
    assert results().arms[0].label in figure.title
    table = to_markdown(figure_table(figure))
    assert "1.25" in table
    assert "0.80" in table
    svg = draw(figure)
    assert svg == draw(figure)
    assert all(f">{part}</text>" in svg for part in GATES)
    assert gate_figures(results()) == []


def test_the_page_has_a_chapter_for_them_only_where_there_are_any() -> None:
    browser = Browser(data={}, shown=0, total=0)
    figures = [(figure, draw(figure)) for figure in gate_figures(gated())]
    assert 'href="#gates"' in render_page(gated(), [], figures, browser)
    assert 'href="#gates"' not in render_page(results(), [], [], browser)


def test_gates_of_several_runs_are_put_together(tmp_path: Path) -> None:
    def record(mean: float) -> Record:
        gates = {"lora": (GateValue(layer="layers.0", mean=mean, low=mean - 0.2, high=mean + 0.1),)}
        return Record(run_id="r", status="ok", method="combined", base={}, fingerprint="f", gates=gates)

    arm = PlannedArm(id="a", label="a", key=ArmKey(method="combined", base="b"))
    arm_result = adaptation_result(arm, None, {0: [record(1.0)], 1: [record(1.5)]}, {}, None)
    (gate,) = arm_result.learned_gates["lora"]
    assert (gate.value, round(gate.low or 0, 6), round(gate.high or 0, 6)) == (1.25, 0.8, 1.6)
