"""``xeric play``: the page answers over HTTP and in a browser, listens on this machine alone, and asks nothing of other hosts."""

from __future__ import annotations

import os
import re
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Xeric
from tests.report.made import HOSTILE_TEXTS
from xeric.errors import RunError, UserError
from xeric.run.side_by_side import Answer, SideBySide

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
HOSTILE_LABEL = 'runs/<img src="https://a.invalid/label" onerror="window.broken=8">'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Models(SideBySide):
    """Answers that can be told apart, without a base."""

    def __init__(self) -> None:
        pass

    labels = ["a-base, unadapted", "runs/lora", "runs/prefix", "runs/full"]  # type: ignore[assignment]
    tasks = ["words", "others"]  # type: ignore[assignment]

    def definition(self, task: str) -> str:
        return f"Do <b>{task}</b> [so](http://example.invalid)."

    def answers(self, text: str, task: str) -> Iterator[Answer]:
        if text == "fail":
            raise RunError("the run failed")
        yield from (Answer(label, f"{label}: {text} {task}", "cut" if "full" in label else "") for label in self.labels)


class HostileModels(Models):
    """Models whose names, tasks, definitions and texts are markup that would run or fetch something."""

    labels = [HOSTILE_LABEL, "runs/other"]  # type: ignore[assignment]
    tasks = [HOSTILE_LABEL, "words"]  # type: ignore[assignment]

    def definition(self, task: str) -> str:
        return HOSTILE_TEXTS[0]

    def answers(self, text: str, task: str) -> Iterator[Answer]:
        if text == "fail":
            raise RunError(HOSTILE_TEXTS[0])
        yield Answer(HOSTILE_LABEL, HOSTILE_TEXTS[int(text)], "")
        yield Answer("runs/other", HOSTILE_TEXTS[int(text)], HOSTILE_LABEL)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pytest.importorskip("gradio", reason="the extra `play` is not installed")
    from xeric.cli.play_page import serve

    with serve(Models(), host="127.0.0.1", port=0) as served:
        yield served


def test_the_page_is_served_here_alone_and_forbids_other_hosts(address: str) -> None:
    with urllib.request.urlopen(address) as answer:
        policy, body = answer.headers["content-security-policy"], answer.read().decode()
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "fonts.googleapis" not in body
    port = int(address.rstrip("/").rpartition(":")[2])
    with socket.socket() as other:
        other.settimeout(2)
        with pytest.raises(OSError, match=r"refused|unreachable|assign|timed out"):
            other.connect(("127.0.0.2", port))


def test_every_model_answers_over_http(address: str) -> None:
    client = pytest.importorskip("gradio_client").Client(address, verbose=False, analytics_enabled=False)
    assert list(client.predict("hello", "others", api_name="/generate")) == [
        "a-base, unadapted: hello others",
        "runs/lora: hello others",
        "runs/prefix: hello others",
        "(cut)\nruns/full: hello others",
    ]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: `apt-get install chromium`")
def test_in_a_browser(address: str, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.get_by_label("Input").fill("the red ferry")
        page.get_by_role("button", name="Generate").click()
        playwright.expect(page.get_by_label("runs/full")).to_have_value(re.compile("the red ferry words"))
        assert [page.get_by_label(label).input_value() for label in Models.labels[:2]] == [
            "a-base, unadapted: the red ferry words",
            "runs/lora: the red ferry words",
        ]
        assert page.get_by_label("Definition").input_value() == "Do <b>words</b> [so](http://example.invalid)."
        page.get_by_label("Input").fill("fail")
        page.get_by_role("button", name="Generate").click()
        playwright.expect(page.get_by_text("the run failed")).to_be_visible()
        if shot := os.environ.get("XERIC_SCREENSHOT"):
            page.screenshot(path=shot)
        browser.close()
    assert asked
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: `apt-get install chromium`")
def test_hostile_outputs_are_shown_as_texts_and_run_nothing() -> None:
    pytest.importorskip("gradio", reason="the extra `play` is not installed")
    playwright = pytest.importorskip("playwright.sync_api")
    from xeric.cli.play_page import serve

    with serve(HostileModels(), host="127.0.0.1", port=0) as served, playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context()
        asked: list[str] = []
        # Answers whatever would leave the page, so that nothing fails only because there is no network.
        elsewhere = re.compile(rf"^https?:(?!//127\.0\.0\.1:{served.rstrip('/').rpartition(':')[2]}/)")
        context.route(elsewhere, lambda route: (asked.append(route.request.url), route.fulfill(body="")))
        page = context.new_page()
        page.goto(served)
        for number, text in enumerate(HOSTILE_TEXTS):
            page.get_by_label("Input").fill(str(number))
            page.get_by_role("button", name="Generate").click()
            playwright.expect(page.get_by_label("runs/other")).to_have_value(f"({HOSTILE_LABEL})\n{text}".strip())
            assert page.get_by_label(HOSTILE_LABEL).last.input_value() == text
        assert page.get_by_label("Definition").input_value() == HOSTILE_TEXTS[0]
        page.get_by_label("Input").fill("fail")
        page.get_by_role("button", name="Generate").click()
        playwright.expect(page.get_by_text("onerror", exact=False).first).to_be_visible()
        assert page.evaluate("window.broken") is None
        assert page.locator("img[onerror], svg[onload], img[src*=invalid]").count() == 0
        browser.close()
    assert asked == []


def test_a_port_that_is_taken_is_said(address: str) -> None:
    from xeric.cli.play_page import serve

    taken = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(UserError, match="cannot be listened at") as caught, serve(Models(), host="127.0.0.1", port=taken):
        pass
    assert "--port 0" in str(caught.value.hint)


def test_without_gradio_the_command_says_what_to_install(xeric: Xeric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "xeric.cli.play_page", raising=False)
    code, printed, complaint = xeric("play", tmp_path)
    assert (code, printed) == (2, "")
    assert complaint == "xeric: this needs gradio, which is not installed\nhint: pip install 'xeric[play]'\n"


def test_a_folder_without_a_run_is_refused(xeric: Xeric, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the extra `play` is not installed")
    code, printed, complaint = xeric("play", tmp_path)
    assert (code, printed) == (2, "")
    assert "holds no finished run" in complaint
