"""The page in a real browser, opened from disk with the network cut off. Skips, and says so, where there is no Chromium."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.made import HOSTILE, HOSTILE_TEXTS, LABEL, make_study, settle
from xeric.analysis.results import StudyResults
from xeric.json_io import write_json
from xeric.report import Written, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: `apt-get install chromium`"),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Opened:
    """A page and everything that it complained of or asked for."""

    def __init__(self, chromium: Any, path: Path, **options: Any) -> None:
        self.context = chromium.new_context(offline=True, viewport={"width": 1280, "height": 900}, **options)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda message: self.faults.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on(
            "request", lambda asked: asked.url.startswith(("file:", "data:")) or self.faults.append(f"request: {asked.url}")
        )
        self.page.goto(path.as_uri())

    def ids(self) -> list[str]:
        """The ids in the list of instances, in their order."""
        return self.page.locator("#list .task").all_text_contents()

    def scores(self) -> list[float]:
        return [float(text) for text in self.page.locator("#list .score").all_text_contents() if text != "–"]

    def title(self) -> str:
        return self.page.locator("#detail-title").inner_text()


@pytest.fixture
def opened(chromium: Any, written: Written) -> Iterator[Opened]:
    window = Opened(chromium, written.files[0])
    yield window
    faults = window.faults
    window.context.close()
    assert faults == []


def test_hostile_outputs_are_shown_as_texts_and_run_nothing(opened: Opened) -> None:
    page = opened.page
    page.select_option("#arm", label="LoRA")
    page.fill("#query", "onerror")
    assert len(opened.ids()) == 9
    shown = page.locator(".output", has=page.locator("h4", has_text=re.compile(r"^LoRA$"))).locator(".text")
    assert shown.text_content() == HOSTILE
    for number in range(9):
        page.keyboard.press("Escape")
        page.locator("#list").focus()
        page.keyboard.press("Home") if number == 0 else page.keyboard.press("j")
    assert page.evaluate("window.broken") is None
    assert page.locator("img").count() == 0
    assert page.locator("main b[onmouseover]").count() == 0
    assert page.locator("#tables").get_by_text(LABEL).count() > 0


def test_the_policy_stops_a_script_even_if_markup_got_in(chromium: Any, written: Written) -> None:
    window = Opened(chromium, written.files[0])
    window.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.broken = 9\">')")
    window.page.wait_for_function("document.images.length === 1 && document.images[0].complete")
    assert window.page.evaluate("window.broken") is None
    assert any("Content Security Policy" in fault for fault in window.faults)
    window.context.close()


def test_the_policy_stops_every_way_of_fetching_even_if_markup_got_in(chromium: Any, written: Written) -> None:
    context = chromium.new_context()
    page = context.new_page()
    asked: list[str] = []
    # Answers whatever would leave the page, so that nothing fails only because there is no network.
    context.route(re.compile("^https?:"), lambda route: (asked.append(route.request.url), route.fulfill(body="")))
    page.goto(written.files[0].as_uri())
    page.evaluate(
        """() => document.body.insertAdjacentHTML('beforeend', `
        <img id="last" src="https://a.invalid/image"><iframe src="https://a.invalid/frame"></iframe>
        <link rel="stylesheet" href="https://a.invalid/style"><object data="https://a.invalid/object"></object>
        <video src="https://a.invalid/video"></video><p style="background: url(https://a.invalid/background)">x</p>
        <a id="link" href="javascript:window.broken=1">x</a>`)"""
    )
    page.evaluate("document.getElementById('link').click()")
    assert page.evaluate("fetch('https://a.invalid/fetch').then(() => 'fetched', () => 'refused')") == "refused"
    page.wait_for_function("document.getElementById('last').complete")
    assert page.evaluate("window.broken") is None
    assert asked == []
    context.close()


def test_every_text_reaches_the_page_as_it_was_written(opened: Opened) -> None:
    page = opened.page
    page.select_option("#order", "file")
    page.select_option("#task", "poem_generation_en")
    for text in HOSTILE_TEXTS:
        shown_text = page.locator(".output[aria-label='LoRA'] p").text_content()
        assert shown_text == (text or "(empty)")
        page.keyboard.press("j")


def test_filters_search_and_order(opened: Opened) -> None:
    page = opened.page
    assert len(opened.ids()) == 45
    assert opened.scores() == sorted(opened.scores())
    page.select_option("#order", "best")
    assert opened.scores() == sorted(opened.scores(), reverse=True)
    page.select_option("#language", "Hindi")
    assert len(opened.ids()) == 15
    assert all("_hi" in name for name in opened.ids())
    page.select_option("#task", "summarization_hi")
    assert len(opened.ids()) == 5
    page.fill("#query", "तारापहाड़")
    assert opened.ids() == ["summarization_hi-001"]
    assert page.locator("#count").inner_text() == "1 of 45 instances"
    page.fill("#query", "no such text")
    assert opened.ids() == []
    assert "nothing matches" in page.locator("#count").inner_text()
    assert opened.title() == "Nothing to show"
    page.fill("#query", "SUMMARIZATION_HI-002")
    assert opened.ids() == ["summarization_hi-002"]


def test_order_goes_by_the_arm_that_is_chosen(opened: Opened) -> None:
    page = opened.page
    page.select_option("#arm", label="copy input")
    assert opened.scores() == sorted(opened.scores())
    chosen = page.locator(".output.chosen")
    assert chosen.get_attribute("aria-label") == "copy input"
    assert opened.title() == opened.ids()[0]
    assert float(chosen.locator(".score").text_content()) == opened.scores()[0]


def test_lines_stand_side_by_side_and_can_be_left_out(opened: Opened) -> None:
    page = opened.page
    assert page.locator("#outputs .output").count() == 15
    boxes = [page.locator("#outputs .output").nth(n).bounding_box() for n in range(2)]
    assert boxes[0]["y"] == pytest.approx(boxes[1]["y"], abs=1)
    assert boxes[1]["x"] > boxes[0]["x"] + 100
    assert "diverged, failed" in page.locator(".output[aria-label='prefix alone']").inner_text()
    page.locator("#choice summary").click()
    page.get_by_role("checkbox", name="LoRA", exact=True).uncheck()
    assert page.locator("#outputs .output").count() == 14
    assert page.locator(".output[aria-label='LoRA']").count() == 0
    assert page.locator("#chosen").inner_text() == "14 of 15"


def test_keyboard_alone(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("#list").focus()
    names = opened.ids()

    def selected() -> str:
        return page.locator("#list [aria-selected=true] .task").text_content()

    for key, position in (
        ("j", 1),
        ("ArrowDown", 2),
        ("k", 1),
        ("ArrowUp", 0),
        ("ArrowUp", 0),
        ("End", 44),
        ("j", 44),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        assert selected() == names[position], key
        assert opened.title() == names[position]
    assert page.locator("#list").get_attribute("aria-activedescendant") == "option-0"
    page.keyboard.press("/")
    page.keyboard.type("jk")
    assert page.locator("#query").input_value() == "jk"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "language"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_hindi_is_marked_and_poems_keep_their_lines(opened: Opened) -> None:
    page = opened.page
    page.select_option("#order", "file")
    page.select_option("#task", "poem_generation_hi")
    given = page.locator("#given .text").first
    assert given.get_attribute("lang") == "hi"
    assert given.get_attribute("dir") == "ltr"
    assert "शीर्षक" in given.inner_text()
    assert len(page.locator(".reference .text").first.inner_text().split("\n")) >= 3
    output = page.locator(".output[aria-label='full fine-tuning'] .text")
    assert output.get_attribute("lang") == "hi"
    assert len(output.inner_text().split("\n")) >= 3
    assert page.evaluate("getComputedStyle(document.querySelector('.output .text')).whiteSpace").startswith("pre-wrap")
    assert "Devanagari" in page.evaluate("getComputedStyle(document.querySelector('.output .text')).fontFamily")
    page.select_option("#task", "poem_generation_es")
    assert page.locator(".output .text").first.get_attribute("lang") == "es"


def test_words_of_a_reference_are_marked_without_changing_the_text(opened: Opened) -> None:
    page = opened.page
    page.select_option("#order", "file")
    page.select_option("#task", "summarization_hi")
    output = page.locator(".output[aria-label='full fine-tuning'] .text")
    marked, before = output.locator("mark").all_text_contents(), output.text_content()
    reference = page.locator(".reference .text").text_content()
    assert len(marked) >= 3
    assert all(word in reference for word in marked)
    page.get_by_label("underline words").uncheck()
    assert output.locator("mark").count() == 0
    assert output.text_content() == before


@pytest.mark.parametrize("width", [1180, 1200, 1280, 1440])
def test_the_claims_need_no_scrolling_on_a_laptop(chromium: Any, written: Written, width: int, long_labels: Path) -> None:
    for path in (written.files[0], long_labels):
        window = Opened(chromium, path)
        window.page.set_viewport_size({"width": width, "height": 800})
        for details in window.page.locator("#claims details").all():
            details.evaluate("node => { node.open = true; }")
        frames = window.page.locator("#claims .scroll").all()
        assert len(frames) >= 3
        assert [frame.evaluate("node => node.scrollWidth - node.clientWidth") for frame in frames] == [0] * len(frames)
        assert window.page.evaluate("document.documentElement.scrollWidth") <= width
        assert window.faults == []
        window.context.close()


@pytest.fixture(scope="module")
def long_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study with labels as long as those of a grid over bases, settings, starts and sizes."""
    folder = tmp_path_factory.mktemp("long")
    make_study(folder)
    results = StudyResults.model_validate_json((folder / "results.json").read_bytes())
    arms = [
        arm.model_copy(update={"label": f"gemma-3-270m (multilingual): {arm.label}, from stage 1, n = 499"})
        for arm in results.arms
    ]
    write_json(folder / "results.json", results.model_copy(update={"arms": tuple(arms)}))
    settle(folder)
    return write_report(folder).files[0]


@pytest.mark.parametrize("width", [360, 768])
def test_a_narrow_window_never_scrolls_sideways(chromium: Any, written: Written, width: int) -> None:
    window = Opened(chromium, written.files[0])
    window.page.set_viewport_size({"width": width, "height": 740})
    for details in window.page.locator("details").all():
        details.evaluate("node => { node.open = true; }")
    window.page.fill("#query", "onerror")
    assert window.page.evaluate("document.documentElement.scrollWidth") <= width
    # Wide tables scroll inside their frames, and the keyboard gets there.
    frame = window.page.locator("#parts .scroll").first
    assert frame.evaluate("node => node.scrollWidth > node.clientWidth && node.tabIndex === 0")
    assert frame.get_attribute("aria-label")
    narrow = window.page.locator(".drawing.narrow").first
    assert narrow.is_visible() == (width < 640)
    assert window.faults == []
    window.context.close()


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_and_figures_have_contrast_in_both_themes(chromium: Any, written: Written, scheme: str) -> None:
    window = Opened(chromium, written.files[0], color_scheme=scheme)

    def colour(selector: str, name: str = "color") -> str:
        return window.page.evaluate(f"getComputedStyle(document.querySelector({selector!r})).getPropertyValue({name!r})")

    paper, card = colour("body", "background-color"), colour(".card", "background-color")
    assert (luminance(paper) > 0.5) == (scheme == "light")
    for selector in (".lead", ".facts", ".note", "nav a", ".maker"):
        assert contrast(colour(selector), paper) >= 4.5, selector
    for selector in (
        ".verdict.holds",
        ".verdict.contradicted",
        ".verdict.undecided",
        ".verdict.uninformative",
        "td small",
        "thead th",
    ):
        assert contrast(colour(f".card {selector}"), card) >= 4.5, selector
    assert contrast(colour("td.published"), colour("td.published", "background-color")) >= 4.5
    svg_text = window.page.evaluate("[...document.querySelectorAll('.drawing.wide text')].map(t => getComputedStyle(t).fill)")
    assert len(svg_text) > 20
    assert min(contrast(fill, card) for fill in set(svg_text)) >= 4.5
    bars = window.page.evaluate("[...document.querySelectorAll('.drawing.wide path')].map(t => getComputedStyle(t).fill)")
    assert max(contrast(fill, card) for fill in set(bars) if fill.startswith("rgb(")) >= 3
    assert window.faults == []
    window.context.close()


def test_verdicts_are_words_and_signs_not_colours_alone(opened: Opened) -> None:
    page = opened.page
    labels = [element.inner_text().strip() for element in page.locator("article.claim .verdict").all()]
    assert labels == ["undecided", "holds", "contradicted", "uninformative"]
    assert page.locator("article.claim .verdict svg").count() == 4
    assert len({page.locator("article.claim .verdict use").nth(n).get_attribute("href") for n in range(4)}) == 4


def test_the_page_says_what_failed_and_shows_published_figures_apart(opened: Opened) -> None:
    page = opened.page
    assert "44 too long" in page.locator("#failures").inner_text()
    head = page.locator("#tables th.published").first
    assert head.inner_text() == "published in the paper"
    values = page.locator("#tables td.published").all_text_contents()
    assert {"32.8", "42.7"} <= set(values)
    estimates = " ".join(page.locator("#tables td.estimate").all_text_contents())
    assert "32.8" not in estimates


def test_links_lead_to_what_they_name_and_ids_are_unique(opened: Opened) -> None:
    page = opened.page
    targets = [element.get_attribute("href") for element in page.locator("nav a").all()]
    assert len(targets) >= 12
    assert all(page.locator(target).count() == 1 for target in targets)
    repeated = page.evaluate(
        "(ids => ids.filter((id, n) => ids.indexOf(id) !== n))([...document.querySelectorAll('[id]')].map(node => node.id))"
    )
    assert repeated == []
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(node => Number(node.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_print_is_light_and_leaves_out_what_cannot_be_used(opened: Opened) -> None:
    page = opened.page
    page.emulate_media(media="print", color_scheme="dark")
    for selector in ("nav", "#filters", "#list", ".skip"):
        assert not page.locator(selector).is_visible(), selector
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert contrast(ink, "rgb(255, 255, 255)") >= 7
